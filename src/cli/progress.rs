//! Progress: one bar when a person is watching, log lines when not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Ui;
use super::out::one_line;
use super::summary::without_trace;
use crate::client::{ClientEvent, Observer};
use crate::crawl::{Coverage, Endpoint, Progress, Scope, State, Stop};

/// Shortest time between two log lines about the crawl's progress, and between two that say the same.
const EVERY: Duration = Duration::from_secs(30);
/// Times a second that the bar is drawn: more often makes it flicker and tells nobody more.
const DRAWS: u8 = 4;
/// Time before which the pace of a crawl says little about how long it takes.
const EARLY: Duration = Duration::from_secs(3);
/// Lines that are remembered to fold their repetitions.
const REMEMBERED: usize = 1000;

/// Lines that repeat: the first is printed, the others are counted and reported now and then.
#[derive(Default)]
struct Folded(HashMap<String, Repeats>);

struct Repeats {
    printed: Instant,
    /// Repetitions since then.
    more: u64,
}

impl Folded {
    /// Whether to print a line now, and how often it was held back since it was last printed.
    fn pass(&mut self, line: &str, now: Instant) -> Option<u64> {
        let is_full = self.0.len() >= REMEMBERED;
        match self.0.get_mut(line) {
            None if is_full => Some(0),
            None => {
                self.0.insert(line.to_owned(), Repeats { printed: now, more: 0 });
                Some(0)
            }
            Some(repeats) if now.duration_since(repeats.printed) >= EVERY => {
                repeats.printed = now;
                Some(std::mem::take(&mut repeats.more))
            }
            Some(repeats) => {
                repeats.more += 1;
                None
            }
        }
    }

    /// Lines that were held back and not reported yet, with how often.
    fn rest(&mut self) -> Vec<(String, u64)> {
        let mut rest: Vec<_> = self.0.drain().map(|(line, repeats)| (line, repeats.more)).collect();
        rest.retain(|(_, more)| *more > 0);
        rest.sort();
        rest
    }
}

/// A line with the number of those before it that were held back.
fn with_repeats(line: &str, more: u64) -> String {
    match more {
        0 => line.to_owned(),
        1 => format!("{line} (once more before)"),
        more => format!("{line} ({more} more times before)"),
    }
}

/// Reports the progress of a crawl and its client.
pub struct Reporter {
    bar: Option<ProgressBar>,
    state: Mutex<Doings>,
    folded: Mutex<Folded>,
}

struct Doings {
    endpoints: BTreeMap<Endpoint, Doing>,
    started: Instant,
    said: Instant,
    sent: u64,
}

impl Doings {
    /// Entities that are done, and all that are to be asked about as far as is known.
    fn counts(&self) -> (u64, u64) {
        self.endpoints.values().fold((0, 0), |(d, e), doing| (d + doing.done, e + doing.expected))
    }

    /// Seconds until everything is read, at the pace so far. `None` while the lists that name the entities are not
    /// read, or it is too early to tell.
    fn left(&self) -> Option<f64> {
        let is_read = |list| self.endpoints.get(&list).is_none_or(|doing| doing.done == doing.expected);
        let elapsed = self.started.elapsed();
        let (done, expected) = self.counts();
        let is_known = is_read(Endpoint::PROJECTS) && is_read(Endpoint::GROUPS) && elapsed >= EARLY;
        (is_known && done > 0).then(|| elapsed.as_secs_f64() / done as f64 * (expected - done) as f64)
    }

    /// Shows the current endpoint, the count, and the time left.
    fn show(&self, bar: &ProgressBar, now: Endpoint) {
        let (done, expected) = self.counts();
        bar.set_length(expected);
        bar.set_position(done);
        let left = match self.left() {
            _ if done == expected => String::new(),
            Some(seconds) => format!(", about {} left", roughly(seconds)),
            None => String::new(),
        };
        bar.set_message(format!("{}{left}", now.name()));
    }

    /// Logs each endpoint that is read to its end, once: a fan-out is not before the list that feeds it.
    fn announce(&mut self) {
        let ended = |doing: Option<&Doing>| doing.is_some_and(|d| d.done == d.expected);
        let projects = ended(self.endpoints.get(&Endpoint::PROJECTS));
        let groups = ended(self.endpoints.get(&Endpoint::GROUPS));
        for (endpoint, doing) in &mut self.endpoints {
            let fed = match endpoint.scope() {
                Scope::Workspace => true,
                Scope::Group => groups,
                Scope::Project => projects,
            };
            if fed && doing.done == doing.expected && !doing.announced {
                doing.announced = true;
                tracing::info!(
                    endpoint = endpoint.name(),
                    entities = doing.done,
                    items = doing.items,
                    "read"
                );
            }
        }
    }
}

#[derive(Default)]
struct Doing {
    announced: bool,
    expected: u64,
    done: u64,
    items: u64,
}

impl Reporter {
    /// A reporter with the console settings of `ui`.
    pub fn new(ui: &Ui) -> Self {
        let now = Instant::now();
        let state = Doings { endpoints: BTreeMap::new(), started: now, said: now, sent: 0 };
        let folded = Mutex::new(Folded::default());
        let bar = || {
            let target = ProgressDrawTarget::stderr_with_hz(DRAWS);
            ProgressBar::with_draw_target(Some(0), target).with_style(style())
        };
        Self { bar: ui.bars.then(bar), state: Mutex::new(state), folded }
    }

