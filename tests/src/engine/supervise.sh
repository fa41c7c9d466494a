# Keeps one private dockerd: `sh supervise.sh DIR CGROUP TREE [dockerd arguments…]`, as root.
#
# The daemon gets a network and a mount namespace of its own: it cannot meet another daemon's bridge or firewall
# rules, and its mounts go with it. It keeps the host's pids, so that `/proc/PID/fd/N` of a gateway means the same to
# it. All its processes are in one control group, by which they are found at the end. DIR is seen by the daemon under
# the same path. TREE is the root it runs in, or "-" for the host's.
#
# Orders come as lines on standard input (start, stop, kill) and are answered with "done". At the end of the input,
# that is also when the test was killed, everything is removed.
dir=$1 cgroup=$2 tree=$3
shift 3
: "${LIMIT_TICKS:=150}"
p=

inside='
set -e
dir=$1 cgroup=$2 tree=$3 home=$4
shift 4
echo $$ >"$home/cgroup.procs"
ip link set lo up
root=
if [ "$tree" != - ]; then
  root=$dir/root
  mkdir -p "$root"
  mount --bind "$tree" "$root"
  for d in /dev /sys /proc /tmp; do mount --rbind "$d" "$root$d"; done
  mkdir -p "$root$dir"
  mount --bind "$dir" "$root$dir"
fi
set -- dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" -H "unix://$dir/docker.sock" \
  --cgroup-parent "/$cgroup/engine" "$@"
if [ -n "$root" ]; then
  # Not chroot: what enters a container of such an engine would land in the root of the namespace, outside of it.
  cd "$root"
  pivot_root . mnt
  umount -l mnt
  exec chroot . "$@"
fi
exec "$@"
'

# The directories of the group in every hierarchy, and the one by which the daemon is found.
tops() { for t in /sys/fs/cgroup/*/"$cgroup" /sys/fs/cgroup/"$cgroup"; do [ ! -d "$t" ] || echo "$t"; done; }
home=/sys/fs/cgroup
[ ! -d /sys/fs/cgroup/pids ] || home=/sys/fs/cgroup/pids
home=$home/$cgroup/daemon

start() {
  # What is left of a daemon that was killed is like what a reboot leaves: nothing under /run.
  rm -rf "$dir/exec" "$dir/pid" "$dir/docker.sock"
  mkdir -p "$home"
  unshare -m -n --propagation private \
    sh -c "$inside" dockerd "$dir" "$cgroup" "$tree" "$home" "$@" </dev/null >>"$dir/log" 2>&1 &
  p=$!
}

# Kills what is in the group, the daemon first, until nothing is.
sweep() {
  n=0
  while [ $n -lt 100 ]; do
    left=$(tops | while read -r t; do find "$t" -name cgroup.procs -exec cat {} + 2>/dev/null; done | sort -u)
    [ -n "$left" ] || return 0
    kill -KILL $left 2>/dev/null
    sleep 0.05
    n=$((n + 1))
  done
}

end() {
  [ -n "$p" ] || return 0
  if [ "$1" = TERM ]; then
    kill -TERM "$p" 2>/dev/null
    n=0
    while kill -0 "$p" 2>/dev/null && [ $n -lt "$LIMIT_TICKS" ]; do
      sleep 0.1
      n=$((n + 1))
    done
  fi
  kill -KILL "$p" 2>/dev/null
  wait "$p" 2>/dev/null
  p=
  sweep
}

while read -r order; do
  case $order in
  start) start "$@" ;;
  stop) end TERM ;;
  kill) end KILL ;;
  esac
  echo "done"
done
end KILL

# Control groups and files are busy until the last process is buried.
n=0
while [ $n -lt 50 ]; do
  tops | while read -r top; do find "$top" -depth -type d -exec rmdir {} + 2>/dev/null; done
  rm -rf --one-file-system "$dir" 2>/dev/null
  left=$(tops; [ ! -e "$dir" ] || echo "$dir")
  [ -n "$left" ] || exit 0
  sleep 0.1
  n=$((n + 1))
done
echo "cannot remove $left" >&2
exit 1
