# Makes the tree of the newest engine: `sh newest.sh TREE MIRROR`, as root. One at a time; an existing tree is kept.
set -eu
tree=$1 mirror=$2
mkdir -p "${tree%/*}"
exec 9>"$tree.lock"
flock 9
[ ! -x "$tree/usr/sbin/dockerd" ] || exit 0
rm -rf --one-file-system "$tree.new" "$tree"
debootstrap --variant=minbase --include=docker.io,iptables,iproute2,ca-certificates sid "$tree.new" "$mirror" \
  >"$tree.log" 2>&1 || { tail -n 5 "$tree.log" >&2; exit 1; }
rm -rf "$tree.new"/var/cache/apt/archives/*.deb
mv "$tree.new" "$tree"
