//! Listings of the host's own directories, which must be the same inside: what changes meanwhile is left out, and what
//! is hidden inside on purpose.

use super::{Case, User, run_script};
use chitin_tests::{Place, is_root, top};
use std::collections::BTreeSet;

/// How often a listing of a tree that changes is repeated.
const TRIES: usize = 3;

const FIND: &str = "find / -xdev -printf '%p\\t%y %m %U %G\\n' 2> /dev/null; true";

/// Who looks: under Chitin root sees no more than others of what is not its own.
fn viewer() -> User {
    if is_root() { User::Nobody } else { User::Caller }
}

pub(crate) fn cases(heavy: bool) -> Vec<Case> {
    let usr = |name: &str, script: &'static str| {
        Case::new(name, "ls", move |place| same_while_quiet(place, script))
    };
    let mut cases = vec![
        usr("ls_lr_usr", "cd /usr; ls -lR --time-style=full-iso . 2> /dev/null"),
        usr("du_usr", "exec 2> /dev/null; du -s --apparent-size /usr; du -s /usr"),
        Case::new("find_root", "find", find),
    ];
    if heavy {
        let script =
            "cd /usr/lib; find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum";
        cases.push(usr("hashes_of_usr_lib", script));
    }
    cases
}

/// The same output in both places; a difference counts if the host's own has not changed meanwhile.
fn same_while_quiet(place: &Place, script: &str) -> Result<(), String> {
    let mut before = run_script(&Place::Native, script, viewer())?;
    for _ in 0..TRIES {
        let inside = run_script(place, script, viewer())?;
        if inside.status == before.status && inside.stdout == before.stdout {
            return Ok(());
        }
        let after = run_script(&Place::Native, script, viewer())?;
        if after == before {
            return Err(format!("{script}: {}", difference(&before.stdout, &inside.stdout)));
        }
        before = after;
    }
    Err(format!("the host changes too fast for a comparison of `{script}`"))
}

fn difference(native: &[u8], inside: &[u8]) -> String {
    let (native, inside) = (String::from_utf8_lossy(native), String::from_utf8_lossy(inside));
    let mut pairs = native.lines().zip(inside.lines());
    match pairs.find(|(a, b)| a != b) {
        Some((a, b)) => format!("native `{a}`, under Chitin `{b}`"),
        None => {
            format!("{} lines native, {} inside", native.lines().count(), inside.lines().count())
        }
    }
}

/// Paths that differ on purpose: those that are masked, in home directories or elsewhere, what Chitin mounts itself, and
/// what is another file system on the host, but not inside. Scratch directories come and go.
fn left_out() -> Result<Vec<String>, String> {
    let list = top().join("crates/sentry/src/masks.list");
    let text = std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let own = ["/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/home"];
    let mut out: Vec<String> = own.map(String::from).to_vec();
    out.extend(text.lines().map(str::trim).filter(|l| l.starts_with('/')).map(String::from));
    let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?;
    let places = mounts.lines().filter_map(|l| l.split(' ').nth(1));
    out.extend(places.filter(|p| *p != "/").map(String::from));
    Ok(out)
}

fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All that there is before and after on the host is there inside, and hardly anything else.
fn find(place: &Place) -> Result<(), String> {
    let out = left_out()?;
    let listing = |place: &Place| -> Result<BTreeSet<String>, String> {
        let outcome = run_script(place, FIND, viewer())?;
        if outcome.status != 0 || outcome.timed_out {
            return Err(format!("find: {outcome}"));
        }
        let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
        let kept = text.lines().filter(|line| {
            let path = line.split('\t').next().unwrap_or_default();
            path != "/" && !out.iter().any(|place| is_below(path, place))
        });
        Ok(kept.map(String::from).collect())
    };
    let before = listing(&Place::Native)?;
    let inside = listing(place)?;
    let after = listing(&Place::Native)?;
    let few = |lines: Vec<&String>| (lines.len(), lines.into_iter().take(10).cloned().collect());
    let (missing, examples): (usize, Vec<String>) =
        few(before.intersection(&after).filter(|l| !inside.contains(*l)).collect());
    let (extra, more): (usize, Vec<String>) =
        few(inside.iter().filter(|l| !before.contains(*l) && !after.contains(*l)).collect());
    // What was there only in between can be no more than what changes at this rate.
    let changed = before.symmetric_difference(&after).count();
    match missing == 0 && extra <= changed && !inside.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{} paths inside; {missing} missing: {examples:?}; {extra} only there: {more:?}",
            inside.len()
        )),
    }
}
