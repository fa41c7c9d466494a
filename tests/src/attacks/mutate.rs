//! Inputs for fuzzers: the attack table and requests that are fine, mutated byte by byte and word by word.

use super::Names;

/// The longest input, in bytes.
const MAX_INPUT_BYTES: usize = 64 * 1024;

/// Whole requests.
#[must_use]
pub fn requests() -> Vec<Vec<u8>> {
    let names = Names::invented();
    let cases = super::all().into_iter().map(|c| c.filled(&names));
    let fine = FINE.iter().map(|(_, r)| r.as_bytes().to_vec());
    cases.filter(|b| b.len() < MAX_INPUT_BYTES).chain(fine).collect()
}

/// Bodies, each behind a byte that says what it is judged as.
#[must_use]
pub fn bodies() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for bytes in requests() {
        let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let (head, body) = bytes.split_at(at + 4);
        let head = String::from_utf8_lossy(head);
        let line = head.lines().next().unwrap_or_default();
        let (choice, body) = match line.split_once("/build?") {
            Some((_, query)) => (7, query.split(' ').next().unwrap_or_default().as_bytes()),
            None => (choice(line), body),
        };
        for open in [0, 0x80] {
            out.push([&[choice | open], body].concat());
        }
    }
    out.extend(FINE.iter().map(|(choice, r)| {
        let body = r.split_once("\r\n\r\n").map_or("", |(_, b)| b);
        [&[*choice], body.as_bytes()].concat()
    }));
    out
}

fn choice(line: &str) -> u8 {
    let known = [
        ("/networks/create", 1),
        ("/volumes/create", 2),
        ("connect", 3),
        ("/update", 4),
        ("/containers/mine/exec", 5),
        ("/exec/", 6),
    ];
    known.iter().find(|(part, _)| line.contains(part)).map_or(0, |(_, c)| *c)
}

/// Requests that are let through, with what their bodies are judged as.
const FINE: &[(u8, &str)] = &[
    (
        0,
        concat!(
            "POST /v1.41/containers/create?name=web HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n",
            "Content-Length: 403\r\n\r\n",
            r#"{"Image":"busybox:test","Cmd":["ls"],"Env":["A=b"],"Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}},"#,
            r#""HostConfig":{"Binds":["/ws/a:/h:ro","vol:/v","/var/run/docker.sock:/s"],"Memory":1048576,"NanoCpus":1000,"#,
            r#""CapAdd":["CHOWN"],"CapDrop":["ALL"],"NetworkMode":"net","RestartPolicy":{"Name":"on-failure"},"#,
            r#""Mounts":[{"Type":"volume","Source":"vol","Target":"/x"}],"Tmpfs":{"/t":"size=1m"}},"#,
            r#""NetworkingConfig":{"EndpointsConfig":{"net":{"Aliases":["x"]}}}}"#
        ),
    ),
    (
        1,
        "POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n{\"Name\":\"n\",\"Driver\":\"bridge\",\"Labels\":{\"a\":\"b\"}}",
    ),
    (
        4,
        "POST /containers/mine/update HTTP/1.1\r\nHost: d\r\n\r\n{\"Memory\":1048576,\"CpuQuota\":1000,\"CpuPeriod\":1000}",
    ),
    (
        5,
        "POST /containers/mine/exec HTTP/1.1\r\nHost: d\r\n\r\n{\"Cmd\":[\"id\"],\"Tty\":true,\"ConsoleSize\":[1,2]}",
    ),
    (
        7,
        "POST /build HTTP/1.1\r\n\r\nt=a:1&t=b&networkmode=none&memory=1024&buildargs=%7B%22a%22%3A%22b%22%7D",
    ),
    (8, "GET /events HTTP/1.1\r\n\r\n{\"label\":{\"a\":true},\"type\":[\"container\"]}"),
    (
        0,
        "GET /v1.41/containers/json?all=1&filters=%7B%22name%22%3A%5B%22x%22%5D%7D HTTP/1.1\r\nHost: docker\r\nUser-Agent: x\r\n\r\n",
    ),
    (
        0,
        "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}",
    ),
    (
        0,
        "POST /build?t=x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
];

/// Words that mean something to one parser or another.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "\r\n", "\n", "\r", "\r\n\r\n", " ", "\t", ":", ",", "\"", "{", "}", "[", "]", "null", "true", "false", "0", "-1", "1e9", "\\u0000",
    "\\u017f", "\u{17f}", "\u{212a}", "\u{feff}", "/", "//", "/../", "/./", "%2e", "%2F", "%00", "%", "?", "&", "=", ";", "#", "+",
    "HTTP/1.1", "HTTP/2.0", "PRI * HTTP/2.0", "Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked",
    "Transfer-Encoding", "Upgrade: h2c", "Upgrade: tcp", "Connection: Upgrade", "Expect: 100-continue", "v1.24", "v1.51",
    "HostConfig", "hostconfig", "Privileged", "Binds", "Mounts", "Type", "bind", "volume", "Source", "Target", "/ws", "/ws/a:/h",
    "host", "container:mine", "container:foreign", "Labels", "chitin.gateway.client", "NetworkMode", "net", "none", "Memory",
    "CpuQuota", "CpuPeriod", "NanoCpus", "vol:/v", "/:/h", "Image", "busybox:test", "\\", "\0", "ns:", "memory", "t", "labels",
];

/// A small generator (xorshift), so that a seed repeats a run.
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % n).unwrap_or(0)
    }
}

/// One seed with a few changes.
#[must_use]
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..1 + random.below(5) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(16)).min(input.len());
        match random.below(8) {
            0 if at < input.len() => input[at] = u8::try_from(random.next() & 0xff).unwrap_or(0),
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => drop(input.splice(at..end, [])),
            3 => {
                let copy: Vec<u8> = input.get(at..end).unwrap_or_default().to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let other = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            5 if at < input.len() => {
                input[at] = match input[at].is_ascii_uppercase() {
                    true => input[at].to_ascii_lowercase(),
                    false => input[at].to_ascii_uppercase(),
                };
            }
            _ => {
                let word = WORDS.get(random.below(WORDS.len())).copied().unwrap_or_default();
                let to = if random.below(2) == 0 { at } else { (at + word.len()).min(input.len()) };
                input.splice(at..to, word.bytes());
            }
        }
        input.truncate(MAX_INPUT_BYTES);
    }
    input
}
