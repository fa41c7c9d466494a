# Imports the tests' image, without any registry: `sh image.sh DIR NAME`. It holds busybox and its applets.
#
# The host's busybox may be linked dynamically, and a static one cannot be installed beside it: then Debian's package is
# fetched and unpacked, once.
set -eu
base=$1/base keep=/var/cache/chitin-tests/busybox
mkdir -p "$base/bin" "$base/etc" "$base/tmp" "$base/root" "$base/var"
for busybox in "$(command -v busybox || true)" "$keep/bin/busybox"; do
  [ ! -x "$busybox" ] || cp "$busybox" "$base/bin/busybox"
  if chroot "$base" /bin/busybox true 2>/dev/null; then break; fi
done
if ! chroot "$base" /bin/busybox true 2>/dev/null; then
  mkdir -p "$1/deb"
  (cd "$1/deb" && apt-get download busybox-static >/dev/null && dpkg-deb -x busybox-static*.deb .)
  mkdir -p "$keep/bin"
  cp "$1/deb/bin/busybox" "$keep/bin/busybox.$$"
  mv "$keep/bin/busybox.$$" "$keep/bin/busybox"
  cp "$keep/bin/busybox" "$base/bin/busybox"
  chroot "$base" /bin/busybox true
fi
cd "$base"
for applet in $(bin/busybox --list); do
  [ "$applet" = busybox ] || ln -sf busybox "bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n' >etc/passwd
printf 'root:x:0:\nuser:x:1000:\n' >etc/group
chmod 1777 tmp
tar -c . | docker import -c 'CMD ["sh"]' -c 'ENV PATH=/bin' - "$2"
