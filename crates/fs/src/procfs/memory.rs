//! `/proc/PID/maps`, `smaps`, `smaps_rollup`, `pagemap` and `mem`: the memory of a
//! process.
//!
//! What of the sandbox's memory is behind an area is asked of the host; pages of files
//! count as resident when they are mapped, as nobody can tell.

use super::fds::name_of_file;
use super::pid::{Who, may_look};
use crate::synth::Node;
use chitin_abi::Errno;
use chitin_kernel::mm::{Detail, MapLine, Mm, PAGE, Sharing};
use chitin_kernel::task::Task;
use chitin_kernel::vfs::{FileCx, FileOps, IoDst, IoSrc};
use chitin_usermem::{UserAddr, UserMemory};
use std::fmt::Write;
use std::sync::{Arc, Weak};

/// Most bytes that are moved at once.
const PIECE: usize = 64 << 10;

pub(super) fn maps(who: &Who, viewer: &Arc<Task>) -> Result<Vec<u8>, Errno> {
    let Some(mm) = who.mm() else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for line in mm.lines(Detail::Places) {
        out.extend(map_line(&line, viewer));
    }
    Ok(out)
}

fn map_line(line: &MapLine, viewer: &Arc<Task>) -> Vec<u8> {
    let bit = |on: bool, c: char| if on { c } else { '-' };
    let shared = line.sharing == Sharing::Shared;
    let ((dev, ino), offset) = line.file.as_ref().map_or(((0, 0), 0), |(_, id, at)| (*id, *at));
    let dev = u32::try_from(dev).unwrap_or(0);
    let mut text = format!(
        "{:08x}-{:08x} {}{}{}{} {offset:08x} {:02x}:{:02x} {ino} ",
        line.range.start,
        line.range.end,
        bit(line.prot.read, 'r'),
        bit(line.prot.write, 'w'),
        bit(line.prot.exec, 'x'),
        if shared { 's' } else { 'p' },
        chitin_abi::fs::major(dev),
        chitin_abi::fs::minor(dev),
    )
    .into_bytes();
    let name = match (&line.file, line.name) {
        (Some((file, ..)), _) => Some(name_of_file(viewer, file)),
        (None, Some(name)) => Some(name.as_bytes().to_vec()),
        (None, None) => None,
    };
    if let Some(name) = name {
        text.resize(text.len().max(73), b' ');
        text.extend(name);
    }
    text.push(b'\n');
    text
}

/// Bytes of a mapping, or of all of them.
#[derive(Default)]
struct Amounts {
    private: u64,
    shared: u64,
    of_file: u64,
    locked: u64,
}

impl Amounts {
    fn of(line: &MapLine) -> Self {
        let shared = line.sharing == Sharing::Shared;
        Self {
            private: if shared { 0 } else { line.anonymous },
            shared: if shared { line.anonymous } else { 0 },
            of_file: line.of_file,
            locked: if line.locked { line.range.end - line.range.start } else { 0 },
        }
    }

    /// The rows that `smaps` and `smaps_rollup` have in common; `parts` adds those of the
    /// latter.
    fn rows(&self, parts: &[(&'static str, u64)]) -> String {
        let all = self.private + self.shared + self.of_file;
        let mut rows = vec![("Rss", all), ("Pss", all), ("Pss_Dirty", self.private + self.shared)];
        rows.extend(parts);
        rows.extend([
            ("Shared_Clean", self.of_file),
            ("Shared_Dirty", self.shared),
            ("Private_Clean", 0),
            ("Private_Dirty", self.private),
            ("Referenced", all),
            ("Anonymous", self.private),
            ("KSM", 0),
            ("LazyFree", 0),
            ("AnonHugePages", 0),
            ("ShmemPmdMapped", 0),
            ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0),
            ("Private_Hugetlb", 0),
            ("Swap", 0),
            ("SwapPss", 0),
            ("Locked", self.locked),
        ]);
        let mut out = String::new();
        for (name, bytes) in rows {
            let _ = writeln!(out, "{:<16}{:>8} kB", format!("{name}:"), bytes >> 10);
        }
        out
    }
}

pub(super) fn smaps(who: &Who, viewer: &Arc<Task>) -> Result<Vec<u8>, Errno> {
    let Some(mm) = who.mm() else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for line in mm.lines(Detail::Memory) {
        out.extend(map_line(&line, viewer));
        let size = (line.range.end - line.range.start) >> 10;
        let page = PAGE >> 10;
        let mut flags = String::new();
        let shared = line.sharing == Sharing::Shared;
        for (on, name) in [
            (line.prot.read, "rd "),
            (line.prot.write, "wr "),
            (line.prot.exec, "ex "),
            (shared, "sh "),
            (true, "mr mw me "),
            (shared, "ms "),
            (line.name == Some("[stack]"), "gd "),
            (line.locked, "lo "),
        ] {
            if on {
                flags.push_str(name);
            }
        }
        let rows = Amounts::of(&line).rows(&[]);
        out.extend(
            format!(
                "Size:           {size:8} kB\nKernelPageSize: {page:8} kB\nMMUPageSize:    {page:8} kB\n{rows}\
                 THPeligible:           0\nVmFlags: {flags}\n"
            )
            .bytes(),
        );
    }
    Ok(out)
}

pub(super) fn smaps_rollup(who: &Who, _viewer: &Arc<Task>) -> Result<Vec<u8>, Errno> {
    let mm = who.mm().ok_or(Errno::ESRCH)?;
    let lines = mm.lines(Detail::Memory);
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(Vec::new()) };
    let mut sum = Amounts::default();
    for amounts in lines.iter().map(Amounts::of) {
        sum.private += amounts.private;
        sum.shared += amounts.shared;
        sum.of_file += amounts.of_file;
        sum.locked += amounts.locked;
    }
    let head = format!("{:08x}-{:08x} ---p 00000000 00:00 0", first.range.start, last.range.end);
    let parts = [("Pss_Anon", sum.private), ("Pss_File", sum.of_file), ("Pss_Shmem", sum.shared)];
    Ok(format!("{head:<73}[rollup]\n{}", sum.rows(&parts)).into_bytes())
}

