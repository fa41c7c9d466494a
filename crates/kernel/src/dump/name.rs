//! The name of a core file (`core(5)`, "Naming of core dump files").

use crate::sync::RwLock;
use crate::task::Task;
use chitin_abi::Errno;
use chitin_abi::task::RLIMIT_CORE;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest pattern in bytes.
const PATTERN_MAX: usize = 127;
/// Longest name in bytes (`PATH_MAX`).
const NAME_MAX: usize = 4095;

/// `/proc/sys/kernel/core_pattern` and `core_uses_pid`.
pub struct Settings {
    pattern: RwLock<Vec<u8>>,
    uses_pid: AtomicBool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pattern: RwLock::new(b"core".to_vec()), uses_pid: AtomicBool::new(false) }
    }
}

impl Settings {
    /// The pattern.
    #[must_use]
    pub fn pattern(&self) -> Vec<u8> {
        self.pattern.read().clone()
    }

    /// Changes it. Programs and sockets cannot be given core files: `EOPNOTSUPP`.
    pub fn set_pattern(&self, pattern: &[u8]) -> Result<(), Errno> {
        if let [b'|' | b'@', ..] = pattern {
            return Err(Errno::EOPNOTSUPP);
        }
        *self.pattern.write() = pattern.get(..PATTERN_MAX).unwrap_or(pattern).to_vec();
        Ok(())
    }

    /// Whether names without a process number get one.
    #[must_use]
    pub fn uses_pid(&self) -> bool {
        self.uses_pid.load(Ordering::Relaxed)
    }

    /// Says whether they do.
    pub fn set_uses_pid(&self, uses: bool) {
        self.uses_pid.store(uses, Ordering::Relaxed);
    }

    /// The name for a process that ends by this signal in this thread.
    pub(super) fn name(&self, task: &Arc<Task>, signo: i32) -> Result<Vec<u8>, Errno> {
        let (mut name, mut has_pid) = (Vec::new(), false);
        let pattern = self.pattern();
        let mut rest = pattern.iter().copied();
        while let Some(byte) = rest.next() {
            match byte {
                b'%' => match rest.next() {
                    Some(what) => {
                        has_pid |= what == b'p';
                        name.extend(part(task, signo, what));
                    }
                    None => break,
                },
                _ => name.push(byte),
            }
        }
        if !has_pid && self.uses_pid() {
            name.extend(format!(".{}", task.process.pid).bytes());
        }
        if name.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(name) }
    }
}

/// What stands for `%` and this letter.
fn part(task: &Arc<Task>, signo: i32, what: u8) -> Vec<u8> {
    let cred = task.cred();
    let text = match what {
        b'%' => "%".to_owned(),
        b'p' | b'P' => task.process.pid.to_string(),
        b'i' | b'I' => task.tid().to_string(),
        b'u' => cred.uid.to_string(),
        b'g' => cred.gid.to_string(),
        // Only those that are dumpable are dumped.
        b'd' => "1".to_owned(),
        b's' => signo.to_string(),
        b't' => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(0, |now| now.as_secs()).to_string()
        }
        b'c' => task.process.limit(RLIMIT_CORE).to_string(),
        b'h' => return plain(task.kernel.names.read().0.clone()),
        b'e' => return plain(task.comm.lock().clone()),
        b'f' | b'E' => {
            let path = exe(task);
            let from = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
            let from = if what == b'f' { from } else { 0 };
            return plain(path.get(from..).unwrap_or_default().to_vec());
        }
        _ => String::new(),
    };
    text.into_bytes()
}

/// The path of the program.
fn exe(task: &Arc<Task>) -> Vec<u8> {
    let path = task.process.exe.lock().as_ref().map(|running| running.path().clone());
    let root = task.fs().root.read().clone();
    let name = path.and_then(|path| crate::vfs::lookup::name_of(task, &path, &root));
    name.unwrap_or_else(|| task.comm.lock().clone())
}

/// A name that leads to no other directory.
fn plain(mut name: Vec<u8>) -> Vec<u8> {
    name.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'!');
    if name.first() == Some(&b'.') && name.iter().all(|&b| b == b'.') {
        name.iter_mut().take(1).for_each(|b| *b = b'!');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_files_and_have_a_limit() {
        let settings = Settings::default();
        assert_eq!(settings.pattern(), b"core");
        assert_eq!(settings.set_pattern(b"|/bin/cat"), Err(Errno::EOPNOTSUPP));
        assert_eq!(settings.set_pattern(b"@socket"), Err(Errno::EOPNOTSUPP));
        assert_eq!(settings.pattern(), b"core");
        assert_eq!(settings.set_pattern(&[b'a'; 200]), Ok(()));
        assert_eq!(settings.pattern(), [b'a'; PATTERN_MAX]);
    }

    #[test]
    fn names_stay_where_they_are() {
        assert_eq!(plain(b"a/../b".to_vec()), b"a!..!b");
        assert_eq!(plain(b"..".to_vec()), b"!.");
        assert_eq!(plain(b".a".to_vec()), b".a");
    }
}
