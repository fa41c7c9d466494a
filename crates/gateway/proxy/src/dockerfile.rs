//! Dockerfiles of the classic builder, read instruction by instruction and written anew: images that are named in
//! them are resolved among those that the client may use, and every stage gets the owner's label.
//!
//! The output has one instruction a line and no continuations, so the engine reads exactly what was judged here.

use chitin_gateway_policy::{Denied, OWNER_LABEL};
use std::collections::BTreeMap;

/// The longest line that the engine's parser takes, in bytes.
const MAX_LINE_BYTES: usize = 60_000;
/// The instructions of the classic builder.
const KNOWN: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "LABEL",
    "MAINTAINER",
    "EXPOSE",
    "ENV",
    "ADD",
    "COPY",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
];

/// What a Dockerfile needs to know of the world.
pub trait Images {
    /// The engine's reference for an image, and the triggers that it carries.
    fn resolve(&mut self, name: &str) -> Result<(String, Vec<String>), Denied>;
}

/// What may differ between clients.
#[derive(Clone, Debug)]
pub struct Options {
    /// The client.
    pub client: String,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// Whether the engine may fetch URLs.
    pub remote: bool,
}

fn no(line: usize, why: impl Into<String>) -> Denied {
    Denied::policy(format!("Dockerfile line {line}"), why)
}

/// Logical lines with the number of their first line: comments and empty lines dropped, continuations joined.
fn logical(text: &str) -> Result<Vec<(usize, String)>, Denied> {
    let mut out = Vec::new();
    let mut current: Option<(usize, String)> = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut directives = true;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(comment) = line.strip_prefix('#') {
            let directive = comment.trim().to_ascii_lowercase().replace([' ', '\t'], "");
            if directives && directive.starts_with("escape=") && directive != "escape=\\" {
                return Err(no(n + 1, "another escape character is refused"));
            }
            continue;
        }
        directives = false;
        if line.trim_end().is_empty() {
            continue;
        }
        let (part, more) = match line.trim_end_matches([' ', '\t']).strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        let (first, mut joined) = current.take().unwrap_or((n + 1, String::new()));
        joined.push_str(part);
        if joined.len() > MAX_LINE_BYTES {
            return Err(no(first, "is too long"));
        }
        if more {
            current = Some((first, joined));
        } else {
            out.push((first, joined));
        }
    }
    match current {
        Some((line, _)) => Err(no(line, "ends with a continuation")),
        None => Ok(out),
    }
}

/// Splits the keyword from the rest.
fn keyword(line: &str) -> (String, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word.to_ascii_uppercase(), rest.trim())
}

/// The `--flags` at the beginning and what follows.
fn flags(line: usize, rest: &str) -> Result<(Vec<String>, &str), Denied> {
    let mut flags = Vec::new();
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        // The engine's reader takes quotes and backslashes out of flags: "--fr\om" would be "--from" to it.
        if flag.contains(['\\', '"', '\'']) || flag == "--" {
            return Err(no(line, format!("the flag {flag:?} is refused")));
        }
        flags.push(flag.to_owned());
        rest = after.trim_start();
    }
    Ok((flags, rest))
}

/// Rewrites a Dockerfile.
pub fn rewrite(text: &[u8], options: &Options, images: &mut dyn Images) -> Result<Vec<u8>, Denied> {
    let text = std::str::from_utf8(text).map_err(|_| no(1, "is not UTF-8"))?;
    let mut state = State { options, images, args: BTreeMap::new(), stages: vec![] };
    let mut out = String::new();
    for (n, line) in logical(text)? {
        for done in state.instruction(n, &line)? {
            if done.len() > MAX_LINE_BYTES || done.trim_end().ends_with('\\') || done.contains('\n')
            {
                return Err(no(n, "cannot be rewritten"));
            }
            out.push_str(&done);
            out.push('\n');
        }
    }
    if state.stages.is_empty() {
        return Err(no(1, "has no FROM"));
    }
    Ok(out.into_bytes())
}

struct State<'a> {
    options: &'a Options,
    images: &'a mut dyn Images,
    /// Arguments from before the first FROM.
    args: BTreeMap<String, String>,
    /// Names of stages, empty where there is none.
    stages: Vec<String>,
}

