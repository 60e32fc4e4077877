//! The pace: one limiter that every request of a client waits for.
//!
//! Requests leave evenly spaced at the configured rate. What the server says about its own limit (headers,
//! 429s) only ever slows the pace below that rate, and the pace comes back up when the server allows.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Evenly spaced requests arrive with jitter; at exactly the server's limit some would be refused. This
/// share of the limit is left unused.
const HEADROOM: f64 = 0.01;
/// Share of the pace won back at each step after a refusal, up to the server's measured or announced limit.
const RECOVERY: f64 = 0.02;
/// How long the pace must have held before it tries to go beyond a limit that was only measured.
const PROBE_AFTER: Duration = Duration::from_secs(600);
/// However hard a server refuses, one request in this time is still tried.
const SLOWEST: Duration = Duration::from_secs(120);

/// Requests a minute, and how many may leave at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Requests a minute; `None` for no limit of our own.
    pub per_minute: Option<f64>,
    /// Requests that may leave together after a pause. 1 spaces all of them.
    pub burst: u32,
}

impl Pace {
    /// Hex's documented limit: 60 requests a minute.
    pub const HEX: Pace = Pace { per_minute: Some(60.0), burst: 1 };
    /// No limit of our own; the server's is still obeyed.
    pub const UNLIMITED: Pace = Pace { per_minute: None, burst: 1 };
}

/// What an answer's headers said about the server's limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LimitHeaders {
    /// Requests allowed in a window.
    pub limit: Option<f64>,
    /// Length of the window; 60 s where only `limit` is known (Hex's unit).
    pub window: Option<Duration>,
    /// Requests left in the window.
    pub remaining: Option<f64>,
    /// Time until the window starts anew.
    pub reset: Option<Duration>,
}

impl LimitHeaders {
    /// Requests a second that the headers announce.
    pub fn per_second(&self) -> Option<f64> {
        let window = self.window.unwrap_or(Duration::from_secs(60)).as_secs_f64();
        self.limit.filter(|limit| *limit > 0.0 && window > 0.0).map(|limit| limit / window)
    }
}

#[derive(Debug)]
struct State {
    /// When the next request may leave, were there no burst.
    next: Instant,
    /// No request leaves before this.
    paused_until: Instant,
    /// Current spacing.
    interval: Duration,
    /// The server's limit as measured at refusals, in requests a second.
    measured: Option<f64>,
    /// The server's limit as its headers announce it, in requests a second.
    announced: Option<f64>,
    /// Start of the time over which answers are counted to measure the limit.
    counting_since: Option<Instant>,
    /// Requests accepted since then.
    accepted: u64,
    /// When the pace was last lowered or probed.
    settled: Instant,
}

/// The limiter. Cheap to share; all workers of a crawl use one.
#[derive(Debug)]
pub struct Pacer {
    configured: Duration,
    burst: u32,
    state: Mutex<State>,
}

impl Pacer {
    /// A limiter that starts at `pace`.
    pub fn new(pace: Pace) -> Self {
        let configured = match pace.per_minute {
            Some(rate) if rate > 0.0 => Duration::from_secs_f64(60.0 / rate * (1.0 + HEADROOM)),
            _ => Duration::ZERO,
        };
        let now = Instant::now();
        Self {
            configured,
            burst: pace.burst.max(1),
            state: Mutex::new(State {
                next: now,
                paused_until: now,
                interval: configured,
                measured: None,
                announced: None,
                counting_since: None,
                accepted: 0,
                settled: now,
            }),
        }
    }

    /// Waits for this request's turn.
    pub async fn turn(&self) {
        let mut slot = {
            let mut state = self.state();
            let now = Instant::now();
            let credit = state.interval * (self.burst - 1);
            let earliest = now.checked_sub(credit).unwrap_or(now);
            let slot = state.next.max(earliest);
            state.next = slot + state.interval;
            slot
        };
        loop {
            let now = Instant::now();
            if slot > now {
                tokio::time::sleep_until(slot).await;
            }
            // A pause that was called while this request slept holds it too. After a pause the waiting
            // requests leave spaced again, in place of all at once.
            let mut state = self.state();
            let now = Instant::now();
            if state.paused_until <= now {
                state.counting_since.get_or_insert(now);
                return;
            }
            slot = state.next.max(state.paused_until);
            state.next = slot + state.interval;
        }
    }

    /// Tells of an answer that the server gave in the ordinary way.
    pub fn accepted(&self, headers: &LimitHeaders) {
        let mut state = self.state();
        state.accepted += 1;
        let now = Instant::now();
        if let Some(announced) = headers.per_second() {
            state.announced = Some(announced);
            let floor = spacing(announced);
            if state.interval < floor {
                state.interval = floor;
            }
        }
        if headers.remaining.is_some_and(|left| left < 1.0)
            && let Some(reset) = headers.reset
        {
            let until = now + reset.min(Duration::from_secs(3600));
            state.paused_until = state.paused_until.max(until);
        }
        self.recover(&mut state, now);
    }

