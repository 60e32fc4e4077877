//! Progress: bars when a person is watching, log lines when not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Ui;
use super::out::one_line;
use super::summary::without_trace;
use crate::client::{ClientEvent, Observer};
use crate::crawl::{Coverage, Endpoint, Progress, Scope, State, Stop};

/// Shortest time between two log lines about the crawl's progress, and between two that say the same.
const EVERY: Duration = Duration::from_secs(30);
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
    bars: Option<MultiProgress>,
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
    bar: Option<ProgressBar>,
}

impl Reporter {
    /// A reporter with the console settings of `ui`.
    pub fn new(ui: &Ui) -> Self {
        let now = Instant::now();
        let state = Doings { endpoints: BTreeMap::new(), started: now, said: now, sent: 0 };
        let folded = Mutex::new(Folded::default());
        Self { bars: ui.bars.then(MultiProgress::new), state: Mutex::new(state), folded }
    }

    /// Removes the bars, so that a result can be printed, and reports the repetitions that are left.
    pub fn end(&self) {
        for (line, more) in self.folded().rest() {
            let times = if more == 1 { "once".to_owned() } else { format!("{more} times") };
            self.say_now(&format!("repeated {times} since: {line}"));
        }
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, Doings> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folded(&self) -> MutexGuard<'_, Folded> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_now(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(one_line(text))),
            None => tracing::info!("{text}"),
        }
    }

    /// A line for people: above the bars, or into the log. Repetitions are folded.
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
        match &self.bars {
            Some(bars) => drop(bars.println(one_line(&format!("warning: {text}")))),
            None => tracing::warn!("{text}"),
        }
    }
}

fn style(endpoint: Endpoint) -> ProgressStyle {
    let template = match endpoint.scope() {
        Scope::Workspace => "{prefix:20} {msg}",
        _ => "{prefix:20} [{bar:28}] {pos}/{len}  {per_sec}  eta {eta}  {msg}",
    };
    ProgressStyle::with_template(template).expect("a template that indicatif knows").progress_chars("=> ")
}

impl Doing {
    fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_length(self.expected);
            bar.set_position(self.done);
            let ended = if self.done == self.expected { "" } else { " ..." };
            bar.set_message(format!("{} items{ended}", self.items));
        }
    }
}

impl Progress for Reporter {
    fn expect(&self, endpoint: Endpoint, entities: u64) {
        let mut state = self.state();
        let doing = state.endpoints.entry(endpoint).or_default();
        doing.expected += entities;
        if let (Some(bars), None) = (&self.bars, &doing.bar) {
            let bar = bars.add(ProgressBar::new(0).with_style(style(endpoint)).with_prefix(endpoint.name()));
            doing.bar = Some(bar);
        }
        doing.show();
    }

    fn page(&self, endpoint: Endpoint, items: u64, _replayed: bool) {
        let mut state = self.state();
        let doing = state.endpoints.entry(endpoint).or_default();
        doing.items += items;
        doing.show();
        if self.bars.is_none() && state.said.elapsed() >= EVERY {
            state.said = Instant::now();
            let (done, expected) =
                state.endpoints.values().fold((0, 0), |(d, e), doing| (d + doing.done, e + doing.expected));
            let elapsed = state.started.elapsed().as_secs_f64();
            let left = (done > 0).then(|| elapsed / done as f64 * (expected - done) as f64);
            let eta_seconds = left.map_or(0, |s| s as u64);
            tracing::info!(
                done,
                expected,
                requests = state.sent,
                elapsed_seconds = elapsed as u64,
                eta_seconds,
                "crawling"
            );
        }
    }

    fn done(&self, coverage: &Coverage) {
        let mut state = self.state();
        let doing = state.endpoints.entry(coverage.endpoint).or_default();
        doing.done += 1;
        doing.show();
        if self.bars.is_none() {
            state.announce();
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
