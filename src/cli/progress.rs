//! Progress: bars when a person is watching, log lines when not.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Ui;
use super::out::one_line;
use crate::client::{ClientEvent, Observer};
use crate::crawl::{Coverage, Endpoint, Progress, Scope, State, Stop};

/// A log line says how far the crawl is, at most this often.
const EVERY: Duration = Duration::from_secs(30);

/// Reports a crawl and its client's doings.
pub struct Reporter {
    bars: Option<MultiProgress>,
    state: Mutex<Doings>,
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
    /// A reporter that talks as `ui` says.
    pub fn new(ui: &Ui) -> Self {
        let now = Instant::now();
        let state = Doings { endpoints: BTreeMap::new(), started: now, said: now, sent: 0 };
        Self { bars: ui.bars.then(MultiProgress::new), state: Mutex::new(state) }
    }

    /// Takes the bars away, so that a result can be printed.
    pub fn end(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, Doings> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line for people: above the bars, or into the log.
    fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(one_line(text))),
            None => tracing::info!("{text}"),
        }
    }

    fn warn(&self, text: &str) {
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
        match coverage.state {
            State::Failed => self.warn(&format!("{name}{of} failed: {reason}")),
            State::Forbidden if coverage.requests > 0 => {
                self.warn(&format!("{name}{of} is forbidden: {reason}"))
            }
            State::Vanished => self.warn(&format!("{name}{of} vanished: {reason}")),
            _ => {}
        }
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
                let wait_ms = wait.as_millis() as u64;
                let trace_id = trace_id.unwrap_or_default();
                tracing::info!(operation = operation.id, why, wait_ms, trace_id, "asking again");
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
