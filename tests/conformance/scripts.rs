//! Short scripts: what shells, interpreters and sockets do.

/// Name, the programs it needs, and the script; it runs in an empty directory.
pub(crate) const SCRIPTS: &[(&str, &str, &str)] = &[
    (
        "pipelines",
        "bash",
        "seq 1 1000 | grep 7 | sort -rn | head -5; echo a b c | tr ' ' '\\n' | tac; false | true; echo ${PIPESTATUS[@]}",
    ),
    (
        "here_documents",
        "bash",
        "x=1; cat <<E; cat <<'E'; tr a b <<< banana\nvalue $x\nE\nvalue $x\nE",
    ),
    (
        "traps",
        "bash",
        "trap 'echo usr' USR1; trap 'echo bye' EXIT; kill -USR1 $$; (trap 'echo sub' EXIT; exit 3); echo $?",
    ),
    (
        "exit_by_signal",
        "bash",
        "bash -c 'kill -TERM $$'; echo $?; bash -c 'kill -SEGV $$' 2>/dev/null; echo $?; exit 42",
    ),
    (
        "background_jobs",
        "bash",
        "sleep 0.05 & wait $!; echo $?; sleep 9 & kill %1; wait $! 2>/dev/null; echo $?",
    ),
    (
        "process_substitution",
        "bash",
        "diff <(seq 3) <(seq 2 4); cat < <(echo in); echo out > >(cat); sleep 0.1",
    ),
    (
        "tree_by_hash",
        "find",
        "for d in $(seq 50); do mkdir -p t/$d; for f in $(seq 20); do echo $d.$f > t/$d/$f; done; done; cp -a t u; mv u/7 u/x; rm -r u/9; find t u -type f | sort | xargs sha256sum | sha256sum",
    ),
    (
        "links_and_modes",
        "bash",
        "echo x > f; ln f g; ln -s f h; chmod 640 f; stat -c '%n %h %a %F' f g h; readlink h; rm f; cat g; cat h; echo $?",
    ),
    (
        "text_tools",
        "awk",
        "seq 100 | awk '{s+=$1} END {print s}'; echo hello | sed 's/l/L/g'; printf 'b\\na\\n' | sort; echo one two | cut -d' ' -f2",
    ),
    (
        "archives",
        "xz",
        "mkdir d; seq 5000 > d/f; export TAR_OPTIONS='--mtime=@0 --owner=0 --group=0'; tar cf - d | gzip -n | sha256sum; tar cf t.tar d; xz t.tar; xz -dc t.tar.xz | tar tf -; tar xf t.tar.xz -O d/f | tail -1",
    ),
    (
        "list_usr",
        "find",
        "find /usr/bin /usr/lib/python3* -xdev 2>/dev/null | sort | sha256sum; ls -lR /usr/share/perl5 | sha256sum; du -s --apparent-size /usr/share/perl5",
    ),
    (
        "git",
        "git",
        "export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z; git init -q r; cd r; git config user.name n; git config user.email e; for i in $(seq 200); do echo $i > f$i; done; git add .; git commit -qm one; git log --format=%H; git clone -q . ../c; git -C ../c fsck; git -C ../c status --short | wc -l",
    ),
    (
        "compiler_and_make",
        "gcc",
        "for i in $(seq 30); do echo \"int f$i(int x){return x+$i;}\" > f$i.c; done; echo 'int f1(int),f30(int);int main(void){return f1(1)+f30(2)-34;}' > main.c; printf 'O=$(patsubst %%.c,%%.o,$(wildcard *.c))\\nprog: $(O)\\n\\t$(CC) -o $@ $(O)\\n' > Makefile; make -j2 > log; ./prog; echo $?; wc -l < log",
    ),
    (
        "python",
        "python3",
        "python3 -c 'import json,subprocess,threading,os,hashlib; print(json.dumps({\"a\":[1,2]})); print(subprocess.run([\"echo\",\"hi\"],capture_output=True).stdout); r=[]; t=[threading.Thread(target=r.append,args=(i,)) for i in range(9)]; [x.start() for x in t]; [x.join() for x in t]; print(sorted(r)); p=os.fork(); p or os._exit(5); print(os.waitpid(p,0)[1])'",
    ),
    (
        "http_on_loopback",
        "python3",
        "echo page > page.txt; python3 -u -m http.server 0 --bind 127.0.0.1 > log 2>&1 & until grep -q port log; do sleep 0.05; done; port=$(sed -n 's/.*port \\([0-9]*\\).*/\\1/p' log); python3 -c 'import sys,urllib.request; print(urllib.request.urlopen(f\"http://localhost:{sys.argv[1]}/page.txt\").read())' $port; exec 3<>/dev/tcp/127.0.0.1/$port; printf 'GET /page.txt HTTP/1.0\\r\\n\\r\\n' >&3; tail -1 <&3; kill %1; wait",
    ),
    (
        "asyncio_and_managers",
        "python3",
        "cat > a.py <<'E'\nimport asyncio, multiprocessing as mp\nasync def main():\n    async def serve(r, w):\n        w.write((await r.readline()).upper()); await w.drain(); w.close()\n    for start, opened, at in ((asyncio.start_server, asyncio.open_connection, ('127.0.0.1', 0)), (asyncio.start_unix_server, asyncio.open_unix_connection, ('s',))):\n        s = await start(serve, *at)\n        name = s.sockets[0].getsockname()\n        r, w = await opened(*(name if isinstance(name, tuple) else (name,)))\n        w.write(b'line\\n'); print(await r.read())\nif __name__ == '__main__':\n    asyncio.run(main())\n    with mp.Manager() as m:\n        d = m.dict(); d['k'] = [1]; print(d)\nE\npython3 a.py",
    ),
    (
        "ssh_agent",
        "ssh-agent",
        "export HOME=$PWD; eval $(ssh-agent -a $PWD/agent) > /dev/null; ssh-keygen -q -t ed25519 -N '' -C c -f id; ssh-add -q id; ssh-add -l | awk '{print $1, $3, $4}'; ssh-agent -k > /dev/null; sleep 0.5; ls id*; until [ ! -e agent ] || [ $((n++)) -gt 50 ]; do sleep 0.1; done",
    ),
    (
        "socat",
        "socat",
        "socat UNIX-LISTEN:u,fork EXEC:'tr a-z A-Z' & until [ -S u ]; do sleep 0.05; done; echo hello | socat - UNIX-CONNECT:u; kill %1; seq 200000 > big; socat ABSTRACT-LISTEN:chitin.$$ EXEC:cat & sleep 0.3; socat -t 10 - ABSTRACT-CONNECT:chitin.$$ < big | cmp - big; echo $?",
    ),
    (
        "perl",
        "perl",
        "perl -e 'my %h; $h{$_%7}++ for 1..100000; print join(\",\", map {\"$_=$h{$_}\"} sort keys %h), \"\\n\"; open F, \"|-\", \"cat\" or die; print F \"piped\\n\"; close F;'",
    ),
];
