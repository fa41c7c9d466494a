//! The values of the configuration: how each is written, and what it may be.
//!
//! Functions that end in a check are for descriptions of any origin; those that take a deserialiser read a value and
//! check it on the spot, so that what is wrong is told with its place.

use anyhow::{Context, Result, bail};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;
use std::time::Duration;

/// The path of `unix:/path` (also `unix:///path` and a bare path).
pub fn socket_path(address: &str) -> Result<PathBuf> {
    let path = address.strip_prefix("unix://").or_else(|| address.strip_prefix("unix:"));
    let path = path.unwrap_or(address);
    if !path.starts_with('/') || path.len() > 107 {
        bail!("{address:?} is no address of a unix socket; write unix:/absolute/path");
    }
    Ok(PathBuf::from(path))
}

/// `uid` or `uid:gid`.
pub fn owner_ids(owner: &str) -> Result<(u32, Option<u32>)> {
    let (uid, gid) = owner.split_once(':').map_or((owner, None), |(u, g)| (u, Some(g)));
    let number = |s: &str| s.parse::<u32>().ok();
    number(uid)
        .and_then(|u| Some((u, gid.map(|g| number(g).ok_or(())).transpose().ok()?)))
        .with_context(|| format!("owner {owner:?} must be ids: UID or UID:GID, such as 999:999"))
}

/// Octal digits.
pub fn socket_mode(mode: &str) -> Result<u32> {
    let bits = u32::from_str_radix(mode, 8).ok().filter(|m| *m <= 0o777);
    bits.with_context(|| format!("mode {mode:?} must be octal digits such as 0660"))
}

/// A client's name.
pub fn check_name(name: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !first || name.len() > 40 || !name.chars().all(word) {
        bail!("name {name:?}: use at most 40 lower-case letters, digits, '-' and '_'");
    }
    Ok(())
}

/// A number of CPUs.
pub fn check_cpus(cpus: f64) -> Result<()> {
    if !cpus.is_finite() || !(0.01..=4096.0).contains(&cpus) {
        bail!("cpus must be between 0.01 and 4096");
    }
    Ok(())
}

/// A budget of memory.
pub fn check_memory(bytes: u64) -> Result<()> {
    if bytes < 8 << 20 {
        bail!("memory must be at least 8m");
    }
    Ok(())
}

/// A cgroup, or `none`.
pub fn check_cgroup(cgroup: &str) -> Result<()> {
    let plain = cgroup.starts_with('/')
        && cgroup.len() > 1
        && !cgroup.contains("//")
        && cgroup.split('/').all(|s| s != "..");
    if !plain && cgroup != "none" && !cgroup.ends_with(".slice") {
        bail!("cgroup {cgroup:?} must be a path below /, the name of a slice, or none");
    }
    Ok(())
}

/// A workspace's root.
pub fn check_root(path: &str) -> Result<()> {
    if !path.starts_with('/') || path.trim_matches('/').is_empty() {
        bail!("workspace {path:?} must be an absolute path below /");
    }
    Ok(())
}

/// A value that a check has passed; what the check says is told with the line of the value.
fn checked<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    d: D,
    check: impl Fn(&T) -> Result<()>,
) -> Result<T, D::Error> {
    let value = T::deserialize(d)?;
    check(&value).map_err(D::Error::custom)?;
    Ok(value)
}

/// The same for what may be absent.
fn some<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    d: D,
    check: impl Fn(&T) -> Result<()>,
) -> Result<Option<T>, D::Error> {
    checked(d, |value: &Option<T>| value.as_ref().map_or(Ok(()), &check))
}

/// A client's name, read and checked.
pub fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    checked(d, |n: &String| check_name(n))
}

/// An address, read and checked.
pub fn address<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    checked(d, |a: &String| socket_path(a).map(|_| ()))
}

/// An address that may be absent.
pub fn some_address<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    some(d, |a: &String| socket_path(a).map(|_| ()))
}

/// A mode that may be absent.
pub fn mode<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    some(d, |m: &String| socket_mode(m).map(|_| ()))
}

/// An owner that may be absent.
pub fn owner<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    some(d, |o: &String| owner_ids(o).map(|_| ()))
}

/// A cgroup that may be absent.
pub fn cgroup<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    some(d, |c: &String| check_cgroup(c))
}

/// CPUs that may be absent.
pub fn cpus<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    some(d, |c: &f64| check_cpus(*c))
}

/// A workspace's root, read and checked.
pub fn root<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    checked(d, |p: &String| check_root(p))
}

/// The same on the host, which may be absent.
pub fn some_root<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    some(d, |p: &String| check_root(p))
}

/// `512`, `64k`, `200m`, `2g`, `1t`, also with `b` or `ib` behind.
pub fn parse_size(text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let digits = bare.trim_end_matches(['k', 'm', 'g', 't']);
    let number = || format!("size {text:?} must be a number with k, m, g or t such as 2g");
    let shift = match bare.strip_prefix(digits).unwrap_or_default() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => bail!("{}", number()),
    };
    let n: u64 = digits.parse().ok().with_context(number)?;
    let bytes = n.checked_shl(shift).filter(|v| v >> shift == n);
    bytes.with_context(|| format!("size {text:?} is too large"))
}

/// `90`, `90s`, `15m`, `2h`, `1d` in seconds.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let t = text.trim();
    let digits = t.trim_end_matches(['s', 'm', 'h', 'd']);
    let number = || format!("duration {text:?} must be a number with s, m, h or d such as 90s");
    let n: u64 = digits.parse().ok().with_context(number)?;
    let unit = match t.strip_prefix(digits).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("{}", number()),
    };
    Ok(Duration::from_secs(n.saturating_mul(unit)))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

/// A size that may be absent.
pub fn size<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    Ok(match Option::<NumberOrText>::deserialize(d)? {
        None => None,
        Some(NumberOrText::Number(n)) => Some(n),
        Some(NumberOrText::Text(t)) => Some(parse_size(&t).map_err(D::Error::custom)?),
    })
}

/// A budget of memory that may be absent.
pub fn memory<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    let bytes = size(d)?;
    bytes.map_or(Ok(()), check_memory).map_err(D::Error::custom)?;
    Ok(bytes)
}

/// A duration in seconds that may be absent.
pub fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    Ok(match Option::<NumberOrText>::deserialize(d)? {
        None => None,
        Some(NumberOrText::Number(n)) => Some(n),
        Some(NumberOrText::Text(t)) => {
            Some(parse_duration(&t).map_err(D::Error::custom)?.as_secs())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(parse_size("64KiB").expect("fine"), 65_536);
        assert!(parse_size("99999999999t").is_err() && parse_size("-1").is_err());
        assert_eq!(parse_duration("2h").expect("fine").as_secs(), 7200);
        assert!(socket_path("tcp://x").is_err());
    }
}
