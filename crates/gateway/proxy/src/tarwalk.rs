//! Archives on their way to the engine: read entry by entry and written anew, so that nothing gets there that was
//! not understood. Runs on a thread of its own between two bounded queues.

use bytes::{Buf, Bytes};
use chitin_gateway_policy::Denied;
use http_body_util::BodyExt;
use hyper::body::Frame;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use crate::body::{Body, BoxError, drain};

/// The most entries of an archive.
const MAX_ENTRIES: usize = 1_000_000;
/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 4096;
/// What a build's context may be when it is unpacked, in bytes.
const MAX_UNPACKED_BYTES: u64 = 16 << 30;
/// What gzip begins with, and what others do.
const GZIP: &[u8] = b"\x1f\x8b";
const OTHERS: [&[u8]; 3] = [b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];
/// Chunks that wait between the client and the walker, and between the walker and the engine.
const QUEUED_CHUNKS: usize = 8;
/// Bytes that are sent to the engine at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where an archive goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Into a container.
    Container,
    /// A build's context; links may point anywhere inside the image.
    Context,
}

/// Changes the content of chosen files.
pub trait Rewriter: Send {
    /// Whether a file is to be changed; its path is clean.
    fn wants(&self, path: &str) -> bool;
    /// Whether a file that is to be changed lies below this path.
    fn wants_below(&self, path: &str) -> bool;
    /// The new content.
    fn rewrite(&mut self, path: &str, content: Vec<u8>) -> Result<Vec<u8>, Denied>;
    /// Called at the end.
    fn finish(&mut self) -> Result<(), Denied>;
}

/// Changes nothing.
pub struct Keep;

impl Rewriter for Keep {
    fn wants(&self, _path: &str) -> bool {
        false
    }
    fn wants_below(&self, _path: &str) -> bool {
        false
    }
    fn rewrite(&mut self, _path: &str, content: Vec<u8>) -> Result<Vec<u8>, Denied> {
        Ok(content)
    }
    fn finish(&mut self) -> Result<(), Denied> {
        Ok(())
    }
}

/// The largest file that a rewriter may ask for, in bytes.
const MAX_REWRITTEN_BYTES: u64 = 1 << 20;

/// Why a walk ended early.
#[derive(Debug)]
pub enum Stop {
    /// The archive is refused.
    Denied(Denied),
    /// The engine reads no further; its answer says why.
    Closed,
}

/// Starts walking `from`; returns the body for the engine and the result to wait for.
pub fn walk(
    from: Body,
    purpose: Purpose,
    rewriter: impl Rewriter + 'static,
) -> (Body, impl Future<Output = Result<(), Stop>>) {
    let (to_walker, chunks) = mpsc::channel(QUEUED_CHUNKS);
    let (to_engine, out) = mpsc::channel(QUEUED_CHUNKS);
    let fed = tokio::spawn(feed(from, to_walker));
    let walked = tokio::task::spawn_blocking(move || {
        let reader = Reader { chunks, current: Bytes::new() };
        let mut writer = Writer { to: to_engine, pending: Vec::new(), closed: false };
        let mut rewriter = rewriter;
        let result = copy(reader, &mut writer, purpose, &mut rewriter);
        match result {
            Ok(()) => Ok(()),
            Err(_) if writer.closed => Err(Stop::Closed),
            Err(denied) => {
                // An error in the middle of a body, so that the engine does not take what came for all of it.
                let _ = writer.to.blocking_send(Err("the archive was refused".into()));
                Err(Stop::Denied(denied))
            }
        }
    });
    let done = async {
        let walked = walked.await.unwrap_or(Err(Stop::Closed));
        // A client that is cut off in the middle of its archive would not read why.
        let _ = fed.await;
        walked
    };
    (Queue(out).boxed_unsync(), done)
}

