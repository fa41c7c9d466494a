//! What programs learn of the system and of each other from `/proc`, `/sys` and calls that ask: the part of it that
//! must be the same inside.

/// Name, the programs it needs, and the script; it runs in an empty directory.
pub(crate) const SCRIPTS: &[(&str, &str, &str)] = &[
    (
        "counts_of_cpus",
        "python3 lscpu nproc",
        r#"nproc; nproc --all; getconf _NPROCESSORS_ONLN; getconf _NPROCESSORS_CONF
python3 -c 'import os; print(os.cpu_count(), sorted(os.sched_getaffinity(0)))'
lscpu -p=CPU | grep -vc '#'; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/{online,possible,present}
grep -m1 '^model name' /proc/cpuinfo; lscpu | grep -E '^(Architecture|Byte Order|Vendor ID|L1d cache|L2 cache|NUMA node\(s\))'"#,
    ),
    (
        "processes_by_ps",
        "ps",
        r#"sleep 77 & (exec -a 'strange (name) x' sleep 78) &
sleep 0.3; ps -o stat=,comm=,args=,nlwp=,ni= --ppid $$ | grep sleep | awk '{print $1,$2,$3,$4,$5,$6,$7}'
ps -o ppid= -p $! | tr -d ' ' | grep -cx $$; (exit 3) & p=$!; sleep 0.2; ps -o stat=,comm= -p $p
kill -STOP %1; sleep 0.2; ps -o stat= -p $(jobs -p | head -1) | cut -c1; kill -CONT %1; kill %1 %2; wait; ps -o pid= -p $! || echo gone"#,
    ),
    (
        "own_status",
        "grep",
        r#"grep -E '^(Name|State|Threads|TracerPid|Uid|Gid|NoNewPrivs|SigIgn|SigBlk|Seccomp):' /proc/self/status
trap '' USR1; bash -c 'while read -r line; do case $line in Sig[IC]g[nt]*) echo "$line";; esac; done < /proc/$$/status'; umask 027; grep Umask /proc/self/status
cat /proc/self/comm; cat /proc/self/cmdline | tr '\0' ' '; X=1 cat /proc/self/environ | tr '\0' '\n' | grep ^X
awk '{print $2, $3, NF}' /proc/self/stat; awk '{print NF}' /proc/self/statm; readlink /proc/self/exe /proc/self/cwd /proc/self/root | sed "s|$PWD|HERE|"
ulimit -n 77; awk '/open files/ {print $4, $5}' /proc/self/limits; cat /proc/self/{uid_map,gid_map,setgroups,personality,oom_score_adj}"#,
    ),
    (
        "own_memory",
        "python3",
        r#"cat > m.py <<'E'
import ctypes, mmap, re
text = ctypes.create_string_buffer(b"before")
m = mmap.mmap(-1, 5 << 20); m.write(b"x" * (3 << 20))
with open("/proc/self/mem", "r+b", buffering=0) as f:
    at = ctypes.addressof(text); f.seek(at); print(f.read(6)); f.seek(at); f.write(b"after!"); print(text.value)
    f.seek(16)
    try: f.read(1)
    except OSError as e: print(e.errno)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
row = None
for line in open("/proc/self/smaps"):
    if re.match("[0-9a-f]+-", line):
        a, b = (int(n, 16) for n in line.split()[0].split("-")); row = a <= at < b
    elif row and line.startswith("Rss:"):
        print(int(line.split()[1]) >= 3000)
print(sorted({l.split()[-1] for l in open("/proc/self/maps") if l.rstrip().endswith(("[heap]", "[stack]"))}))
print([l.split(":")[0] for l in open("/proc/self/smaps_rollup")][1:4])
with open("/proc/self/pagemap", "rb", buffering=0) as f:
    f.seek(at // 4096 * 8); print(int.from_bytes(f.read(8), "little") >> 63)
E
python3 m.py"#,
    ),
    (
        "descriptors_of_a_process",
        "lsof readlink",
        r#"exec 3< /etc/passwd 4> out 5<> /dev/null; echo abc >&4; mkfifo f; exec 6<> f
readlink /proc/$$/fd/{3,4,5,6} | sed "s|$PWD|HERE|"; grep -hE '^(pos|flags)' /proc/$$/fdinfo/{3,4,5}
rm out; readlink /proc/$$/fd/4 | sed "s|$PWD|HERE|"; cat /proc/$$/fd/4; wc -c < /proc/self/fd/4
lsof -a -p $$ -d 3-6 -F ftan | grep -v ^p | sed "s|$PWD|HERE|"; ls -l /proc/self/fd | awk '$9 == 5 {print $1}'; ls /proc/self/fd/99 2>/dev/null; echo $?"#,
    ),
    (
        "tables_that_tools_parse",
        "free vmstat uptime top",
        r#"free | awk '{print $1, NF}'; free | awk '/Mem/ {print ($2 > 0), ($2 >= $4)}'; vmstat | awk '{print NF}'; uptime | grep -c 'load average'
top -b -n1 | awk 'NR==7 {print NF; print $1, $2, $12}'; awk '{print NF}' /proc/loadavg /proc/uptime
head -1 /proc/stat | awk '{print $1, NF}'; grep -c '^cpu[0-9]' /proc/stat; grep -E '^(MemTotal|MemAvailable|SwapFree|Hugepagesize):' /proc/meminfo | awk '{print $1, $3}'
awk '$2=="/proc" {print $1,$3}' /proc/mounts | tail -1; cut -c1-14 /proc/version"#,
    ),
    (
        "names_that_can_be_set",
        "bash",
        r#"cat > c.sh <<'E'
read x < /proc/$$/comm; echo $x; echo a-name-that-is-too-long > /proc/$$/comm; cat /proc/$$/comm
echo 700 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj /proc/self/oom_adj; echo 5000 > /proc/self/oom_score_adj; echo $?
E
bash c.sh 2>/dev/null; echo end"#,
    ),
    (
        "namespaces_and_groups",
        "readlink",
        r#"for n in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$n | tr -d 0-9; a=$(stat -Lc %i /proc/self/ns/$n); b=$(readlink /proc/self/ns/$n | tr -cd 0-9); echo $((a == b)); done
stat -fc %T /proc /sys; ls -d /sys/class/net/lo /sys/block /sys/kernel/mm/transparent_hugepage; cat /sys/class/net/lo/{mtu,ifindex,type,address}"#,
    ),
];
