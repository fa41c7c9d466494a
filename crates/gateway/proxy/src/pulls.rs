//! When a client pulled which public images. The engine's events do not tell who asked for a pull, so one is the
//! client's if it came while the client itself was pulling that image.

use std::collections::VecDeque;

/// Pulls that are remembered; the oldest are forgotten.
const MAX_PULLS: usize = 1024;

/// One pull: the image and seconds since the epoch.
struct Pull {
    image: String,
    from: u64,
    to: Option<u64>,
}

/// The pulls of one client.
#[derive(Default)]
pub struct Pulls(VecDeque<Pull>);

impl Pulls {
    /// A pull begins.
    pub fn begin(&mut self, image: &str, now: u64) {
        if self.0.len() >= MAX_PULLS {
            self.0.pop_front();
        }
        self.0.push_back(Pull { image: image.to_owned(), from: now, to: None });
    }

    /// A pull has ended.
    pub fn end(&mut self, image: &str, now: u64) {
        let mut open = self.0.iter_mut().filter(|p| p.to.is_none());
        if let Some(pull) = open.find(|p| p.image == image) {
            pull.to = Some(now);
        }
    }

    /// Whether the client was pulling this image at that time.
    pub fn cover(&self, image: &str, time: u64) -> bool {
        let covers = |p: &Pull| p.from <= time && p.to.is_none_or(|to| time <= to);
        self.0.iter().any(|p| p.image == image && covers(p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_own_pulls_only() {
        let mut p = Pulls::default();
        p.begin("alpine:latest", 10);
        assert!(p.cover("alpine:latest", 10) && p.cover("alpine:latest", 99));
        assert!(!p.cover("alpine:latest", 9) && !p.cover("busybox:latest", 10));
        p.end("alpine:latest", 12);
        assert!(p.cover("alpine:latest", 12) && !p.cover("alpine:latest", 13));
    }
}
