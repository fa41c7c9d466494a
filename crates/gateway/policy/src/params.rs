//! What the values of query parameters may look like; a parameter means the same wherever it is allowed.

/// The longest value of a parameter that has no limit of its own, in bytes.
const MAX_VALUE_BYTES: usize = 4096;
/// The longest `filters`, in bytes.
const MAX_FILTERS_BYTES: usize = 64 * 1024;

/// Whether `value` may stand for the parameter `key`.
pub fn good(key: &str, value: &str) -> bool {
    let only = |more: &str, most: usize| {
        value.len() <= most && value.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    match key {
        "all"
        | "size"
        | "follow"
        | "stdout"
        | "stderr"
        | "timestamps"
        | "details"
        | "logs"
        | "stream"
        | "stdin"
        | "v"
        | "force"
        | "link"
        | "noprune"
        | "digests"
        | "shared-size"
        | "manifests"
        | "verbose"
        | "one-shot"
        | "trunc_cmd"
        | "noOverwriteDirNonDir"
        | "copyUIDGID" => flag(value),
        "h" | "w" => value.is_empty() || value.parse::<u16>().is_ok(),
        "t" | "limit" => value.is_empty() || value.parse::<i32>().is_ok(),
        "tail" => matches!(value, "" | "all") || value.parse::<i64>().is_ok(),
        "since" | "until" => only(".:+-", 64),
        "signal" => only("+-", 16),
        "condition" => matches!(value, "" | "not-running" | "next-exit" | "removed"),
        "platform" => only("/._-()", 64),
        "type" => only("-", 32),
        "scope" => only("", 16),
        // Options for the ps of the host: column lists and selections, nothing quoted.
        "ps_args" => only(" ,=_%-", 256),
        "detachKeys" => only("-,@[\\]^_", 64),
        "keep-storage" | "reserved-space" | "max-used-space" | "min-free-space" => {
            value.is_empty() || value.parse::<u64>().is_ok()
        }
        "filters" => value.len() <= MAX_FILTERS_BYTES,
        // Names and paths: judged where they are resolved.
        _ => value.len() <= MAX_VALUE_BYTES && !value.chars().any(char::is_control),
    }
}

/// The spellings of a boolean that clients use; the engine takes any other word for true.
fn flag(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    ["", "0", "1", "t", "f", "true", "false", "yes", "no", "none", "on", "off"]
        .contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::good;

    #[test]
    fn tells_values_apart() {
        for (key, value) in [
            ("all", "1"),
            ("all", "True"),
            ("tail", "all"),
            ("tail", "100"),
            ("since", "2024-01-02T03:04:05.000000006Z"),
            ("since", "1700000000.000000001"),
            ("since", "10m"),
            ("signal", "SIGRTMIN+3"),
            ("t", "-1"),
            ("ps_args", "-eo pid,args"),
            ("detachKeys", "ctrl-p,ctrl-q"),
            ("path", "/a b/ü"),
            ("platform", "linux/arm64/v8"),
            ("condition", "next-exit"),
        ] {
            assert!(good(key, value), "{key}={value}");
        }
        for (key, value) in [
            ("all", "maybe"),
            ("h", "-1"),
            ("h", "70000"),
            ("tail", "x"),
            ("since", "a b"),
            ("signal", "KILL;"),
            ("condition", "never"),
            ("ps_args", "$(id)"),
            ("path", "a\nb"),
            ("limit", "1e3"),
        ] {
            assert!(!good(key, value), "{key}={value}");
        }
        assert!(!good("path", &"a".repeat(5000)));
    }
}
