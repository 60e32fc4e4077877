//! The simulated server's request limits: for each token, and each group of operations or all together.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::limits::{self, LimitGroup};

/// Way of counting requests against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// So many in a window, which begins with the first request after the last one ended. Hex's way
    FixedWindow,
    /// So many in any stretch of time as long as the window
    SlidingWindow,
    /// A bucket of so many tokens that fills at an even rate
    TokenBucket,
}

/// One limit over all operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Way of counting requests.
    pub kind: LimitKind,
    /// Requests allowed in a window.
    pub requests: u32,
    /// Length of the window.
    pub window: Duration,
}

/// Operations that share a counter.
#[derive(Debug, Clone, PartialEq)]
pub enum Counting {
    /// All operations: requests and length of each window.
    Together(Vec<(u32, Duration)>),
    /// Each of Hex's groups, with its documented limits.
    Groups,
    /// Each of Hex's groups, with these windows for all of them.
    GroupsOf(Vec<(u32, Duration)>),
}

/// The server's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Way of counting requests.
    pub kind: LimitKind,
    /// Operations that share a counter.
    pub counting: Counting,
    /// Limit headers of responses, in addition to `Retry-After`.
    pub headers: LimitForm,
}

/// Headers that announce limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitForm {
    /// X-RateLimit-* and the older draft's RateLimit-*
    Fields,
    /// The newer draft's RateLimit and RateLimit-Policy, with the group's name
    Named,
    /// None
    Silent,
}

impl From<RateLimit> for Limits {
    fn from(limit: RateLimit) -> Self {
        let counting = Counting::Together(vec![(limit.requests, limit.window)]);
        Self { kind: limit.kind, counting, headers: LimitForm::Fields }
    }
}

impl Limits {
    /// Hex's own limits.
    pub fn hex() -> Self {
        Self { kind: LimitKind::FixedWindow, counting: Counting::Groups, headers: LimitForm::Fields }
    }

    fn windows(&self, group: &LimitGroup) -> Vec<(u32, Duration)> {
        match &self.counting {
            Counting::Together(windows) | Counting::GroupsOf(windows) => windows.clone(),
            Counting::Groups => {
                let minute = (group.per_minute, Duration::from_secs(60));
                let hour = group.per_hour.map(|most| (most, Duration::from_secs(3600)));
                std::iter::once(minute).chain(hour).collect()
            }
        }
    }

    /// Name of what an operation of the group is counted in.
    fn counted_as(&self, group: &LimitGroup) -> &'static str {
        match self.counting {
            Counting::Together(_) => limits::DEFAULT.name,
            Counting::Groups | Counting::GroupsOf(_) => group.name,
        }
    }
}