impl State<'_> {
    fn instruction(&mut self, n: usize, line: &str) -> Result<Vec<String>, Denied> {
        let (word, rest) = keyword(line);
        if !KNOWN.contains(&word.as_str()) {
            return Err(no(n, format!("unknown instruction {word:?}")));
        }
        if self.stages.is_empty() && !matches!(word.as_str(), "FROM" | "ARG") {
            return Err(no(n, format!("{word} before the first FROM")));
        }
        match word.as_str() {
            "FROM" => self.from(n, rest),
            "ARG" => {
                if self.stages.is_empty() {
                    self.global_arg(n, rest)?;
                }
                Ok(vec![format!("ARG {rest}")])
            }
            "COPY" => self.copy(n, rest),
            "ADD" => {
                add(n, rest, self.options)?;
                Ok(vec![format!("ADD {rest}")])
            }
            "ONBUILD" => {
                trigger(n, rest, self.options)?;
                Ok(vec![format!("ONBUILD {rest}")])
            }
            "RUN" => {
                let (flags, _) = flags(n, rest)?;
                match flags.first() {
                    Some(flag) => {
                        Err(no(n, format!("RUN {flag} needs BuildKit, which is refused")))
                    }
                    None => Ok(vec![format!("RUN {rest}")]),
                }
            }
            _ => Ok(vec![format!("{word} {rest}")]),
        }
    }

    fn global_arg(&mut self, n: usize, rest: &str) -> Result<(), Denied> {
        let (name, value) = rest.split_once('=').map_or((rest, None), |(k, v)| (k, Some(v)));
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(no(n, "an ARG before FROM must be one name, or name=value"));
        }
        let value = match self.options.args.get(name) {
            Some(given) => Some(given.clone()),
            None => value.map(|v| self.expand(n, unquote(v))).transpose()?,
        };
        if let Some(value) = value {
            self.args.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Expands `$A`, `${A}`, `${A:-b}` and `${A:+b}` with the arguments from before the first FROM.
    fn expand(&self, n: usize, text: &str) -> Result<String, Denied> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(braced) = after.strip_prefix('{') {
                let (inner, tail) =
                    braced.split_once('}').ok_or_else(|| no(n, "a brace is not closed"))?;
                let (name, how) = inner.split_once(':').map_or((inner, ""), |(a, b)| (a, b));
                let value = self.args.get(name).filter(|v| !v.is_empty());
                match (how.get(..1), how.get(1..)) {
                    (None, _) => out.push_str(value.map_or("", String::as_str)),
                    (Some("-"), Some(d)) => out.push_str(value.map_or(d, String::as_str)),
                    (Some("+"), Some(d)) => out.push_str(value.map_or("", |_| d)),
                    _ => return Err(no(n, format!("${{{inner}}} is not understood"))),
                }
                rest = tail;
            } else {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                let (name, tail) = after.split_at(end);
                out.push_str(self.args.get(name).map_or("", String::as_str));
                rest = tail;
            }
        }
        out.push_str(rest);
        if out.contains(['$', '\\', '"', '\'', '`']) || out.chars().any(char::is_whitespace) {
            return Err(no(n, format!("{text:?} is not understood")));
        }
        Ok(out)
    }

    fn from(&mut self, n: usize, rest: &str) -> Result<Vec<String>, Denied> {
        let (flags, rest) = flags(n, rest)?;
        let mut platform = String::new();
        for flag in flags {
            let value = flag
                .strip_prefix("--platform=")
                .ok_or_else(|| no(n, format!("the flag {flag:?} is refused")))?;
            platform = format!("--platform={} ", self.expand(n, value)?);
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (image, name) = match words.as_slice() {
            [image] => (*image, ""),
            [image, r#as, name] if r#as.eq_ignore_ascii_case("as") => (*image, *name),
            _ => return Err(no(n, "FROM must be FROM image [AS name]")),
        };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(no(n, format!("the stage name {name:?} is refused")));
        }
        let image = self.expand(n, unquote(image))?;
        if image.is_empty() {
            return Err(no(n, "names no image"));
        }
        let image = match self.is_stage(&image) || image == "scratch" {
            true => image,
            false => {
                let (reference, triggers) = self.images.resolve(&image)?;
                for t in triggers {
                    trigger(n, &t, self.options)?;
                }
                reference
            }
        };
        self.stages.push(name.to_ascii_lowercase());
        let tail = if name.is_empty() { String::new() } else { format!(" AS {name}") };
        Ok(vec![
            format!("FROM {platform}{image}{tail}"),
            format!("LABEL {OWNER_LABEL}={}", self.options.client),
        ])
    }

    fn is_stage(&self, name: &str) -> bool {
        !name.is_empty() && self.stages.contains(&name.to_ascii_lowercase())
    }

    fn copy(&mut self, n: usize, rest: &str) -> Result<Vec<String>, Denied> {
        let (flags, rest) = flags(n, rest)?;
        let mut out = String::from("COPY");
        for flag in flags {
            let Some(source) = flag.strip_prefix("--from=") else {
                out.push_str(&format!(" {flag}"));
                continue;
            };
            if source.contains('$') || source.is_empty() {
                return Err(no(n, "--from takes no variables"));
            }
            // A number is a stage to the engine, never the beginning of an image's id.
            let index = source.parse::<i64>().ok();
            let earlier = 0..self.stages.len() as i64 - 1;
            if index.is_some_and(|i| !earlier.contains(&i)) {
                return Err(no(n, format!("--from={source} is no earlier stage")));
            }
            if index.is_some() || self.is_stage(source) {
                out.push_str(&format!(" --from={source}"));
            } else {
                let (reference, _) = self.images.resolve(source)?;
                out.push_str(&format!(" --from={reference}"));
            }
        }
        Ok(vec![format!("{out} {rest}")])
    }
}