async fn feed(mut from: Body, to: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(frame) = from.frame().await {
        let item = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(_)) => continue,
            Err(e) => Err(io::Error::other(e.to_string())),
        };
        let failed = item.is_err();
        if to.send(item).await.is_err() {
            return drain(&mut from).await;
        }
        if failed {
            return;
        }
    }
}

/// The engine's end of the queue.
struct Queue(mpsc::Receiver<Result<Bytes, BoxError>>);

impl hyper::body::Body for Queue {
    type Data = Bytes;
    type Error = BoxError;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|item| item.map(|r| r.map(Frame::data)))
    }
}

struct Reader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.current.len());
        self.current.copy_to_slice(buf.get_mut(..n).unwrap_or_default());
        Ok(n)
    }
}

struct Writer {
    to: mpsc::Sender<Result<Bytes, BoxError>>,
    pending: Vec<u8>,
    closed: bool,
}

impl Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(buf);
        if self.pending.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.pending);
        if !chunk.is_empty() && self.to.blocking_send(Ok(chunk.into())).is_err() {
            self.closed = true;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

fn bad(why: impl Into<String>) -> Denied {
    Denied::bad("archive", why)
}

/// The path's components, with nothing left to interpret.
pub fn clean(path: &str) -> Result<String, Denied> {
    if path.starts_with('/') || path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return Err(bad(format!("path {path:?} is absolute or too long")));
    }
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") {
        return Err(bad(format!("path {path:?} leads outside")));
    }
    Ok(parts.join("/"))
}

/// Whether a link at `path` to `target` stays inside.
fn stays_inside(path: &str, target: &str) -> bool {
    if target.starts_with('/') {
        return false;
    }
    let mut depth = path.split('/').count() - 1;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

/// Walks one archive. A build's context may be packed with gzip, as some clients send it; the engine gets a plain tar.
pub fn copy(
    mut from: impl Read,
    to: &mut impl Write,
    purpose: Purpose,
    rewriter: &mut dyn Rewriter,
) -> Result<(), Denied> {
    let (packing, whole) = look(&mut from)?;
    if packing == Packing::Gzip && purpose == Purpose::Context {
        let mut unpacked = flate2::read::GzDecoder::new(whole).take(MAX_UNPACKED_BYTES);
        copy_plain(look(&mut unpacked)?, to, purpose, rewriter)?;
        if unpacked.limit() == 0 {
            return Err(bad(format!("is larger than {MAX_UNPACKED_BYTES} bytes when unpacked")));
        }
    } else {
        copy_plain((packing, whole), to, purpose, rewriter)?;
    }
    // What follows the end of the archive is read, so that the client can finish, and goes nowhere.
    io::copy(&mut from, &mut io::sink()).map_err(|e| bad(e.to_string()))?;
    Ok(())
}

/// How an archive is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Other,
}

/// Looks at the first bytes of an archive; what is returned begins with them.
fn look<R: Read>(mut from: R) -> Result<(Packing, impl Read), Denied> {
    let mut magic = [0_u8; 6];
    let n = read_some(&mut from, &mut magic)?;
    let start = magic.get(..n).unwrap_or_default();
    let packing = match () {
        () if start.starts_with(GZIP) => Packing::Gzip,
        () if OTHERS.iter().any(|m| start.starts_with(m)) => Packing::Other,
        () => Packing::Plain,
    };
    Ok((packing, Read::take(io::Cursor::new(magic), n as u64).chain(from)))
}

fn copy_plain(
    (packing, from): (Packing, impl Read),
    to: &mut impl Write,
    purpose: Purpose,
    rewriter: &mut dyn Rewriter,
) -> Result<(), Denied> {
    if packing != Packing::Plain {
        return Err(bad("is compressed; send a plain tar"));
    }
    let mut archive = tar::Archive::new(from);
    let mut builder = tar::Builder::new(&mut *to);
    let mut walk = Walk { links: BTreeSet::new(), rewritten: BTreeSet::new(), purpose };
    let entries = archive.entries().map_err(|e| bad(e.to_string()))?;
    for (n, entry) in entries.enumerate() {
        if n >= MAX_ENTRIES {
            return Err(bad(format!("has more than {MAX_ENTRIES} entries")));
        }
        let entry = entry.map_err(|e| bad(format!("is no plain tar: {e}")))?;
        walk.one(entry, &mut builder, rewriter)?;
    }
    rewriter.finish()?;
    builder.finish().map_err(|e| bad(e.to_string()))?;
    drop(builder);
    to.flush().map_err(|e| bad(e.to_string()))
}