/// `/proc/PID/mem`: the position is the address. Of a process that has ended there is
/// nothing to read.
struct MemFile(Weak<Mm>);

/// Pieces of a transfer end at pages, so that what is there moves before what is not.
fn piece(pos: u64, left: usize) -> usize {
    let to_page = usize::try_from(PAGE - pos % PAGE).unwrap_or(0);
    left.min(if left > PIECE { PIECE } else { to_page.max(1) })
}

impl FileOps for MemFile {
    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        let Some(mm) = self.0.upgrade() else { return Ok(0) };
        let before = dst.done();
        let mut at = pos;
        while dst.remaining() > 0 {
            let mut bytes = vec![0; piece(at, dst.remaining())];
            if mm.read(UserAddr(at), &mut bytes).is_err() {
                break;
            }
            dst.put(&bytes)?;
            at = at.saturating_add(bytes.len() as u64);
        }
        let done = dst.done() - before;
        if done == 0 && dst.remaining() > 0 { Err(Errno::EIO) } else { Ok(done) }
    }

    fn write(&self, _cx: FileCx<'_>, src: &mut IoSrc<'_>, pos: u64) -> Result<usize, Errno> {
        let Some(mm) = self.0.upgrade() else { return Ok(0) };
        let (mut at, mut done) = (pos, 0);
        while src.remaining() > 0 {
            let mut bytes = vec![0; piece(at, src.remaining())];
            // What is taken counts as written.
            let n = src.peek(&mut bytes)?;
            if mm.write_beside(UserAddr(at), bytes.get(..n).unwrap_or_default()).is_err() {
                return if done == 0 { Err(Errno::EIO) } else { Ok(done) };
            }
            src.take(bytes.get_mut(..n).unwrap_or_default())?;
            at = at.saturating_add(n as u64);
            done += n;
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }
}

pub(super) fn mem(who: &Who) -> Node {
    let who = who.clone();
    Node::Special(
        0o600,
        Arc::new(move |request| {
            may_look(request.task, &who)?;
            Ok(Box::new(MemFile(Arc::downgrade(&who.mm().ok_or(Errno::ESRCH)?))))
        }),
    )
}

/// `/proc/PID/pagemap`: eight bytes for each page of the address space.
struct PageMap(Weak<Mm>);

const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;

impl FileOps for PageMap {
    fn read(&self, _cx: FileCx<'_>, dst: &mut IoDst<'_>, pos: u64) -> Result<usize, Errno> {
        if !pos.is_multiple_of(8) || !dst.remaining().is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let pages = (dst.remaining().min(PIECE) / 8) as u64;
        let Some(start) = (pos / 8).checked_mul(PAGE) else { return Ok(0) };
        if start >= chitin_kernel::mm::USER_END {
            return Ok(0);
        }
        let Some(mm) = self.0.upgrade() else { return Ok(0) };
        let lines = mm.lines(Detail::Places);
        let mut out = Vec::new();
        for page in 0..pages {
            let addr = start.saturating_add(page * PAGE);
            let line = lines.iter().find(|l| l.range.contains(&addr));
            // Who may not know the frame sees 0 there, as without CAP_SYS_ADMIN.
            let word = line.map_or(0, |l| PRESENT | if l.of_file > 0 { OF_FILE } else { 0 });
            out.extend(word.to_le_bytes());
        }
        dst.put(&out)
    }

    fn seekable(&self) -> bool {
        true
    }
}

pub(super) fn pagemap(who: &Who) -> Node {
    let who = who.clone();
    Node::Special(
        0o400,
        Arc::new(move |request| {
            may_look(request.task, &who)?;
            Ok(Box::new(PageMap(Arc::downgrade(&who.mm().ok_or(Errno::ESRCH)?))))
        }),
    )
}
