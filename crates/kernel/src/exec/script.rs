//! `#!` lines (`execve(2)`, "Interpreter scripts").

use super::{Opener, Program};
use chitin_abi::Errno;

/// Bytes of a file that are looked at (`BINPRM_BUF_SIZE`).
const LOOKED_AT: usize = 256;
/// Most interpreters that are scripts themselves.
const DEPTH: usize = 5;

/// Interpreter and optional argument of a `#!` line.
fn parse(head: &[u8]) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, Errno> {
    let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = match rest.iter().position(|&b| b == b'\n') {
        Some(end) => rest.get(..end).unwrap_or_default(),
        // A path that may have been cut off is not run.
        None if head.len() >= LOOKED_AT
            && !rest.trim_ascii_start().iter().any(|b| matches!(b, b' ' | b'\t' | 0)) =>
        {
            return Err(Errno::ENOEXEC);
        }
        None => rest,
    };
    let line = line.split(|&b| b == 0).next().unwrap_or_default().trim_ascii();
    if line.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    let end = line.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(line.len());
    let (path, argument) = line.split_at(end);
    let argument = argument.trim_ascii();
    Ok(Some((path.to_vec(), (!argument.is_empty()).then(|| argument.to_vec()))))
}

/// Replaces scripts by their interpreters.
pub(super) fn resolve(mut program: Program, open: &Opener<'_>) -> Result<Program, Errno> {
    for _ in 0..=DEPTH {
        let map = program.file.ops().mappable().ok_or(Errno::EACCES)?;
        let mut head = [0; LOOKED_AT];
        let n = map.read_at(0, &mut head)?;
        let Some((path, argument)) = parse(head.get(..n).unwrap_or_default())? else {
            return Ok(program);
        };
        let mut argv = vec![path.clone()];
        argv.extend(argument);
        argv.push(program.path.clone());
        argv.extend(program.argv.drain(..).skip(1));
        program.file = open(&path)?;
        // `AT_EXECFN` and the name of the thread stay those of the script.
        program.argv = argv;
        program.path = path;
    }
    Err(Errno::ELOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_as_linux_does() {
        let parsed = |s: &[u8]| parse(s).unwrap().unwrap();
        assert_eq!(
            parsed(b"#! /bin/sh -e -x \nfoo"),
            (b"/bin/sh".to_vec(), Some(b"-e -x".to_vec()))
        );
        assert_eq!(parsed(b"#!/bin/sh"), (b"/bin/sh".to_vec(), None));
        assert_eq!(parse(b"\x7fELF").unwrap(), None);
        assert_eq!(parse(b"#!\n").unwrap_err(), Errno::ENOEXEC);
        assert_eq!(parse(&[b"#!/", [b'a'; 300].as_slice()].concat()).unwrap_err(), Errno::ENOEXEC);
    }
}