/// Counts the requests of all tokens.
#[derive(Debug, Default)]
pub(crate) struct Counters(HashMap<(String, &'static str), Vec<Counter>>);

impl Counters {
    /// Counts a request if every window has room for it. Gives whether it is let through, and the headers that
    /// say where the token stands.
    pub fn take(
        &mut self,
        limits: &Limits,
        bearer: &str,
        group: &LimitGroup,
    ) -> (bool, Vec<(&'static str, String)>) {
        let now = Instant::now();
        let name = limits.counted_as(group);
        let counters = self.0.entry((bearer.to_owned(), name)).or_insert_with(|| {
            let counter =
                |(requests, window)| Counter::new(RateLimit { kind: limits.kind, requests, window });
            limits.windows(group).into_iter().map(counter).collect()
        });
        let allowed = counters.iter_mut().all(|counter| counter.has_room(now));
        if allowed {
            counters.iter_mut().for_each(|counter| counter.count(now));
        }
        // The window that is nearest to its end; if refused, the one that takes longest to let through.
        let standings = counters.iter().map(|counter| (counter.standing(now), counter.limit));
        let nearest = match allowed {
            true => standings.min_by_key(|(standing, _)| standing.remaining),
            false => standings.filter(|(s, _)| s.remaining == 0).max_by_key(|(standing, _)| standing.reset),
        };
        let Some((standing, limit)) = nearest else { return (allowed, Vec::new()) };
        let all: Vec<RateLimit> = counters.iter().map(|counter| counter.limit).collect();
        let mut headers = announce(limits.headers, name, standing, limit, &all);
        if !allowed {
            headers.push(("retry-after", seconds(standing.reset, limit)));
        }
        (allowed, headers)
    }
}

/// The counters alone, for tests of what waits for them.
#[cfg(test)]
pub(crate) struct SimCounters {
    limits: Limits,
    counters: std::sync::Mutex<Counters>,
}

#[cfg(test)]
impl SimCounters {
    pub fn new(limits: Limits) -> Self {
        Self { limits, counters: std::sync::Mutex::default() }
    }

    pub fn take(&self, group: &LimitGroup) -> (bool, axum::http::HeaderMap) {
        let (allowed, said) = self.counters.lock().unwrap().take(&self.limits, "token", group);
        let header = |(name, value): (&'static str, String)| {
            (axum::http::HeaderName::from_static(name), value.parse().unwrap())
        };
        (allowed, said.into_iter().map(header).collect())
    }
}

/// Whole seconds, as Hex counts; of a window so short that it stands for a longer one, what is exact.
fn seconds(time: Duration, limit: RateLimit) -> String {
    match limit.window.as_secs() {
        0..10 => format!("{:.3}", time.as_secs_f64() + 0.0005),
        _ => time.as_secs_f64().ceil().to_string(),
    }
}

fn announce(
    form: LimitForm,
    group: &str,
    standing: Standing,
    limit: RateLimit,
    all: &[RateLimit],
) -> Vec<(&'static str, String)> {
    let policies = |of: &dyn Fn(&RateLimit) -> String| all.iter().map(of).collect::<Vec<_>>().join(", ");
    let (most, left, reset) =
        (limit.requests.to_string(), standing.remaining.to_string(), seconds(standing.reset, limit));
    match form {
        LimitForm::Silent => Vec::new(),
        LimitForm::Fields => vec![
            ("x-ratelimit-limit", most.clone()),
            ("x-ratelimit-remaining", left.clone()),
            ("x-ratelimit-reset", reset.clone()),
            ("ratelimit-limit", most),
            ("ratelimit-remaining", left),
            ("ratelimit-reset", reset),
            ("ratelimit-policy", policies(&|l| format!("{};w={}", l.requests, seconds(l.window, *l)))),
        ],
        LimitForm::Named => vec![
            ("ratelimit", format!("\"{group}\";r={left};t={reset}")),
            (
                "ratelimit-policy",
                policies(&|l| format!("\"{group}\";q={};w={}", l.requests, seconds(l.window, *l))),
            ),
        ],
    }
}

/// Where requests stand against one limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Requests left.
    pub remaining: u32,
    /// Time until more are let through (when none is left), else until the window starts again.
    pub reset: Duration,
}

/// Counts requests against one limit.
#[derive(Debug)]
pub(crate) struct Counter {
    limit: RateLimit,
    window_start: Option<Instant>,
    used: u32,
    recent: VecDeque<Instant>,
    tokens: f64,
    filled: Instant,
}

impl Counter {
    pub fn new(limit: RateLimit) -> Self {
        let tokens = f64::from(limit.requests);
        let (recent, filled) = (VecDeque::new(), Instant::now());
        Self { limit, window_start: None, used: 0, recent, tokens, filled }
    }

    /// Whether one more is let through.
    pub fn has_room(&mut self, now: Instant) -> bool {
        let RateLimit { kind, requests, window } = self.limit;
        match kind {
            LimitKind::FixedWindow => {
                if self.window_start.is_some_and(|start| now.duration_since(start) >= window) {
                    self.window_start = None;
                    self.used = 0;
                }
                self.used < requests
            }
            LimitKind::SlidingWindow => {
                while self.recent.front().is_some_and(|at| now.duration_since(*at) >= window) {
                    self.recent.pop_front();
                }
                (self.recent.len() as u32) < requests
            }
            LimitKind::TokenBucket => {
                let grown = now.duration_since(self.filled).as_secs_f64() * self.rate();
                self.tokens = (self.tokens + grown).min(f64::from(requests));
                self.filled = now;
                self.tokens >= 1.0
            }
        }
    }

    /// Counts one.
    pub fn count(&mut self, now: Instant) {
        match self.limit.kind {
            LimitKind::FixedWindow => {
                self.window_start.get_or_insert(now);
                self.used += 1;
            }
            LimitKind::SlidingWindow => self.recent.push_back(now),
            LimitKind::TokenBucket => self.tokens -= 1.0,
        }
    }

    /// Position against the limits.
    pub fn standing(&self, now: Instant) -> Standing {
        let RateLimit { kind, requests, window } = self.limit;
        let until = |start: Option<Instant>| {
            start.map_or(Duration::ZERO, |at| (at + window).saturating_duration_since(now))
        };
        match kind {
            LimitKind::FixedWindow => {
                Standing { remaining: requests - self.used, reset: until(self.window_start) }
            }
            LimitKind::SlidingWindow => Standing {
                remaining: requests - self.recent.len() as u32,
                reset: until(self.recent.front().copied()),
            },
            LimitKind::TokenBucket => {
                let missing = (1.0 - self.tokens).max(0.0);
                let reset = Duration::from_secs_f64(missing / self.rate());
                Standing { remaining: self.tokens as u32, reset }
            }
        }
    }

    fn rate(&self) -> f64 {
        f64::from(self.limit.requests) / self.limit.window.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(kind: LimitKind, at_ms: &[u64]) -> Vec<bool> {
        let mut counter = Counter::new(RateLimit { kind, requests: 2, window: Duration::from_secs(1) });
        let start = counter.filled;
        let mut take = |now| {
            let room = counter.has_room(now);
            if room {
                counter.count(now);
            }
            room
        };
        at_ms.iter().map(|ms| take(start + Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn the_three_kinds_differ_as_they_should() {
        let times = [0, 900, 950, 1001, 1002, 1901];
        assert_eq!(allowed(LimitKind::FixedWindow, &times), [true, true, false, true, true, false]);
        assert_eq!(allowed(LimitKind::SlidingWindow, &times), [true, true, false, true, false, true]);
        assert_eq!(allowed(LimitKind::TokenBucket, &times), [true, true, true, false, false, true]);
    }

    #[test]
    fn a_window_begins_with_its_first_request() {
        let times = [500, 1400, 1450, 1501, 3400, 4300, 4350, 4401];
        let expected = [true, true, false, true, true, true, false, true];
        assert_eq!(allowed(LimitKind::FixedWindow, &times), expected);
    }

    fn header(headers: &[(&'static str, String)], name: &str) -> Option<String> {
        headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn each_token_and_group_has_its_minute_and_hour() {
        let limits = Limits::hex();
        let mut counters = Counters::default();
        for _ in 0..30 {
            assert!(counters.take(&limits, "a", &limits::HEX_API).0);
        }
        let (allowed, headers) = counters.take(&limits, "a", &limits::HEX_API);
        assert!(!allowed);
        assert_eq!(header(&headers, "retry-after").as_deref(), Some("60"));
        assert_eq!(header(&headers, "ratelimit-policy").as_deref(), Some("30;w=60, 1800;w=3600"));
        assert!(counters.take(&limits, "b", &limits::HEX_API).0, "another token");
        assert!(counters.take(&limits, "a", &limits::DEFAULT).0, "another group");
        for _ in 1..60 {
            tokio::time::advance(Duration::from_secs(60)).await;
            for _ in 0..30 {
                counters.take(&limits, "a", &limits::HEX_API);
            }
        }
        tokio::time::advance(Duration::from_millis(59_100)).await;
        let (allowed, headers) = counters.take(&limits, "a", &limits::HEX_API);
        assert!(!allowed, "the hour is used up");
        assert_eq!(header(&headers, "retry-after").as_deref(), Some("1"), "whole seconds, rounded up");
    }

    #[tokio::test(start_paused = true)]
    async fn one_counter_counts_every_group() {
        let counting = Counting::Together(vec![(2, Duration::from_secs(60))]);
        let limits = Limits { kind: LimitKind::FixedWindow, counting, headers: LimitForm::Named };
        let mut counters = Counters::default();
        assert!(counters.take(&limits, "a", &limits::HEX_API).0);
        assert!(counters.take(&limits, "a", &limits::DEFAULT).0);
        let (allowed, headers) = counters.take(&limits, "a", &limits::HEX_CHART_IMAGE);
        assert!(!allowed);
        assert_eq!(header(&headers, "ratelimit").as_deref(), Some("\"default\";r=0;t=60"));
    }
}