fn read_some(from: &mut impl Read, buf: &mut [u8]) -> Result<usize, Denied> {
    let mut n = 0;
    while n < buf.len() {
        match from.read(buf.get_mut(n..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(k) => n += k,
            Err(e) => return Err(bad(e.to_string())),
        }
    }
    Ok(n)
}

struct Walk {
    /// Symbolic links of the archive so far; nothing may be written through them.
    links: BTreeSet<String>,
    rewritten: BTreeSet<String>,
    purpose: Purpose,
}

impl Walk {
    fn one<R: Read, W: Write>(
        &mut self,
        mut entry: tar::Entry<'_, R>,
        builder: &mut tar::Builder<W>,
        rewriter: &mut dyn Rewriter,
    ) -> Result<(), Denied> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let raw = String::from_utf8(raw).map_err(|_| bad("a path is not UTF-8"))?;
        let path = clean(&raw)?;
        let mut up = path.as_str();
        while let Some((parent, _)) = up.rsplit_once('/') {
            if self.links.contains(parent) {
                return Err(bad(format!("path {path:?} leads through a link of the archive")));
            }
            up = parent;
        }
        // What replaces a link is no link any more, but an archive that needs that is odd enough to refuse.
        if self.links.contains(&path) && kind != EntryType::Symlink {
            return Err(bad(format!("path {path:?} replaces a link of the archive")));
        }
        // The engine would take the directory away with the file in it that was judged, and follow the link.
        if kind != EntryType::Directory && (path.is_empty() || rewriter.wants_below(&path)) {
            return Err(bad(format!("path {path:?} must be a directory")));
        }
        let mut header = self.header(&entry, kind, &path)?;
        xattrs(&mut entry, builder)?;
        let wanted = rewriter.wants(&path);
        if wanted && (kind != EntryType::Regular || !self.rewritten.insert(path.clone())) {
            return Err(bad(format!("{path:?} must be a plain file, once")));
        }
        let io_error = |e: io::Error| bad(e.to_string());
        let name = if path.is_empty() { "./" } else { &path };
        match kind {
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
                let target = String::from_utf8(target).map_err(|_| bad("a link is not UTF-8"))?;
                self.link(kind, &path, &target)?;
                header.set_size(0);
                builder.append_link(&mut header, name, target).map_err(io_error)
            }
            EntryType::Regular if wanted => {
                if entry.size() > MAX_REWRITTEN_BYTES {
                    return Err(bad(format!("{path:?} is larger than 1 MiB")));
                }
                let mut content = Vec::new();
                entry.read_to_end(&mut content).map_err(io_error)?;
                let content = rewriter.rewrite(&path, content)?;
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, content.as_slice()).map_err(io_error)
            }
            EntryType::Regular => {
                header.set_size(entry.size());
                builder.append_data(&mut header, name, &mut entry).map_err(io_error)
            }
            _ => {
                header.set_size(0);
                builder.append_data(&mut header, name, io::empty()).map_err(io_error)
            }
        }
    }

    /// A fresh header with what is taken over.
    fn header<R: Read>(
        &self,
        entry: &tar::Entry<'_, R>,
        kind: EntryType,
        path: &str,
    ) -> Result<Header, Denied> {
        let old = entry.header();
        // Numbers that some writers leave empty; the header is a new one, so nothing can hide in them.
        let number = |n: io::Result<u64>| n.unwrap_or(0);
        let mode = old.mode().map_err(|e| bad(format!("{path:?}: {e}")))?;
        let mut header = Header::new_gnu();
        let kind = match kind {
            EntryType::Regular | EntryType::Directory | EntryType::Symlink | EntryType::Link => {
                kind
            }
            EntryType::Fifo => kind,
            EntryType::Block | EntryType::Char => {
                return Err(bad(format!("{path:?} is a device")));
            }
            _ => return Err(bad(format!("{path:?} is of a kind that is refused"))),
        };
        header.set_entry_type(kind);
        // An upload into a container makes no set-id files; what runs inside can.
        let kept = if self.purpose == Purpose::Container { 0o1777 } else { 0o7777 };
        header.set_mode(mode & kept);
        header.set_uid(number(old.uid()));
        header.set_gid(number(old.gid()));
        header.set_mtime(number(old.mtime()));
        Ok(header)
    }

    fn link(&mut self, kind: EntryType, path: &str, target: &str) -> Result<(), Denied> {
        if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains('\0') {
            return Err(bad(format!("link {path:?} has no usable target")));
        }
        if kind == EntryType::Link {
            let through = clean(target)?;
            let mut up = Some(through.as_str());
            while let Some(p) = up {
                if self.links.contains(p) {
                    return Err(bad(format!("link {path:?} leads through a link of the archive")));
                }
                up = p.rsplit_once('/').map(|(parent, _)| parent);
            }
            return Ok(());
        }
        if self.purpose == Purpose::Container && !stays_inside(path, target) {
            return Err(bad(format!("link {path:?} to {target:?} leads outside of what is sent")));
        }
        self.links.insert(path.to_owned());
        Ok(())
    }
}

