//! One request counter: how fast requests may leave, adjusted by the server's answers.
//!
//! Requests leave evenly spaced. What the server says about its limit (headers, 429s) only ever slows the pace
//! below the figures that the counter started with, and the pace comes back up when the server allows.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::announced::LimitHeaders;

/// Evenly spaced requests arrive with jitter; at exactly the server's limit some would be refused. This
/// share of the limit is left unused.
pub(super) const HEADROOM: f64 = 0.01;
/// Share of the pace won back with each accepted request after a refusal, up to what is known of the limit.
const RECOVERY: f64 = 0.02;
/// Time for which a limit that was only measured is believed.
const PROBE_AFTER: Duration = Duration::from_secs(600);
/// Requests that must have been accepted for a refusal to measure the limit.
const MEASURE_FROM: u64 = 10;
/// However long a server asks us to wait, it is asked again after this: the longest window that Hex counts
/// in is an hour, and a little more is needed when its clock and ours differ.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(65 * 60);
/// However hard a server refuses, one request in this time is still tried.
const SLOWEST: Duration = Duration::from_secs(120);
/// Windows up to this length are spread evenly; of a longer one, as much as is left may be used at once.
const SPREAD: Duration = Duration::from_secs(60);
/// Departures that are remembered to hold a window. A limit beyond it is only spread.
const REMEMBERED: usize = 20_000;
/// Longest wait of our own after a refusal that says nothing of the time.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A limit: so many requests in any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Requests allowed.
    pub requests: f64,
    /// Length.
    pub length: Duration,
}

impl Window {
    /// Requests a minute.
    pub const fn minute(requests: f64) -> Self {
        Self { requests, length: Duration::from_secs(60) }
    }

    /// Requests an hour.
    pub const fn hour(requests: f64) -> Self {
        Self { requests, length: Duration::from_secs(3600) }
    }

    /// Requests a second.
    pub fn per_second(&self) -> f64 {
        self.requests / self.length.as_secs_f64()
    }
}

/// Consequence of a refusal (429).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Refusal {
    /// Nothing leaves for so long.
    pub wait: Duration,
    /// The server's limit in requests a second, as this refusal measures it, if it does.
    pub measured: Option<f64>,
    /// Whether the refusal says something that earlier ones did not.
    pub is_news: bool,
}

#[derive(Debug)]
pub(super) struct Gauge {
    /// Our own figures; none for no limit of our own.
    windows: Vec<Window>,
    /// The server's limits as its headers announce them.
    announced: Vec<Window>,
    /// The server's limit as measured at refusals, in requests a second.
    measured: Option<f64>,
    /// When it was measured.
    settled: Instant,
    burst: u32,
    /// Current spacing.
    interval: Duration,
    /// When the next request may leave, were there no burst.
    next: Instant,
    /// No request leaves before this.
    pub paused_until: Instant,
    /// Departures within the longest window, oldest first.
    departures: VecDeque<Instant>,
    /// Start of the time over which answers are counted to measure the limit.
    counting_since: Option<Instant>,
    /// Requests accepted since then.
    accepted: u64,
    /// Refusals with no accepted request between them.
    refusals: u32,
}

impl Gauge {
    pub fn new(windows: Vec<Window>, burst: u32) -> Self {
        let now = Instant::now();
        let mut gauge = Self {
            windows,
            announced: Vec::new(),
            measured: None,
            settled: now,
            burst: burst.max(1),
            interval: Duration::ZERO,
            next: now,
            paused_until: now,
            departures: VecDeque::new(),
            counting_since: None,
            accepted: 0,
            refusals: 0,
        };
        gauge.interval = gauge.floor();
        gauge.next = now.checked_sub(gauge.interval * (gauge.burst - 1)).unwrap_or(now);
        gauge
    }