    /// Tells of a refusal (429). Returns how long nothing will be sent.
    ///
    /// The time from the first request since the last refusal until the server lets requests through again,
    /// and the requests accepted in it, measure the server's limit: exactly for a fixed or sliding window,
    /// and from the second refusal on for a token bucket.
    pub fn refused(
        &self,
        headers: &LimitHeaders,
        retry_after: Option<Duration>,
        sent_at: Instant,
    ) -> Duration {
        let mut state = self.state();
        let now = Instant::now();
        let wait =
            retry_after.or(headers.reset).unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(3600));
        let already_known =
            state.paused_until > now || state.counting_since.is_none_or(|since| since > sent_at);
        let resume = now + wait;
        state.paused_until = state.paused_until.max(resume);
        if already_known {
            return wait;
        }
        if let Some(announced) = headers.per_second() {
            state.announced = Some(announced);
        }
        let since = state.counting_since.unwrap_or(sent_at);
        let span = (resume - since).as_secs_f64();
        let measured = state.accepted as f64 / span.max(1e-3);
        state.measured = Some(measured);
        let target = state.announced.unwrap_or(measured);
        let slower =
            if state.accepted == 0 { state.interval.mul_f64(1.5).max(wait / 2) } else { spacing(target) };
        state.interval = state.interval.max(slower).min(SLOWEST);
        state.accepted = 0;
        state.counting_since = None;
        state.settled = now;
        wait
    }

    /// Requests a minute at the current pace; `None` when nothing limits it.
    pub fn per_minute(&self) -> Option<f64> {
        let interval = self.state().interval;
        (!interval.is_zero()).then(|| 60.0 * (1.0 + HEADROOM) / interval.as_secs_f64())
    }

    fn recover(&self, state: &mut State, now: Instant) {
        if state.interval <= self.configured {
            return;
        }
        let probing = now.duration_since(state.settled) > PROBE_AFTER;
        let known = state.announced.or(if probing { None } else { state.measured });
        let floor = known.map_or(self.configured, spacing).max(self.configured);
        if state.interval > floor {
            state.interval = state.interval.mul_f64(1.0 - RECOVERY).max(floor);
            if probing && state.announced.is_none() {
                state.settled = now;
                state.measured = state.measured.map(|rate| rate * (1.0 + RECOVERY));
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn spacing(per_second: f64) -> Duration {
    Duration::from_secs_f64((1.0 + HEADROOM) / per_second.max(1e-3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_leave_evenly_spaced() {
        let pacer = Pacer::new(Pace { per_minute: Some(60.0), burst: 1 });
        let start = Instant::now();
        for _ in 0..11 {
            pacer.turn().await;
        }
        let elapsed = start.elapsed().as_secs_f64();
        assert!((10.0..10.2).contains(&elapsed), "{elapsed}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_leaves_together_and_is_paid_back() {
        let pacer = Pacer::new(Pace { per_minute: Some(60.0), burst: 5 });
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..5 {
            pacer.turn().await;
        }
        assert!(start.elapsed() < Duration::from_millis(10));
        pacer.turn().await;
        assert!(start.elapsed() > Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_holds_every_waiting_request() {
        let pacer = std::sync::Arc::new(Pacer::new(Pace { per_minute: Some(600.0), burst: 1 }));
        pacer.turn().await;
        let sent = Instant::now();
        let other = tokio::spawn({
            let pacer = pacer.clone();
            async move {
                pacer.turn().await;
                Instant::now()
            }
        });
        tokio::task::yield_now().await;
        pacer.refused(&LimitHeaders::default(), Some(Duration::from_secs(7)), sent);
        assert!(other.await.unwrap() - sent >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_measured_from_a_refusal_and_held() {
        let pacer = Pacer::new(Pace { per_minute: Some(180.0), burst: 1 });
        for _ in 0..60 {
            pacer.turn().await;
            pacer.accepted(&LimitHeaders::default());
        }
        pacer.turn().await;
        pacer.refused(&LimitHeaders::default(), Some(Duration::from_secs(40)), Instant::now());
        let rate = pacer.per_minute().unwrap();
        assert!((57.0..61.0).contains(&rate), "{rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_announced_limit_below_the_pace_is_taken_over() {
        let pacer = Pacer::new(Pace { per_minute: Some(60.0), burst: 1 });
        let headers = LimitHeaders { limit: Some(30.0), ..Default::default() };
        pacer.turn().await;
        pacer.accepted(&headers);
        assert!((pacer.per_minute().unwrap() - 30.0).abs() < 0.5);
        let generous = LimitHeaders { limit: Some(600.0), ..Default::default() };
        for _ in 0..200 {
            pacer.accepted(&generous);
        }
        assert!((pacer.per_minute().unwrap() - 60.0).abs() < 0.5, "the configured pace is never exceeded");
    }
}