    /// Removes the bar, so that a result can be printed, and reports the repetitions that are left.
    pub fn end(&self) {
        for (line, more) in self.folded().rest() {
            let times = if more == 1 { "once".to_owned() } else { format!("{more} times") };
            self.say_now(&format!("repeated {times} since: {line}"));
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, Doings> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folded(&self) -> MutexGuard<'_, Folded> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_now(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(one_line(text)),
            None => tracing::info!("{text}"),
        }
    }

    /// A line for people: above the bar, or into the log. Repetitions are folded.
    fn say(&self, text: &str) {
        if let Some(more) = self.folded().pass(text, Instant::now()) {
            self.say_now(&with_repeats(text, more));
        }
    }

    fn warn(&self, text: &str) {
        self.warn_alike(text, text);
    }

    /// A warning; those of the same `kind` are folded.
    fn warn_alike(&self, kind: &str, text: &str) {
        let Some(more) = self.folded().pass(kind, Instant::now()) else { return };
        let text = with_repeats(text, more);
        match &self.bar {
            Some(bar) => bar.println(one_line(&format!("warning: {text}"))),
            None => tracing::warn!("{text}"),
        }
    }
}

/// A time as one says it of something that isn't known better.
fn roughly(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{} s", s.ceil()),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("[{bar:28}] {pos} of {len} read  {wide_msg}")
        .expect("a template that indicatif knows")
        .progress_chars("=> ")
}

impl Progress for Reporter {
    fn expect(&self, endpoint: Endpoint, entities: u64) {
        let mut state = self.state();
        state.endpoints.entry(endpoint).or_default().expected += entities;
        if let Some(bar) = &self.bar {
            state.show(bar, endpoint);
        }
    }

    fn page(&self, endpoint: Endpoint, items: u64, _replayed: bool) {
        let mut state = self.state();
        state.endpoints.entry(endpoint).or_default().items += items;
        if let Some(bar) = &self.bar {
            state.show(bar, endpoint);
        } else if state.said.elapsed() >= EVERY {
            state.said = Instant::now();
            let (done, expected) = state.counts();
            tracing::info!(
                done,
                expected,
                requests = state.sent,
                elapsed_seconds = state.started.elapsed().as_secs(),
                eta_seconds = state.left().map(|seconds| seconds as u64),
                "crawling"
            );
        }
    }

    fn done(&self, coverage: &Coverage) {
        let mut state = self.state();
        state.endpoints.entry(coverage.endpoint).or_default().done += 1;
        match &self.bar {
            Some(bar) => state.show(bar, coverage.endpoint),
            None => state.announce(),
        }
        drop(state);
        let of = coverage.entity.as_deref().map_or(String::new(), |id| format!(" of {id}"));
        let (name, reason) = (coverage.endpoint.name(), coverage.reason.as_deref().unwrap_or(""));
        let what = match coverage.state {
            State::Failed => "failed",
            State::Forbidden if coverage.requests > 0 => "is forbidden",
            State::Vanished => "vanished",
            _ => return,
        };
        // A thousand projects that fail for one reason are one warning.
        let kind = format!("{name} {what}: {}", without_trace(reason));
        self.warn_alike(&kind, &format!("{name}{of} {what}: {reason}"));
    }

    fn note(&self, text: &str) {
        self.say(text);
    }

    fn warn(&self, text: &str) {
        Reporter::warn(self, text);
    }
}

impl Observer for Reporter {
    fn event(&self, event: ClientEvent) {
        match event {
            ClientEvent::Sent { id, operation } => {
                self.state().sent += 1;
                tracing::debug!(request = id, operation = operation.id, "sent");
            }
            ClientEvent::Answered { id, operation, status, took } => {
                let ms = took.as_millis() as u64;
                tracing::debug!(request = id, operation = operation.id, status, ms, "answered");
            }
            ClientEvent::Retry { operation, why, wait, trace_id } => {
                let Some(repeated) = self
                    .folded()
                    .pass(&format!("{} retried: {}", operation.id, without_trace(&why)), Instant::now())
                else {
                    return;
                };
                let wait_ms = wait.as_millis() as u64;
                let trace_id = trace_id.unwrap_or_default();
                tracing::info!(operation = operation.id, why, wait_ms, trace_id, repeated, "retrying");
            }
            ClientEvent::Pace(change) => {
                let pause = change
                    .pause
                    .map_or(String::new(), |wait| format!("waiting {:.1} s, then ", wait.as_secs_f64()));
                let pace =
                    change.per_minute.map_or("unlimited".to_owned(), |rate| format!("{rate:.0} a minute"));
                self.warn(&format!("{}: {pause}{pace} in group {}", change.cause, change.group));
            }
        }
    }
}

/// Stops the crawl at the first Ctrl-C or SIGTERM, and ends the process at the second.
pub fn stop_on_signals(stop: &Stop) {
    let stop = stop.clone();
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let mut next = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
        next().await;
        stop.stop();
        next().await;
        std::process::exit(super::Code::Interrupted as i32);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_lines_are_counted_and_reported_after_a_while_and_at_the_end() {
        let mut folded = Folded::default();
        let start = Instant::now();
        assert_eq!(folded.pass("a", start), Some(0));
        assert_eq!(folded.pass("a", start), None);
        assert_eq!(folded.pass("b", start), Some(0));
        assert_eq!(folded.pass("a", start), None);
        assert_eq!(folded.pass("a", start + EVERY), Some(2));
        assert_eq!(folded.pass("a", start + EVERY), None);
        assert_eq!(folded.rest(), [("a".to_owned(), 1)]);
        assert!(folded.rest().is_empty());
    }
}