    /// Every window that holds, ours and the server's.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        self.windows.iter().chain(&self.announced)
    }

    /// Whether it has figures of its own.
    pub fn has_figures(&self) -> bool {
        !self.windows.is_empty()
    }

    /// The shortest spacing that keeps every figure that is known.
    fn floor(&self) -> Duration {
        let even = self.windows().filter(|w| w.length <= SPREAD).map(Window::per_second);
        let slowest = even.chain(self.measured).min_by(f64::total_cmp);
        // With a figure for an hour alone, the hour is spread.
        let slowest = slowest.or_else(|| self.windows().map(Window::per_second).min_by(f64::total_cmp));
        slowest.map_or(Duration::ZERO, spacing)
    }

    /// When the next request may leave, pauses aside.
    pub fn slot(&self, now: Instant) -> Instant {
        // Spread evenly: a server may count in shorter windows than it announces. The credit lets a client that was
        // idle catch up by a few requests.
        let credit = self.interval * (self.burst - 1);
        let even = self.next.max(now.checked_sub(credit).unwrap_or(now));
        self.windows().filter_map(|window| self.opens(window)).fold(even, Instant::max)
    }

    /// When a window that is used up has room again.
    fn opens(&self, window: &Window) -> Option<Instant> {
        let most = window.requests.max(1.0) as usize;
        let at = self.departures.len().checked_sub(most).filter(|_| most <= REMEMBERED)?;
        Some(self.departures[at] + window.length.mul_f64(1.0 + HEADROOM / 2.0))
    }

    /// When the next request may leave.
    pub fn ready_at(&self, now: Instant) -> Instant {
        self.slot(now).max(self.paused_until)
    }

    /// Notes that the request of a slot leaves.
    pub fn depart(&mut self, slot: Instant, now: Instant) {
        self.counting_since.get_or_insert(now);
        // From its slot and not from now: waking late must not slow the pace.
        self.next = slot + self.interval;
        let most = self.windows().map(|w| w.requests).filter(|n| *n <= REMEMBERED as f64).fold(0.0, f64::max);
        if most > 0.0 {
            self.departures.push_back(now);
            while self.departures.len() > most as usize {
                self.departures.pop_front();
            }
        }
    }

    /// Takes limits that the server announces. Gives the spacing they ask for if it is wider than the current one.
    pub fn announce(&mut self, windows: &[Window]) -> Option<Duration> {
        for window in windows {
            match self.announced.iter_mut().find(|known| known.length == window.length) {
                Some(known) => *known = *window,
                None => self.announced.push(*window),
            }
        }
        if !windows.is_empty() {
            self.measured = None;
        }
        let floor = self.floor();
        (floor > self.interval).then(|| {
            self.interval = floor;
            floor
        })
    }

    /// The limit announced for a window of this length.
    pub fn announced(&self) -> &[Window] {
        &self.announced
    }

    /// Takes note of an answer that was no refusal. Gives the pause that it asks for, if it does.
    pub fn accept(&mut self, headers: &LimitHeaders) -> Option<Duration> {
        let now = Instant::now();
        self.accepted += 1;
        self.refusals = 0;
        let pause = headers.reset.filter(|_| headers.remaining.is_some_and(|left| left < 1.0));
        let pause = pause.map(|reset| reset.min(LONGEST_PAUSE));
        if let Some(pause) = pause {
            self.paused_until = self.paused_until.max(now + pause);
        }
        self.recover(now);
        pause
    }

    /// Takes note of a refusal. The pause begins; whether the measure counts is left to the caller, see
    /// [`slow_down`](Self::slow_down).
    ///
    /// The time from the first request counted until the server lets requests through again, and the requests
    /// accepted in it, measure the server's limit: exactly for a fixed or sliding window, and from the second
    /// measure on for a token bucket. A few requests measure nothing: someone else may have used the limit up.
    pub fn refuse(&mut self, headers: &LimitHeaders, asked: Option<Duration>, sent_at: Instant) -> Refusal {
        let now = Instant::now();
        let is_news = self.paused_until <= now && self.counting_since.is_some_and(|since| since <= sent_at);
        if is_news {
            self.refusals += 1;
        }
        let own = Duration::from_secs(1).saturating_mul(1 << self.refusals.saturating_sub(1).min(6));
        let asked = asked.or(headers.reset);
        let wait = match asked {
            // A server that says a second again and again doesn't know.
            Some(asked) if self.refusals > 3 => asked.max(own / 8),
            Some(asked) => asked,
            None => own.min(LONGEST_BACKOFF),
        };
        let wait = wait.min(LONGEST_PAUSE);
        let resume = now + wait;
        self.paused_until = self.paused_until.max(resume);
        let since = self.counting_since.unwrap_or(sent_at);
        let enough = is_news && self.accepted >= MEASURE_FROM;
        let measured = enough.then(|| self.accepted as f64 / (resume - since).as_secs_f64().max(1e-3));
        // A server that says that more would be let through refuses for another reason than the pace.
        let is_news = is_news && headers.remaining.is_none_or(|left| left < 1.0);
        Refusal { wait, measured, is_news }
    }

    /// Slows the pace down after a refusal.
    pub fn slow_down(&mut self, refusal: Refusal) {
        let held = self.measured.is_some_and(|rate| {
            let of_measured = self.interval.as_secs_f64() / spacing(rate).as_secs_f64();
            (0.95..1.15).contains(&of_measured)
        });
        let Some(measured) = refusal.measured else {
            self.interval = self.interval.max(refusal.wait / 60).mul_f64(1.25).min(SLOWEST);
            return;
        };
        if held || !self.announced.is_empty() {
            // Refused although the limit is held: a whim, or a limit shared with others. Measuring would take
            // the pause for a lower limit, each time again.
            self.interval = self.interval.mul_f64(1.05).min(SLOWEST);
        } else {
            self.measured = Some(measured);
            self.interval = self.interval.max(spacing(measured)).min(SLOWEST);
            self.settled = Instant::now();
        }
        self.count_again();
    }

    fn count_again(&mut self) {
        self.accepted = 0;
        self.counting_since = None;
    }

    /// Forgets what was only measured.
    pub fn forget_measures(&mut self) {
        self.measured = None;
        self.interval = self.floor();
        self.count_again();
    }

    /// Requests a minute at the current pace; `None` when nothing limits it.
    pub fn per_minute(&self) -> Option<f64> {
        (!self.interval.is_zero()).then(|| 60.0 * (1.0 + HEADROOM) / self.interval.as_secs_f64())
    }

    /// Requests that left in the last minute, as far as they are remembered.
    pub fn lately(&self, now: Instant) -> usize {
        self.departures
            .iter()
            .rev()
            .take_while(|at| now.duration_since(**at) < Duration::from_secs(60))
            .count()
    }

    /// Wins a little of the pace back, up to what is known of the limit. A measure that is old is forgotten:
    /// the limit may have been raised.
    fn recover(&mut self, now: Instant) {
        if self.measured.is_some() && now.duration_since(self.settled) > PROBE_AFTER {
            self.measured = None;
        }
        let floor = self.floor();
        if self.interval > floor {
            self.interval = self.interval.mul_f64(1.0 - RECOVERY).max(floor);
            if floor.is_zero() && self.interval < Duration::from_micros(500) {
                self.interval = floor;
            }
        }
    }
}

fn spacing(per_second: f64) -> Duration {
    Duration::from_secs_f64((1.0 + HEADROOM) / per_second.max(1e-3))
}
