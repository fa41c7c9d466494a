//! The attack table of the gateway: requests that must be refused, each as the bytes that a hostile client would send.
//!
//! Key types: [`Case`] (one request), [`Names`] (what the placeholders in it stand for). The cases of one subject are
//! one file each. A case is judged by the pure crates alone ([`alone`]) and sent to a running gateway. No locks.

pub mod allowed;
mod alone;
mod archive;
mod build;
mod create;
mod http;
pub mod mutate;
mod paths;
mod things;

pub use alone::{Own, judge, judge_create, policy};
pub use archive::Archive;

/// What a client that owns `mine`, `net` and `vol` is up against.
#[derive(Clone, Debug)]
pub struct Names {
    /// The full id of somebody else's container, whose name is `foreign`.
    pub foreign: String,
    /// The full id of somebody else's network, whose name is `foreign-net`.
    pub foreign_net: String,
    /// The id (`sha256:…`) of somebody else's image, tagged `foreign-image:1`.
    pub foreign_image: String,
    /// A workspace that may be written to. `link` in it is a link to `/`, `inside` a directory.
    pub workspace: String,
}

impl Names {
    /// Names for judging without an engine.
    #[must_use]
    pub fn invented() -> Names {
        Names {
            foreign: "f0".repeat(32),
            foreign_net: "e1".repeat(32),
            foreign_image: format!("sha256:{}", "d2".repeat(32)),
            workspace: "/ws".into(),
        }
    }

    /// Puts the names into a text.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let image = self.foreign_image.trim_start_matches("sha256:");
        text.replace("FOREIGN_ID", &self.foreign)
            .replace("FOREIGN_SHORT", self.foreign.get(..12).unwrap_or_default())
            .replace("FOREIGN_PREFIX", self.foreign.get(..7).unwrap_or_default())
            .replace("FOREIGN_NET_ID", &self.foreign_net)
            .replace("FOREIGN_NET_SHORT", self.foreign_net.get(..12).unwrap_or_default())
            .replace("FOREIGN_IMAGE_ID", image)
            .replace("FOREIGN_IMAGE_SHORT", image.get(..12).unwrap_or_default())
            .replace("WORKSPACE", &self.workspace)
    }
}

/// How a refusal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Any status from 400 on that the gateway itself gives (never a server's fault).
    Client,
    /// As `Client`; the engine may have been sent the beginning of an archive that it must not take for the whole.
    Streamed,
    /// The status and text of something that does not exist: the reference with which to compare.
    Absent(&'static str),
}

/// One attack.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name: subject, then what is tried.
    pub name: String,
    /// The bytes, with placeholders.
    pub bytes: String,
    /// An archive that follows.
    pub archive: Option<Archive>,
    /// What must come back.
    pub refusal: Refusal,
}

impl Case {
    /// A case of raw bytes.
    fn raw(subject: &str, what: &str, bytes: String) -> Case {
        Case { name: format!("{subject}: {what}"), bytes, archive: None, refusal: Refusal::Client }
    }

    /// A request without a body.
    fn bare(subject: &str, method: &str, target: &str) -> Case {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n\r\n");
        Case::raw(subject, &format!("{method} {target}"), bytes)
    }

    /// A request with a JSON body.
    fn json(subject: &str, target: &str, body: &str) -> Case {
        Case::with(subject, &format!("{target} {body}"), "POST", target, "application/json", body)
    }

    /// A request with any body. The length is counted after the names are filled in, see [`Case::filled`].
    fn with(subject: &str, what: &str, method: &str, target: &str, kind: &str, body: &str) -> Case {
        let bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: docker\r\nContent-Type: {kind}\r\n\
             Content-Length: LENGTH\r\n\r\n{body}"
        );
        Case::raw(subject, what, bytes)
    }

    /// What is sent.
    #[must_use]
    pub fn filled(&self, names: &Names) -> Vec<u8> {
        let text = names.fill(&self.bytes);
        let body = text.split_once("\r\n\r\n").map_or(0, |(_, b)| b.len());
        let archive = self.archive.as_ref().map(|a| a.bytes(names)).unwrap_or_default();
        let length = (body + archive.len()).to_string();
        let mut bytes = text.replacen("LENGTH", &length, 1).into_bytes();
        bytes.extend_from_slice(&archive);
        bytes
    }
}

impl Case {
    /// The same request for something that does not exist, and the reference that was replaced; only for cases whose
    /// refusal is [`Refusal::Absent`].
    #[must_use]
    pub fn twin(&self) -> Option<(Case, String)> {
        let Refusal::Absent(absent) = self.refusal else { return None };
        let (bytes, reference) = things::absent_twin(&self.bytes, absent)?;
        Some((Case { bytes, ..self.clone() }, reference))
    }
}

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = create::cases();
    cases.extend(http::cases());
    cases.extend(paths::cases());
    cases.extend(things::cases());
    cases.extend(build::cases());
    cases.extend(archive::cases());
    cases
}

/// The letter cases in which Go's JSON reader would still know a field: lower, upper, swapped, and with the two
/// letters that Unicode folds into ASCII.
fn spellings(field: &str) -> Vec<String> {
    let swap = |c: char| match c.is_ascii_uppercase() {
        true => c.to_ascii_lowercase(),
        false => c.to_ascii_uppercase(),
    };
    let all = [
        field.to_ascii_lowercase(),
        field.to_ascii_uppercase(),
        field.chars().map(swap).collect(),
        field.replacen(['s', 'S'], "\u{17f}", 1),
        field.replacen(['k', 'K'], "\u{212a}", 1),
    ];
    let mut out: Vec<String> = all.into_iter().filter(|s| s != field).collect();
    out.dedup();
    out
}
