//! Counters in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is counted.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// Microseconds until answers began.
    micros: AtomicU64,
    /// Open connections.
    pub connections: AtomicI64,
    /// Hijacked streams that are open.
    pub streams: AtomicI64,
    /// Things removed when clients went.
    pub removed: AtomicU64,
}

/// What is known of a client for the gauges.
pub struct Gauge {
    /// The client.
    pub client: String,
    /// Containers, networks, volumes, private tags.
    pub counts: [usize; 4],
}

impl Metrics {
    /// Counts a request.
    pub fn count(&self, client: &str, verdict: &'static str, micros: u64) {
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let mut map = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *map.entry((client.to_owned(), verdict)).or_default() += 1;
    }

    /// A client is gone, and its counters with it: there may be thousands of names in a day.
    pub fn forget(&self, client: &str) {
        let mut map = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        map.retain(|(name, _), _| name != client);
    }

    /// Everything as text.
    pub fn render(&self, gauges: &[Gauge]) -> String {
        let mut out = String::from("# TYPE chitin_gateway_requests_total counter\n");
        let map = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((client, verdict), n) in map {
            let _ = writeln!(
                out,
                "chitin_gateway_requests_total{{client=\"{client}\",verdict=\"{verdict}\"}} {n}"
            );
        }
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(
            out,
            "# TYPE chitin_gateway_request_seconds_total counter\nchitin_gateway_request_seconds_total {seconds}\n\
             # TYPE chitin_gateway_connections gauge\nchitin_gateway_connections {}\n\
             # TYPE chitin_gateway_streams gauge\nchitin_gateway_streams {}\n\
             # TYPE chitin_gateway_removed_total counter\nchitin_gateway_removed_total {}\n\
             # TYPE chitin_gateway_things gauge",
            self.connections.load(Ordering::Relaxed),
            self.streams.load(Ordering::Relaxed),
            self.removed.load(Ordering::Relaxed),
        );
        for g in gauges {
            for (kind, n) in ["container", "network", "volume", "tag"].iter().zip(g.counts) {
                let _ = writeln!(
                    out,
                    "chitin_gateway_things{{client=\"{}\",kind=\"{kind}\"}} {n}",
                    g.client
                );
            }
        }
        out
    }
}
