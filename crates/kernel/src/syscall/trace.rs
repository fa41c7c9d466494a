//! The log of system calls, in the manner of `strace(1)`, decoded by the table.

use super::decode::{self, Call};
use super::{Syscall, TABLE};
use crate::error::{SysError, SysResult};
use crate::signal::SigInfo;
use crate::task::{CurrentTask, ExitStatus, Pid};
use chitin_usermem::UserMemory;
use std::collections::HashMap;
use std::fmt::Write;

/// Formats calls and gives the lines to a sink.
pub struct Tracer {
    sink: Box<dyn Fn(&str) + Send + Sync>,
    rows: HashMap<u64, &'static Syscall>,
}

/// What is known of a call before it runs.
pub struct Entered {
    args: String,
    start: u64,
}

impl Tracer {
    /// A tracer that hands complete lines, without a newline, to `sink`.
    #[must_use]
    pub fn new(sink: Box<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { sink, rows: TABLE.iter().map(|row| (row.nr, row)).collect() }
    }

    fn arguments(
        &self,
        mem: &dyn UserMemory,
        nr: u64,
        args: [u64; 6],
        result: Option<u64>,
    ) -> String {
        let mut out = String::new();
        let Some(row) = self.rows.get(&nr) else {
            let _ = write!(out, "{args:#x?}");
            return out;
        };
        for (i, (arg, raw)) in row.args.iter().zip(args).enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            let call = Call { name: row.name, args, index: i, result };
            if !decode::show(&call, arg.name, mem, &mut out) {
                (arg.show)(raw, mem, &mut out);
            }
        }
        out
    }

    /// A call begins.
    #[must_use]
    pub fn enter(&self, cur: &CurrentTask, nr: u64, args: [u64; 6]) -> Entered {
        let args = self.arguments(&**cur.mm(), nr, args, None);
        Entered { args, start: chitin_executor::Executor::now() }
    }

    /// It has ended.
    pub fn leave(
        &self,
        cur: &CurrentTask,
        nr: u64,
        args: [u64; 6],
        entered: Entered,
        result: &SysResult,
    ) {
        let row = self.rows.get(&nr);
        let mut line = format!("{} ", cur.task().tid());
        match row {
            Some(row) => line.push_str(row.name),
            None => {
                let _ = write!(line, "syscall_{nr}");
            }
        }
        let filled = |r: &&Syscall| r.args.iter().any(|a| a.out || decode::filled(r.name, a.name));
        let shown = match (row.filter(|r| filled(r)), result) {
            (Some(_), Ok(value)) => self.arguments(&**cur.mm(), nr, args, Some(*value)),
            _ => entered.args,
        };
        let _ = write!(line, "({shown}) = ");
        let _ = match result {
            Ok(value) if *value > 0xffff_ffff => write!(line, "{value:#x}"),
            Ok(value) => write!(line, "{value}"),
            Err(SysError::Errno(e)) => {
                decode::failure(*e, &mut line);
                Ok(())
            }
            Err(SysError::Restart(kind)) => write!(line, "? ({kind:?} restart)"),
            Err(SysError::KeepRegisters) => write!(line, "?"),
        };
        let elapsed = chitin_executor::Executor::now().saturating_sub(entered.start) / 1000;
        let _ = write!(line, " <{elapsed} µs>");
        (self.sink)(&line);
    }

    /// The first program is executed.
    pub fn first(&self, tid: Pid, path: &[u8], argv: &[Vec<u8>], variables: usize) {
        let text = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(bytes));
        let argv: Vec<_> = argv.iter().map(|arg| text(arg)).collect();
        let (path, argv) = (text(path), argv.join(", "));
        (self.sink)(&format!("{tid} execve({path}, [{argv}], /* {variables} vars */) = 0"));
    }

    /// A signal is delivered.
    pub fn signal(&self, tid: Pid, info: &SigInfo) {
        (self.sink)(&format!("{tid} --- {} ---", decode::signal(info.signo())));
    }

    /// A thread has ended.
    pub fn ended(&self, tid: Pid, status: ExitStatus) {
        (self.sink)(&match status {
            ExitStatus::Exited(status) => format!("{tid} +++ exited with {status} +++"),
            ExitStatus::Signaled { signo, .. } => {
                format!("{tid} +++ killed by {} +++", decode::signal(signo))
            }
        });
    }
}
