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
/// How long a limit that was only measured is believed.
const PROBE_AFTER: Duration = Duration::from_secs(600);
/// Requests that must have been accepted for a refusal to measure the limit.
const MEASURE_FROM: u64 = 10;
/// However long a server asks us to wait, it is asked again after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
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
    /// When the limit was last measured.
    settled: Instant,
}

/// The limiter. Cheap to share; all workers of a crawl use one.
#[derive(Debug)]
pub struct Pacer {
    configured: Duration,
    burst: u32,
    state: Mutex<State>,
    /// Requests wait here in the order in which they came; the first of them waits for its time.
    queue: tokio::sync::Mutex<()>,
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
            queue: tokio::sync::Mutex::new(()),
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
        let _first = self.queue.lock().await;
        let mut slot = {
            let state = self.state();
            let now = Instant::now();
            let credit = state.interval * (self.burst - 1);
            state.next.max(now.checked_sub(credit).unwrap_or(now))
        };
        loop {
            if slot > Instant::now() {
                tokio::time::sleep_until(slot).await;
            }
            let mut state = self.state();
            let now = Instant::now();
            // A pause that was called while this request slept holds it too.
            if state.paused_until <= now {
                state.counting_since.get_or_insert(now);
                // From its slot and not from now: waking late must not slow the pace.
                state.next = slot + state.interval;
                return;
            }
            slot = state.paused_until;
        }
    }

    /// Tells of an answer that the server gave in the ordinary way.
    pub fn accepted(&self, headers: &LimitHeaders) {
        let mut state = self.state();
        state.accepted += 1;
        let now = Instant::now();
        if let Some(announced) = headers.per_second() {
            state.announced = Some(announced);
            state.interval = state.interval.max(spacing(announced));
        }
        if headers.remaining.is_some_and(|left| left < 1.0)
            && let Some(reset) = headers.reset
        {
            let until = now + reset.min(LONGEST_PAUSE);
            state.paused_until = state.paused_until.max(until);
        }
        self.recover(&mut state, now);
    }

    /// Tells of a refusal (429). Returns how long nothing will be sent.
    ///
    /// The time from the first request counted until the server lets requests through again, and the requests
    /// accepted in it, measure the server's limit: exactly for a fixed or sliding window, and from the second
    /// measure on for a token bucket. A few requests measure nothing: someone else may have used the limit up.
    pub fn refused(
        &self,
        headers: &LimitHeaders,
        retry_after: Option<Duration>,
        sent_at: Instant,
    ) -> Duration {
        let mut state = self.state();
        let now = Instant::now();
        let wait = retry_after.or(headers.reset).unwrap_or(Duration::from_secs(1)).min(LONGEST_PAUSE);
        let already_known =
            state.paused_until > now || state.counting_since.is_none_or(|since| since > sent_at);
        let resume = now + wait;
        state.paused_until = state.paused_until.max(resume);
        // A server that says that more would be let through refuses for another reason than the pace.
        if already_known || headers.remaining.is_some_and(|left| left >= 1.0) {
            return wait;
        }
        if let Some(announced) = headers.per_second() {
            state.announced = Some(announced);
            state.interval = state.interval.max(spacing(announced));
        }
        let held = state.measured.is_some_and(|rate| {
            let of_measured = state.interval.as_secs_f64() / spacing(rate).as_secs_f64();
            (0.95..1.15).contains(&of_measured)
        });
        if state.accepted < MEASURE_FROM {
            state.interval = state.interval.max(wait / 60).mul_f64(1.25).min(SLOWEST);
            return wait;
        }
        if held || state.announced.is_some() {
            // Refused although the limit is held: a whim, or a limit shared with others. Measuring would take
            // the pause for a lower limit, each time anew.
            state.interval = state.interval.mul_f64(1.05).min(SLOWEST);
        } else {
            let since = state.counting_since.unwrap_or(sent_at);
            let measured = state.accepted as f64 / (resume - since).as_secs_f64().max(1e-3);
            state.measured = Some(measured);
            state.interval = state.interval.max(spacing(measured)).min(SLOWEST);
            state.settled = now;
        }
        state.accepted = 0;
        state.counting_since = None;
        wait
    }

    /// Requests a minute at the current pace; `None` when nothing limits it.
    pub fn per_minute(&self) -> Option<f64> {
        let interval = self.state().interval;
        (!interval.is_zero()).then(|| 60.0 * (1.0 + HEADROOM) / interval.as_secs_f64())
    }

    /// Wins a little of the pace back, up to what is known of the limit. A measure that is old is forgotten:
    /// the limit may have been raised.
    fn recover(&self, state: &mut State, now: Instant) {
        if state.measured.is_some() && now.duration_since(state.settled) > PROBE_AFTER {
            state.measured = None;
        }
        let known = state.announced.or(state.measured);
        let floor = known.map_or(self.configured, spacing).max(self.configured);
        if state.interval > floor {
            state.interval = state.interval.mul_f64(1.0 - RECOVERY).max(floor);
            if floor.is_zero() && state.interval < Duration::from_micros(500) {
                state.interval = floor;
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

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sim::{Counter, LimitKind, RateLimit};

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

    /// What came of sending `total` requests at `per_minute` to a server with a limit of 60 a minute, each
    /// answered after `latency`: seconds taken and requests refused.
    async fn drive(kind: LimitKind, per_minute: f64, total: u64, told: Told) -> (f64, u64) {
        let window = Duration::from_secs(60);
        let mut server = Counter::new(RateLimit { kind, requests: 60, window });
        let pacer = Pacer::new(Pace { per_minute: Some(per_minute), burst: 1 });
        let start = Instant::now();
        let (mut accepted, mut refused) = (0, 0);
        while accepted < total {
            pacer.turn().await;
            let sent = Instant::now();
            let standing = server.take(sent.into_std());
            tokio::time::sleep(Duration::from_millis(80)).await;
            let headers = match told {
                Told::Headers => LimitHeaders {
                    limit: Some(60.0),
                    window: Some(window),
                    remaining: Some(f64::from(standing.remaining)),
                    reset: Some(standing.reset),
                },
                Told::Nothing => LimitHeaders::default(),
            };
            if standing.allowed {
                accepted += 1;
                pacer.accepted(&headers);
            } else {
                refused += 1;
                pacer.refused(&headers, Some(standing.reset), sent);
            }
        }
        (start.elapsed().as_secs_f64(), refused)
    }

    #[derive(Clone, Copy)]
    enum Told {
        Headers,
        Nothing,
    }

    const KINDS: [LimitKind; 3] = [LimitKind::FixedWindow, LimitKind::SlidingWindow, LimitKind::TokenBucket];

    #[tokio::test(start_paused = true)]
    async fn a_pace_at_the_limit_is_never_refused_and_loses_two_percent_at_most() {
        for kind in KINDS {
            for told in [Told::Headers, Told::Nothing] {
                let (took, refused) = drive(kind, 60.0, 1800, told).await;
                assert!(took <= 1.02 * 1800.0 && refused == 0, "{kind:?}: {took} s, {refused} refused");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_three_times_too_high_converges_and_loses_less_than_five_percent() {
        for kind in KINDS {
            for told in [Told::Headers, Told::Nothing] {
                let (took, refused) = drive(kind, 180.0, 1800, told).await;
                assert!(
                    took <= 1.05 * 1800.0 && refused <= 1800 / 50,
                    "{kind:?}: {took} s, {refused} refused"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_others_used_up_is_not_taken_for_a_lower_one() {
        let pacer = Pacer::new(Pace { per_minute: Some(60.0), burst: 1 });
        pacer.turn().await;
        pacer.refused(&LimitHeaders::default(), Some(Duration::from_secs(50)), Instant::now());
        let start = Instant::now();
        for _ in 0..60 {
            pacer.turn().await;
            pacer.accepted(&LimitHeaders::default());
        }
        assert!(start.elapsed() < Duration::from_secs(50 + 65), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_at_random_do_not_stop_the_crawl() {
        let pacer = Pacer::new(Pace { per_minute: Some(60.0), burst: 1 });
        let start = Instant::now();
        for n in 0..1000 {
            pacer.turn().await;
            match n % 20 {
                19 => drop(pacer.refused(
                    &LimitHeaders::default(),
                    Some(Duration::from_secs(1)),
                    Instant::now(),
                )),
                _ => pacer.accepted(&LimitHeaders::default()),
            }
        }
        assert!(start.elapsed() < Duration::from_secs(1250), "{:?}", start.elapsed());
    }
}
