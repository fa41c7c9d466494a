//! Where this host gets Debian's packages from: read from its apt sources when needed, never written down.

use std::path::Path;

/// The first mirror of Debian's archive in apt's configuration.
pub fn mirror() -> Result<String, String> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    if let Ok(dir) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.flatten().map(|e| e.path()));
    }
    files.sort();
    let texts = files.iter().filter_map(|f| std::fs::read_to_string(f).ok());
    let found = texts.flat_map(|t| t.lines().flat_map(uris).collect::<Vec<_>>()).next();
    found.ok_or_else(|| "apt's sources name no mirror of Debian's archive".into())
}

/// The archive's addresses in one line of either format.
fn uris(line: &str) -> Vec<String> {
    let line = line.trim();
    let binary = line.strip_prefix("deb ").or_else(|| line.strip_prefix("URIs:"));
    let words = binary.unwrap_or_default().split_whitespace();
    let archive = |w: &&str| w.contains("://") && w.trim_end_matches('/').ends_with("/debian");
    words.filter(archive).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::uris;

    #[test]
    fn reads_both_formats() {
        assert_eq!(
            uris("deb [signed-by=/x] http://m.invalid/debian sid main"),
            ["http://m.invalid/debian"]
        );
        assert_eq!(uris("URIs: http://m.invalid/debian/"), ["http://m.invalid/debian/"]);
        assert!(uris("deb-src http://m.invalid/debian sid main").is_empty());
        assert!(uris("URIs: http://m.invalid/debian-security").is_empty());
        assert!(uris("# deb http://m.invalid/debian sid main").is_empty());
    }
}
