//! What sandboxes leave behind: nothing, however they end. Everything runs in a pid and a mount namespace of its own, so
//! that whatever is there in the end is left over.

use std::process::Command;

use crate::{Case, LIMIT};
use chitin_tests::{Scratch, chitin_path, knob, run};

/// `$CHITIN` and `$N` are given. Prints what is left, if anything; the last line is `clean`.
const FRAME: &str = r#"
for d in /tmp /run /dev/shm; do mount -t tmpfs tmpfs $d || exit 99; done
mount -t proc proc /proc || exit 99
processes() { for p in /proc/[0-9]*; do [ -e "$p/exe" ] || continue; n=${p#/proc/}; [ $n = 1 ] || [ $n = $$ ] || echo $n; done; }
left() {
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    alive=
    for p in /proc/[0-9]*; do
      n=${p#/proc/}
      [ $n != 1 ] && [ $n != $$ ] && [ -e $p ] && alive="$alive $n:$(cat $p/comm 2>/dev/null)"
    done
    [ -n "$alive" ] || return 0
    sleep 0.1
  done
  echo "left over after $1: $alive"
}
mounts() { wc -l < /proc/self/mountinfo; }
files() { find /tmp /run /dev/shm | wc -l; }
groups() { find /sys/fs/cgroup -maxdepth 3 -type d -iname '*sentry*' 2>/dev/null | wc -l; }
before="$(mounts) $(files) $(groups)"
body
left "the end"
after="$(mounts) $(files) $(groups)"
[ "$before" = "$after" ] || echo "mounts, files, groups: $before before, $after after"
echo clean
"#;

const RUNS: &str = r#"
body() {
  i=0
  while [ $i -lt $N ]; do
    $CHITIN do -- /bin/true || echo "run $i: status $?"
    i=$((i+1))
  done
}
"#;

/// Kills the sentry, or in every third round the launcher, after up to 120 ms: during the start, `execve`, and storms of
/// processes.
const KILLS: &str = r#"
body() {
  i=0
  while [ $i -lt $N ]; do
    case $((i % 4)) in
      0) set -- sleep 60 ;;
      1) set -- sh -c 'while :; do /bin/true; done' ;;
      2) set -- sh -c 'while :; do (sleep 60 &) ; done' ;;
      3) set -- sh -c 'f() { f & f; }; sleep 0.02; f' ;;
    esac
    $CHITIN do --pids 60 -- "$@" >/dev/null 2>&1 &
    launcher=$!
    sleep 0.$(printf %03d $((RANDOM % 120)))
    victim=$(cat /proc/$launcher/task/$launcher/children 2>/dev/null)
    [ $((i % 3)) = 0 ] && victim=$launcher
    [ -n "$victim" ] && kill -KILL $victim 2>/dev/null
    [ -n "$victim" ] || kill -KILL $launcher
    wait $launcher
    left "kill $i of $*"
    i=$((i+1))
  done 2>/dev/null
}
"#;

/// CPU time of all processes of idle sandboxes, in ticks, over some seconds.
const IDLE: &str = r#"
body() {
  mkfifo /tmp/fifo
  sleep 1000 > /tmp/fifo &
  for o in "" "--memory 100m"; do
    $CHITIN do $o -- sleep 1000 &
    $CHITIN do $o -- sh -c 'cat | cat' < /tmp/fifo &
    $CHITIN do $o -- sh -c 'sleep 1000 & wait' &
    if command -v python3 > /dev/null; then
      $CHITIN do $o -- python3 -c 'import threading, select, os, time
r, w = os.pipe()
threading.Thread(target=lambda: os.read(r, 1), daemon=True).start()
threading.Thread(target=lambda: select.select([r], [], []), daemon=True).start()
threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()
time.sleep(1000)' &
    fi
  done
  sleep 3
  ticks() { cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | awk '{t += $12 + $13} END {print t}'; }
  own() { sed 's/.*) //' /proc/$$/stat | awk '{print $12 + $13 + $14 + $15}'; }
  a=$(ticks) o=$(own)
  sleep $N
  b=$(ticks) p=$(own)
  used=$((b - a - (p - o)))
  [ $used -le 1 ] || echo "idle sandboxes used $used ticks of CPU time in $N s"
  [ "$(ls -d /proc/[0-9]* | wc -l)" -gt 15 ] || echo "the sandboxes were not there"
  kill $(jobs -p); wait; rm /tmp/fifo
} 2>/dev/null
"#;

fn judge(script: &str, n: u64) -> Result<(), String> {
    let scratch = Scratch::new("life")?;
    // The test's own /tmp hides what is there.
    let chitin = scratch.path().join("chitin");
    std::fs::copy(chitin_path(), &chitin).map_err(|e| format!("cannot copy Chitin: {e}"))?;
    let text = format!("exec 9<{0}; {script}{FRAME}", chitin.display());
    let mut command = Command::new("unshare");
    command.args(["-Urpmf", "bash", "-c", &text]).current_dir("/");
    command.env("CHITIN", "/proc/self/fd/9").env("N", n.to_string());
    let out = run(&mut command, b"", LIMIT.max(std::time::Duration::from_secs(n)))?;
    if out.status == 99 {
        println!("life: skipped: no namespaces for the test itself: {out}");
        return Ok(());
    }
    match out.status == 0 && out.stdout == b"clean\n" {
        true => Ok(()),
        false => Err(out.to_string()),
    }
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let (runs, kills) = (knob("CHITIN_LIFE_RUNS", 50), knob("CHITIN_LIFE_KILLS", 30));
    vec![
        ("life::runs".into(), "unshare".into(), Box::new(move || judge(RUNS, runs))),
        ("life::kills".into(), "unshare".into(), Box::new(move || judge(KILLS, kills))),
        ("life::idle".into(), "unshare".into(), Box::new(|| judge(IDLE, 4))),
    ]
}
