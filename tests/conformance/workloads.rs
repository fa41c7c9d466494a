//! Whole jobs of real programs: archives, version control, compilers, interpreters over large files.
//!
//! Each script gets its size as `$N`: a light one by default, the full one with `CHITIN_HEAVY=1`.

/// Name, the programs it needs, the light and the full size, and the script.
pub(crate) const SCRIPTS: &[(&str, &str, u32, u32, &str)] = &[
    (
        "tree_of_5000_files",
        "find sha256sum",
        5000,
        20_000,
        r#"i=0; while [ $i -lt $N ]; do d=t/$((i % 71))/$((i % 13)); [ -d $d ] || mkdir -p $d; echo "file $i" > $d/$i; i=$((i+1)); done
cp -a t u; find u -name '*7' -type f -exec rm {} +; mv u/5 u/five; ln u/five/5/5 u/hard; ln -s five u/soft; chmod -R g-r u/3; touch -d @0 u/3
find t u -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum; find u -printf '%P %y %m %l\n' | sort | sha256sum; diff -rq t u | wc -l
ls -lR --time-style=+ u | awk '/^-/ {print $1,$2,$3,$4,$5,$6}' | sha256sum; stat -c '%h %s' u/hard; du -a --apparent-size t | wc -l; grep -rl 'file 4[0-9]99' t | sort; rm -rf t u; ls"#,
    ),
    (
        "archives_of_a_tree",
        "tar gzip xz",
        400,
        4000,
        r#"mkdir d; for i in $(seq $N); do seq $i 7 $((i * 11)) > d/$i; done; chmod 600 d/9; ln d/1 d/one; ln -s 1 d/link
export TAR_OPTIONS='--owner=0 --group=0 --sort=name'; touch -hd @1000 d/* d; tar cf t.tar d; sha256sum < t.tar; gzip -nk t.tar; xz -k t.tar; ls -l t.tar* | awk '{print $5}'
gzip -dc t.tar.gz | cmp - t.tar; mkdir x; tar xpf t.tar.xz -C x; diff -r d x/d && echo same; stat -c '%n %a %h %Y' x/d/9 x/d/one; tar tvf t.tar.gz | wc -l; tar df t.tar && echo unchanged; xz -l t.tar.xz | wc -l"#,
    ),
    (
        "git_of_2000_files",
        "git",
        2000,
        5000,
        r#"export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z HOME=$PWD; git init -qb trunk r; cd r; git config user.name n; git config user.email e
i=0; while [ $i -lt $N ]; do d=$((i % 40)); [ -d $d ] || mkdir $d; echo "text $i" > $d/$i; i=$((i+1)); done; git add .; git commit -qm one; git status --short | wc -l; for i in 3 4 5; do echo more >> $i/$i; done; git mv 1 one; git commit -qam two
git log --format='%H %s' --stat | sha256sum; git log --oneline | wc -l; git clone -q . ../c; git -C ../c fsck --full 2>&1; git -C ../c log --format=%H; git gc -q; git count-objects -v | grep -E '^(count|in-pack)'; git diff HEAD~1 --stat | tail -1; git checkout -q -b side HEAD~1; ls | wc -l; git rebase -q trunk; git log --format=%H -1; git archive HEAD | tar t | wc -l; git grep -c 'text 19' | wc -l"#,
    ),
    (
        "make_of_many_c_files",
        "gcc make",
        30,
        200,
        r#"for i in $(seq $N); do printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f%d(int x){char b[64];snprintf(b,sizeof b,"%%d",x+%d);return atoi(b)+(int)strlen(b);}\n' $i $i > f$i.c; done
{ for i in $(seq $N); do echo "int f$i(int);"; done; echo '#include <stdio.h>'; echo 'int main(void){int s=0;'; for i in $(seq $N); do echo "s+=f$i(s%97);"; done; echo 'printf("%d\n",s);return s%50;}'; } > main.c
printf 'O=$(patsubst %%.c,%%.o,$(wildcard *.c))\nCFLAGS=-O1 -g\nprog: libf.a main.o\n\t$(CC) -o $@ main.o libf.a\nlibf.a: $(filter-out main.o,$(O))\n\tar rcD $@ $^\nclean:\n\trm -f *.o *.a prog\n' > Makefile
make -j2 > log; ./prog; echo $?; wc -l < log; make -j2; touch -d '2030-01-01' f3.c; make -j2 2>/dev/null | grep -c f3.o; make clean | wc -l; make -k nothing 2>/dev/null; echo $?; gcc -static -o s main.c f*.c && ./s; gcc -shared -fPIC -o libs.so f*.c && gcc -o d main.c -L. -ls -Wl,-rpath,. && ./d; echo 'int main(void){return x;}' > e.c; gcc -c e.c 2>&1 | grep -c error"#,
    ),
    (
        "compileall_of_the_library",
        "python3",
        250,
        100_000,
        r#"src=$(python3 -c 'import os; print(os.path.dirname(os.__file__))'); mkdir lib; cd $src; find . -name '*.py' ! -path '*/test/*' ! -path '*/site-packages/*' ! -path '*/dist-packages/*' | sort | head -$N | tar cf - -T - | tar xf - -C "$OLDPWD/lib"; cd "$OLDPWD"
python3 -m compileall -q -j2 --invalidation-mode unchecked-hash lib > out; echo $?; sort out; find lib -name '*.pyc' | wc -l; find lib -name '*.pyc' | sort | xargs sha256sum | sha256sum; python3 -c 'import sys; sys.path.insert(0, "lib"); import argparse, ast; print(argparse.__file__.startswith("lib"), len(ast.dump(ast.parse("a=1"))))'"#,
    ),
    (
        "scripts_over_a_100_mb_file",
        "perl awk",
        100,
        1000,
        r#"perl -e '$n = shift() * 25_000; $x = 42; for (1..$n) { $x = ($x * 1103515245 + 12345) % 2147483648; printf "%09d word%04d line %d of it\n", $x % 1e9, $x % 5000, $_ }' $N > big; wc -l -c big | awk '{print $1, $2}'
perl -ne '$c{(split)[1]}++; $s += length; END { print scalar(keys %c), " $s ", join(",", (map "$_=$c{$_}", (sort { $c{$b} <=> $c{$a} || $a cmp $b } keys %c)[0..4])), "\n" }' big
awk '{c[$2]++; s+=$1} END {n=0; for (k in c) n++; printf "%d %.0f %d\n", n, s, NR}' big; grep -c 'word00[0-9]7' big; tail -c 1000 big | md5sum; split -n 4 big p; cat p?? | cmp - big && echo same; dd if=big of=copy bs=1M 2>/dev/null; cmp big copy && rm copy big p??; ls"#,
    ),
    (
        "sqlite",
        "sqlite3",
        20_000,
        500_000,
        r#"printf 'create table t(a integer primary key, b text);\nbegin;\nwith recursive c(x) as (select 1 union all select x+1 from c where x<%d) insert into t select x, hex(x*7919) from c;\ncommit;\ncreate index i on t(b);\nselect count(*), sum(a), max(b) from t;\npragma integrity_check;\npragma journal_mode=wal;\nupdate t set b=b||a where a%%3=0;\nselect count(*) from t where b like "%%7%%";\n' $N | sqlite3 d.db; sqlite3 d.db 'vacuum; select count(*) from t'; (sqlite3 -cmd '.timeout 5000' d.db 'begin exclusive; select 1;' & sqlite3 -cmd '.timeout 5000' d.db 'select count(*) from t'; wait) | sort; ls"#,
    ),
    (
        "rsync",
        "rsync",
        500,
        5000,
        r#"mkdir a; for i in $(seq $N); do echo $i > a/$i; done; ln a/1 a/hard; ln -s 1 a/soft; touch -hd @1000000 a/* a; rsync -aH a/ b; diff -r a b && echo same; echo new > a/7; rm a/8; rsync -aH --delete --itemize-changes a/ b | sort; stat -c '%h %Y' b/hard b/9"#,
    ),
    (
        "text_and_find_tools",
        "find gawk grep sed",
        1000,
        20_000,
        r#"mkdir -p d/{a,b}/c; for i in $(seq $N); do echo "$i:$((i*i))" >> d/a/f; done; touch -d 2001-01-01 d/b/old; truncate -s 3M d/b/sparse; mkfifo d/p; find d -type f -size +1M; find d ! -newermt 2002-01-01; find d -type p -perm 644; find d -depth -name c -empty -delete -print | sort; find d -maxdepth 1 | sort | xargs -n2 echo
gawk -F: '{a[$1%10]+=$2} END {PROCINFO["sorted_in"]="@ind_num_asc"; for (k in a) print k, a[k]; "date -u -d @0" | getline x; print x; printf "%s\n", toupper("end") | "sort"}' d/a/f; grep -nE '^(1|9).*[05]$' d/a/f | tail -2; sed -i.bak '2,$s/:/ /; 1i first' d/a/f; head -3 d/a/f; wc -l d/a/f.bak | cut -d' ' -f1; paste -sd+ <(cut -d' ' -f1 d/a/f | tail -5); comm -12 <(seq 9 | sort) <(seq 5 15 | sort) | tr '\n' ' '; stat -c '%s %b' d/b/sparse; dd if=d/b/sparse bs=1k skip=3000 2>/dev/null | od -c | head -1; tr -dc 0-9 < d/a/f.bak | fold -w 60 | head -1"#,
    ),
    (
        "node",
        "node",
        1000,
        100_000,
        r#"cat > a.js <<'E'
const fs = require('fs'), cp = require('child_process'), os = require('os'), { Worker } = require('worker_threads'), net = require('net');
fs.mkdirSync('d'); for (let i = 0; i < Number(process.argv[2]); i++) fs.writeFileSync('d/' + i, 'x'.repeat(i % 100));
console.log(fs.readdirSync('d').length, os.cpus().length, cp.execSync('echo child').toString().trim(), fs.readFileSync('d/99').length);
const w = new Worker("require('worker_threads').parentPort.postMessage([1,2,3].map(x => x * x))", { eval: true });
w.on('message', m => { console.log(m); const s = net.createServer(c => c.end('bye')).listen(0, '127.0.0.1', () => net.connect(s.address().port, '127.0.0.1').on('data', d => { console.log(d.toString()); s.close(); setTimeout(() => console.log('timer'), 50); })); });
E
node a.js $N"#,
    ),
    (
        "go_program",
        "go",
        200,
        2000,
        r#"export HOME=$PWD GOCACHE=$PWD/cache GOFLAGS=-mod=mod GOTOOLCHAIN=local; cat > m.go <<'E'
package main
import ("fmt"; "net/http"; "net/http/httptest"; "io"; "os"; "os/exec"; "runtime"; "sync"; "time"; "strconv")
func main() {
	n, _ := strconv.Atoi(os.Args[1])
	var wg sync.WaitGroup; var mu sync.Mutex; s := 0
	for i := 0; i < n; i++ { wg.Add(1); go func(i int) { defer wg.Done(); time.Sleep(time.Millisecond); mu.Lock(); s += i; mu.Unlock() }(i) }
	wg.Wait(); fmt.Println(s, runtime.NumCPU())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })); defer srv.Close()
	r, err := http.Get(srv.URL + "/hello"); if err != nil { panic(err) }; b, _ := io.ReadAll(r.Body); fmt.Println(string(b))
	out, _ := exec.Command("echo", "child").Output(); fmt.Print(string(out)); runtime.GC()
}
E
go build -o m m.go && ./m $N"#,
    ),
];

/// What an unprivileged user does: name, the programs it needs, and the script.
pub(crate) const AS_NOBODY: &[(&str, &str, &str)] = &[
    (
        "permissions",
        "setpriv",
        r#"id -u; id -G; cat /etc/shadow; echo $?; touch /etc/x; echo $?; mkdir d; echo x > d/f; chmod 000 d/f; cat d/f; echo $?; chmod 500 d; touch d/g; echo $?; rm -f d/f; echo $?; chmod 700 d; chown 0 d/f; echo $?; mknod n c 1 3; echo $?; ls -ld d | cut -d' ' -f1-4; chmod u+s d/f; stat -c %a d/f; su -c true < /dev/null; test $? -ne 0 && echo refused; ulimit -n 20; ulimit -n 30; echo $?; renice -n -5 $$; echo $?; hostname x; echo $?; mount -t tmpfs none d; echo $?; (exit 7); echo $?"#,
    ),
    (
        "build_and_run",
        "gcc make python3",
        r#"export HOME=$PWD; printf '#include <stdio.h>\nint main(void){puts("built");return 4;}\n' > a.c; gcc -o a a.c && ./a; echo $?; python3 -c 'import tempfile,os,subprocess; f=tempfile.NamedTemporaryFile(dir="."); f.write(b"x"); f.flush(); print(os.stat(f.name).st_mode & 0o777, subprocess.call(["./a"]))'; tar cf t.tar a a.c; tar tf t.tar; git init -q r 2>/dev/null && cd r && git -c user.name=n -c user.email=e commit -q --allow-empty -m m && git log --format=%s"#,
    ),
];
