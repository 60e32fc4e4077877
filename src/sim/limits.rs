//! The simulated server's request limit, in the three ways that servers implement one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How requests are counted against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LimitKind {
    /// So many in each window; all windows start anew at once.
    FixedWindow,
    /// So many in any stretch of time as long as the window.
    SlidingWindow,
    /// A bucket of so many tokens that fills at an even rate.
    TokenBucket,
}

/// A request limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// How requests are counted.
    pub kind: LimitKind,
    /// Requests allowed in a window.
    pub requests: u32,
    /// Length of the window, in real time.
    pub window: Duration,
}

/// Where a request stands against the limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Whether the request is let through.
    pub allowed: bool,
    /// Requests left after it.
    pub remaining: u32,
    /// Time until more are let through (when none is left), else until the window starts anew.
    pub reset: Duration,
}

/// Counts requests against a limit.
#[derive(Debug)]
pub(crate) struct Counter {
    limit: RateLimit,
    window_start: Instant,
    used: u32,
    recent: VecDeque<Instant>,
    tokens: f64,
    filled: Instant,
}

impl Counter {
    pub fn new(limit: RateLimit) -> Self {
        let now = Instant::now();
        let tokens = f64::from(limit.requests);
        Self { limit, window_start: now, used: 0, recent: VecDeque::new(), tokens, filled: now }
    }

    pub fn take(&mut self, now: Instant) -> Standing {
        let RateLimit { kind, requests, window } = self.limit;
        match kind {
            LimitKind::FixedWindow => {
                while now.duration_since(self.window_start) >= window {
                    self.window_start += window;
                    self.used = 0;
                }
                let allowed = self.used < requests;
                self.used += u32::from(allowed);
                let reset = (self.window_start + window).duration_since(now);
                Standing { allowed, remaining: requests - self.used, reset }
            }
            LimitKind::SlidingWindow => {
                while self.recent.front().is_some_and(|at| now.duration_since(*at) >= window) {
                    self.recent.pop_front();
                }
                let allowed = (self.recent.len() as u32) < requests;
                if allowed {
                    self.recent.push_back(now);
                }
                let reset =
                    self.recent.front().map_or(Duration::ZERO, |at| (*at + window).duration_since(now));
                Standing { allowed, remaining: requests - self.recent.len() as u32, reset }
            }
            LimitKind::TokenBucket => {
                let rate = f64::from(requests) / window.as_secs_f64();
                let grown = now.duration_since(self.filled).as_secs_f64() * rate;
                self.tokens = (self.tokens + grown).min(f64::from(requests));
                self.filled = now;
                let allowed = self.tokens >= 1.0;
                if allowed {
                    self.tokens -= 1.0;
                }
                let missing = (1.0 - self.tokens).max(0.0);
                Standing {
                    allowed,
                    remaining: self.tokens as u32,
                    reset: Duration::from_secs_f64(missing / rate),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(kind: LimitKind, at_ms: &[u64]) -> Vec<bool> {
        let mut counter = Counter::new(RateLimit { kind, requests: 2, window: Duration::from_secs(1) });
        let start = counter.window_start;
        at_ms.iter().map(|ms| counter.take(start + Duration::from_millis(*ms)).allowed).collect()
    }

    #[test]
    fn the_three_kinds_differ_as_they_should() {
        let times = [0, 900, 950, 1001, 1002, 1901];
        assert_eq!(allowed(LimitKind::FixedWindow, &times), [true, true, false, true, true, false]);
        assert_eq!(allowed(LimitKind::SlidingWindow, &times), [true, true, false, true, false, true]);
        assert_eq!(allowed(LimitKind::TokenBucket, &times), [true, true, true, false, false, true]);
    }
}