fn unquote(v: &str) -> &str {
    let inner = |q: char| v.strip_prefix(q).and_then(|v| v.strip_suffix(q));
    inner('"').or_else(|| inner('\'')).unwrap_or(v)
}

/// ADD fetches URLs from the engine's own network.
fn add(n: usize, rest: &str, options: &Options) -> Result<(), Denied> {
    let (_, words) = flags(n, rest)?;
    let lower = words.to_ascii_lowercase();
    let hidden = words.contains(['$', '\\']);
    if !options.remote && (lower.contains("://") || lower.contains("git@") || hidden) {
        let why = "ADD of a URL (or of what could become one) is refused; use COPY, or RUN with a download";
        return Err(no(n, why).key("remote_build").needs(true));
    }
    Ok(())
}

/// What a trigger (ONBUILD) would do in a later build.
fn trigger(n: usize, line: &str, options: &Options) -> Result<(), Denied> {
    let (word, rest) = keyword(line);
    match word.as_str() {
        "ADD" => add(n, rest, options),
        "COPY" if flags(n, rest)?.0.iter().any(|f| f.starts_with("--from")) => {
            Err(no(n, "ONBUILD COPY --from is refused"))
        }
        "RUN" if !flags(n, rest)?.0.is_empty() => Err(no(n, "ONBUILD RUN takes no flags here")),
        "FROM" | "ONBUILD" | "MAINTAINER" => Err(no(n, format!("ONBUILD {word} is refused"))),
        w if KNOWN.contains(&w) => Ok(()),
        w => Err(no(n, format!("unknown instruction {w:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Some1;
    impl Images for Some1 {
        fn resolve(&mut self, name: &str) -> Result<(String, Vec<String>), Denied> {
            match name {
                "alpine" | "tool:2" => Ok((format!("ok/{name}"), vec![])),
                // Ids may be shortened to any length.
                "0" | "7" => Ok(("ok/id".into(), vec![])),
                "evil" => Ok(("ok/evil".into(), vec!["ADD http://169.254.169.254/ /x".into()])),
                other => Err(Denied::absent("image", other)),
            }
        }
    }

    fn run(text: &str) -> Result<String, Denied> {
        let args = BTreeMap::from([("B".to_owned(), "foreign".to_owned())]);
        let options = Options { client: "a".into(), args, remote: false };
        rewrite(text.as_bytes(), &options, &mut Some1).map(|b| String::from_utf8(b).expect("UTF-8"))
    }

    #[test]
    fn rewrites_images_and_labels_stages() {
        let out = run(
            "# syntax=x\nARG V=2\nFROM alpine AS Base\nRUN a \\\n # comment\n\n  && b\n\
             FROM tool:${V}\nCOPY --from=base /x /y\nCOPY --from=0 /x /y\ncopy --from=alpine --chown=1 /a /b\nFROM base\n",
        )
        .expect("fine");
        assert_eq!(
            out,
            "ARG V=2\nFROM ok/alpine AS Base\nLABEL chitin.gateway.client=a\nRUN a && b\n\
             FROM ok/tool:2\nLABEL chitin.gateway.client=a\nCOPY --from=base /x /y\nCOPY --from=0 /x /y\n\
             COPY --from=ok/alpine --chown=1 /a /b\nFROM base\nLABEL chitin.gateway.client=a\n"
        );
    }

    #[test]
    fn refuses_what_reaches_outside() {
        for bad in [
            "FROM foreign",
            "FROM chitin.invalid/b/x",
            "ARG B=alpine\nFROM $B",
            "FROM al\\\npine2",
            "FROM alpine\nCOPY --from=foreign / /",
            "FROM alpine\nCOPY --fr\\om=foreign / /",
            "FROM alpine\nCOPY --from=\"foreign\" / /",
            "FROM alpine\nCOPY --from=$B / /",
            "FROM alpine\nCOPY --from=0 / /",
            "FROM alpine\nCOPY --from=7 / /",
            "FROM alpine\nCOPY --from=-1 / /",
            "FROM alpine\nADD http://169.254.169.254/ /x",
            "FROM alpine\nADD [\"HTTP://x\", \"/x\"]",
            "FROM alpine\nADD [\"http:\\u002f\\u002fx\", \"/x\"]",
            "FROM alpine\nENV U=http\nADD $U /x",
            "FROM alpine\nONBUILD ADD http://x /x",
            "FROM alpine\nONBUILD COPY --from=x / /",
            "FROM evil",
            "FROM alpine\nRUN --mount=type=cache,target=/x ls",
            "FROM alpine\nRUN --network=host ls",
            "# escape=`\nFROM alpine",
            "FROM alpine\nRUN x \\",
            "FROM alpine\nNOPE x",
            "RUN x",
            "FROM --foo=1 alpine",
            "",
        ] {
            assert!(run(bad).is_err(), "{bad:?}");
        }
    }
}