/// Takes over the extended attributes that the engine applies.
fn xattrs<R: Read, W: Write>(
    entry: &mut tar::Entry<'_, R>,
    builder: &mut tar::Builder<W>,
) -> Result<(), Denied> {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return Ok(()) };
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for x in extensions {
        let x = x.map_err(|e| bad(e.to_string()))?;
        let key = x.key().map_err(|_| bad("an attribute is not UTF-8"))?;
        if key.starts_with("GNU.sparse") {
            return Err(bad("has a sparse file; send it as a plain one"));
        }
        if key == "SCHILY.xattr.security.capability" || key.starts_with("SCHILY.xattr.user.") {
            kept.push((key.to_owned(), x.value_bytes().to_vec()));
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    builder
        .append_pax_extensions(kept.iter().map(|(k, v)| (k.as_str(), v.as_slice())))
        .map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, path, content) in entries {
            let mut h = Header::new_gnu();
            h.set_entry_type(*kind);
            h.set_mode(0o4755);
            let link = matches!(kind, EntryType::Symlink | EntryType::Link);
            h.set_size(if link { 0 } else { content.len() as u64 });
            // Written by hand: the library refuses to write what this test is about.
            let name = &mut h.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            if link {
                h.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            h.set_cksum();
            out.extend_from_slice(h.as_bytes());
            if !link {
                out.extend_from_slice(content.as_bytes());
                out.resize(out.len().next_multiple_of(512), 0);
            }
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    fn run(purpose: Purpose, bytes: &[u8]) -> Result<Vec<u8>, Denied> {
        let mut out = Vec::new();
        copy(bytes, &mut out, purpose, &mut Keep).map(|()| out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).expect("pack");
        packer.finish().expect("pack")
    }

    #[test]
    fn unpacks_contexts_and_nothing_else() {
        let plain = archive(&[(EntryType::Regular, "file", "content")]);
        let packed = gzip(&plain);
        let copied = run(Purpose::Context, &packed).expect("a packed context");
        assert_eq!(copied, run(Purpose::Context, &plain).expect("a plain one"));
        assert!(run(Purpose::Container, &packed).is_err(), "only contexts");
        assert!(run(Purpose::Context, &gzip(&packed)).is_err(), "only once");
        assert!(run(Purpose::Context, &packed[..packed.len() / 2]).is_err(), "cut off");
        let evil = gzip(&archive(&[(EntryType::Regular, "../x", "x")]));
        assert!(run(Purpose::Context, &evil).is_err(), "walked as a plain one");
    }

    #[test]
    fn refuses_what_leads_outside() {
        use EntryType as T;
        for bad in [
            &[(T::Regular, "/etc/passwd", "x")][..],
            &[(T::Regular, "../x", "x")],
            &[(T::Regular, "a/../../x", "x")],
            &[(T::Char, "null", "")],
            &[(T::Block, "sda", "")],
            &[(T::Symlink, "a", "/etc")],
            &[(T::Symlink, "a/b", "../../etc")],
            &[(T::Symlink, "a", "b"), (T::Regular, "a/x", "x")],
            &[(T::Symlink, "a", "b"), (T::Regular, "a", "x")],
            &[(T::Symlink, "a", "b"), (T::Link, "c", "a/x")],
            &[(T::Link, "a", "/etc/passwd")],
            &[(T::Link, "a", "../x")],
            &[(T::GNUSparse, "a", "x")],
        ] {
            assert!(run(Purpose::Container, &archive(bad)).is_err(), "{bad:?}");
        }
        assert!(run(Purpose::Container, b"\x1f\x8b\x08rest").is_err());
        assert!(run(Purpose::Container, &[b'x'; 2048]).is_err());
    }

    /// Wants `sub/Dockerfile`.
    struct Sub;
    impl Rewriter for Sub {
        fn wants(&self, path: &str) -> bool {
            path == "sub/Dockerfile"
        }
        fn wants_below(&self, path: &str) -> bool {
            path == "sub"
        }
        fn rewrite(&mut self, _path: &str, _content: Vec<u8>) -> Result<Vec<u8>, Denied> {
            Ok(b"judged".to_vec())
        }
        fn finish(&mut self) -> Result<(), Denied> {
            Ok(())
        }
    }

    #[test]
    fn keeps_what_was_judged_in_its_place() {
        use EntryType as T;
        let judged = (T::Regular, "sub/Dockerfile", "FROM x");
        let run = |bytes: &[u8]| copy(bytes, &mut Vec::new(), Purpose::Context, &mut Sub);
        for bad in [
            &[judged, (T::Regular, "o/Dockerfile", "x"), (T::Symlink, "sub", "o")][..],
            &[(T::Regular, "sub", "x"), judged],
            &[judged, judged],
            &[judged, (T::Symlink, "sub/Dockerfile", "o")],
            &[judged, (T::Link, "sub/Dockerfile", "o")],
            &[judged, (T::Symlink, "./", "o")],
        ] {
            assert!(run(&archive(bad)).is_err(), "{bad:?}");
        }
        assert!(
            run(&archive(&[(T::Directory, "sub", ""), judged, (T::Directory, "sub", "")])).is_ok()
        );
    }

    #[test]
    fn copies_plain_archives_without_set_id_bits() {
        use EntryType as T;
        let long = format!("d/{}", "n".repeat(90));
        let good = archive(&[
            (T::Directory, "./d/", ""),
            (T::Regular, &long, "hello"),
            (T::Symlink, "d/l", "x/../y"),
            (T::Link, "h", &long),
        ]);
        let out = run(Purpose::Container, &good).expect("fine");
        let mut again = tar::Archive::new(out.as_slice());
        let all: Vec<(String, u32)> = again
            .entries()
            .expect("entries")
            .map(|e| e.expect("entry"))
            .map(|e| {
                (e.path().expect("path").display().to_string(), e.header().mode().expect("mode"))
            })
            .collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[1], (long, 0o755));
        assert!(run(Purpose::Context, &archive(&[(T::Symlink, "a", "/etc")])).is_ok());
    }
}
