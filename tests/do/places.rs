//! Places where Chitin must run: as root, as a user, without user namespaces, without any, in bwrap, in a container with
//! Docker's default seccomp profile. What a place takes away is said once on standard error.

use std::process::Command;

use crate::{Case, LIMIT};
use chitin_tests::engine::{Engine, IMAGE, Kind};
use chitin_tests::{Outcome, Scratch, chitin_path, has, is_root, run};

/// What runs in each place: pipes, processes, signals, files, and that nothing reaches the host.
const PROBE: &str = "echo in | sed s/in/out/; i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done; (exit 3); echo $?; \
    trap 'echo caught' USR1; kill -USR1 $$; mkdir -p /tmp/d; echo made > /tmp/d/f; cat /tmp/d/f; ls -ld / | cut -c1-10";
const ANSWER: &str = "out\n3\ncaught\nmade\ndrwxr-xr-x\n";
/// What is said where there are no namespaces.
const SAID: &str = "chitin: this host permits no namespaces";

/// A place and how a command gets there.
struct Place {
    name: &'static str,
    needs: &'static [&'static str],
    root: bool,
    /// `$1` is Chitin, the rest its arguments.
    way: &'static str,
    /// How often what is left is told; `None`: it depends on the caller.
    said: Option<usize>,
}

const NO_USER_NAMESPACES: &str = "echo 0 > /proc/sys/user/max_user_namespaces";

/// Every way ends by executing `"$@"`.
const PLACES: &[Place] = &[
    Place { name: "as_caller", needs: &[], root: false, way: "exec \"$@\"", said: Some(0) },
    Place {
        name: "as_user",
        needs: &["setpriv"],
        root: true,
        way: "exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"",
        said: Some(0),
    },
    Place {
        name: "root_without_user_namespaces",
        needs: &["unshare"],
        root: false,
        way: "exec unshare -Ur sh -c 'LIMIT; exec \"$@\"' sh \"$@\"",
        said: Some(0),
    },
    Place {
        name: "user_without_namespaces",
        needs: &["unshare", "setpriv"],
        root: false,
        way: "exec unshare -Ur sh -c 'LIMIT; exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- \"$@\"' sh \"$@\"",
        said: Some(1),
    },
    Place {
        name: "chroot",
        needs: &["chroot"],
        root: true,
        way: "mkdir r; for d in usr bin lib lib64 proc dev; do mkdir r/$d; mount --bind /$d r/$d; done; mkdir -m 1777 r/tmp; \
              cp $1 r/chitin; shift; exec chroot r setpriv --reuid=65534 --regid=65534 --clear-groups -- /chitin \"$@\"",
        said: Some(1),
    },
    Place {
        name: "bwrap",
        needs: &["bwrap"],
        root: false,
        way: "exec bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --ro-bind $1 /tmp/chitin --unshare-all -- /tmp/chitin \"${@:2}\"",
        said: Some(0),
    },
    Place {
        name: "bwrap_without_user_namespaces",
        needs: &["bwrap"],
        root: false,
        way: "exec bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --ro-bind $1 /tmp/chitin --unshare-all --unshare-user --disable-userns -- /tmp/chitin \"${@:2}\"",
        said: None,
    },
];

/// Runs the probe by a way into a place.
fn probe(way: &str, script: &str) -> Result<Outcome, String> {
    let scratch = Scratch::new("place")?;
    // Other users cannot look into the target directory.
    let chitin = scratch.path().join("chitin");
    std::fs::copy(chitin_path(), &chitin).map_err(|e| format!("cannot copy Chitin: {e}"))?;
    let way = way.replace("LIMIT", NO_USER_NAMESPACES);
    let mut command = Command::new("bash");
    if is_root() && has("unshare") {
        // Mounts of the way go with it.
        command = Command::new("unshare");
        command.args(["-m", "bash"]);
    }
    command.args(["-c", &way, "way"]).arg(&chitin);
    command.args(["do", "--cwd", "/", "--", "/bin/sh", "-c", script]).current_dir(scratch.path());
    run(&mut command, b"", LIMIT)
}

fn judge(out: &Outcome, said: Option<usize>) -> Result<(), String> {
    let heard = String::from_utf8_lossy(&out.stderr).matches(SAID).count();
    let good = out.status == 0 && out.stdout == ANSWER.as_bytes() && heard == said.unwrap_or(heard);
    let said = format!("expected {ANSWER:?} and the message {said:?} times");
    if good { Ok(()) } else { Err(format!("{said}: {out}")) }
}

/// Whether the place itself can be had here.
fn reachable(way: &str) -> Result<(), String> {
    let out = {
        let scratch = Scratch::new("place")?;
        let way = way.replace("LIMIT", NO_USER_NAMESPACES);
        let mut command = Command::new("bash");
        if is_root() && has("unshare") {
            command = Command::new("unshare");
            command.args(["-m", "bash"]);
        }
        command.args(["-c", &way, "way", "/bin/true"]).current_dir(scratch.path());
        run(&mut command, b"", LIMIT)?
    };
    if out.status == 0 { Ok(()) } else { Err(out.to_string()) }
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for place in PLACES {
        let name = format!("places::{}", place.name);
        let missing = place.needs.iter().find(|p| !has(p));
        let why = match missing {
            Some(program) => Err(format!("{program} is not installed")),
            None if place.root && !is_root() => Err("it needs root".into()),
            None => reachable(place.way),
        };
        match why {
            Err(why) => println!("{name}: skipped: {why}"),
            Ok(()) => {
                let body = move || judge(&probe(place.way, PROBE)?, place.said);
                cases.push((name, String::new(), Box::new(body)));
            }
        }
    }
    cases.push(("places::owners".into(), "setpriv".into(), Box::new(owners)));
    cases.push(("places::docker".into(), "dockerd".into(), Box::new(docker)));
    cases
}

/// A user sees the host's owners although its namespace has no names for them.
fn owners() -> Result<(), String> {
    if !is_root() {
        println!("places::owners: skipped: it needs root to become somebody else");
        return Ok(());
    }
    let list = "stat -c '%U %G %n' / /etc /etc/passwd /usr/bin/env";
    let native = run(Command::new("sh").args(["-c", list]), b"", LIMIT)?;
    let way = "exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"";
    let chitin = probe(way, list)?;
    if native == chitin { Ok(()) } else { Err(format!("native: {native}\nChitin: {chitin}")) }
}

/// In a container with the default profiles, as root and as a user, with and without capabilities.
fn docker() -> Result<(), String> {
    let engine = match Engine::start(Kind::Stable) {
        Ok(engine) => engine,
        Err(why) => {
            println!("places::docker: skipped: {why}");
            return Ok(());
        }
    };
    let chitin = engine.dir().join("chitin");
    std::fs::copy(chitin_path(), &chitin).map_err(|e| format!("cannot copy Chitin: {e}"))?;
    let mount = format!("{}:/chitin:ro", chitin.display());
    let ways: [&[&str]; 4] =
        [&[], &["--user", "1000"], &["--cap-drop", "ALL"], &["--read-only", "--tmpfs", "/tmp"]];
    for way in ways {
        let mut command = engine.docker(&["run", "--rm", "-v", &mount]);
        command.args(way).args([IMAGE, "/chitin", "do", "--", "/bin/sh", "-c", PROBE]);
        let out = run(&mut command, b"", LIMIT)?;
        judge(&out, Some(1)).map_err(|e| format!("docker run {}: {e}", way.join(" ")))?;
    }
    Ok(())
}
