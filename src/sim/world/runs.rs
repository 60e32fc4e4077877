//! Runs: history from schedules and chance.

use std::cmp::Reverse;

use chrono::{DateTime, Datelike, Duration, NaiveDate, TimeDelta, Timelike, Utc, Weekday};
use rand::RngExt;

use super::projects::ProjectRecord;
use super::{World, WorldConfig, iso};
use crate::client::projects::Schedule;
use crate::client::runs::{NotificationRecipient, Recipient, Run, StateEvent};
use crate::sim::rng::{self, chance, pick};

/// A run in short; the long form is made when it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    /// Number of the run within its project, from 0, the oldest.
    pub number: u32,
    /// When it was triggered.
    pub triggered: DateTime<Utc>,
    /// Elapsed milliseconds, once it has ended.
    pub elapsed_ms: Option<u32>,
    /// Status.
    pub status: &'static str,
    /// Trigger.
    pub trigger: &'static str,
    /// Set where the run was not generated but started over the API.
    pub api: Option<Box<ApiRun>>,
}

/// A run that was started over the API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApiRun {
    /// Identifier.
    pub id: String,
    /// Start; none until it gets a kernel.
    pub started: Option<DateTime<Utc>>,
    /// End.
    pub ended: Option<DateTime<Utc>>,
    /// Hex's trace id.
    pub trace: String,
    /// Version of the project that runs.
    pub version: i64,
    /// Receivers of notifications about the outcome.
    pub notifications: Vec<NotificationRecipient>,
}

impl World {
    /// Runs of a project, the newest first.
    pub fn runs<'a>(&self, record: &'a ProjectRecord) -> &'a [RunSpec] {
        record.runs.get_or_init(|| make_runs(&self.config, record))
    }

    /// Runs of a project, to add to.
    pub fn runs_mut<'a>(config: &WorldConfig, record: &'a mut ProjectRecord) -> &'a mut Vec<RunSpec> {
        if record.runs.get().is_none() {
            let runs = make_runs(config, record);
            let _ = record.runs.set(runs);
        }
        record.runs.get_mut().expect("set above")
    }

    /// Identifier of a run.
    pub fn run_id(&self, record: &ProjectRecord, spec: &RunSpec) -> String {
        match &spec.api {
            Some(api) => api.id.clone(),
            None => rng::uuid(
                self.config.seed,
                "run",
                record.index.wrapping_mul(1 << 24) + u64::from(spec.number),
            ),
        }
    }

    /// Page of a run: at Hex, whatever address the simulator is served at, so that the same seed gives the
    /// same answers.
    pub fn run_url(&self, project_id: &str, run_id: &str) -> String {
        format!("https://app.hex.tech/{}/app/{project_id}/runs/{run_id}", self.org_id)
    }

    /// A run as the API gives it.
    pub fn run(&self, record: &ProjectRecord, spec: &RunSpec) -> Run {
        let id = self.run_id(record, spec);
        let key = record.index.wrapping_mul(1 << 24) + u64::from(spec.number);
        let r = &mut rng::of(self.config.seed, "run-detail", key);
        let waits = spec.triggered + TimeDelta::milliseconds(r.random_range(50..900));
        let ended = spec.elapsed_ms.map(|ms| waits + TimeDelta::milliseconds(i64::from(ms)));
        // A run that never got a kernel has no start.
        let started = (!matches!(spec.status, "PENDING" | "UNABLE_TO_ALLOCATE_KERNEL")).then_some(waits);
        let (started, ended) = spec.api.as_ref().map_or((started, ended), |api| (api.started, api.ended));
        let trace_id = format!("{:032x}", r.random::<u128>());
        let trace_id = spec.api.as_ref().map_or(trace_id, |api| api.trace.clone());
        let state_events = chance(r, 0.2).then(|| {
            let event = |value: &str, at: DateTime<Utc>| StateEvent {
                kind: "STATUS".into(),
                value: value.into(),
                timestamp: iso(at),
            };
            let mut events = vec![event("PENDING", spec.triggered)];
            events.extend(started.map(|at| event("RUNNING", at)));
            events.extend(ended.map(|at| event(spec.status, at)));
            events
        });
        let notifications = (spec.trigger == "SCHEDULED" && record.index % 9 == 4).then(|| {
            vec![NotificationRecipient {
                kind: "FAILURE".into(),
                recipient_type: "SLACK_CHANNEL".into(),
                include_success_screenshot: false,
                recipient: Recipient {
                    id: "C024BE91L".into(),
                    name: "#data-alerts".into(),
                    is_private: Some(false),
                },
                ..NotificationRecipient::default()
            }]
        });
        let sent = spec.api.as_ref().map(|api| api.notifications.clone()).filter(|sent| !sent.is_empty());
        Run {
            project_id: record.project.id.clone(),
            project_version: spec.api.as_ref().map_or(record.version, |api| api.version).max(1),
            run_url: self.run_url(&record.project.id, &id),
            run_id: id.into(),
            status: spec.status.into(),
            run_trigger: spec.trigger.into(),
            start_time: started.map(iso),
            end_time: ended.map(iso),
            elapsed_time: spec.elapsed_ms.map(f64::from),
            flag_config_override: None,
            trace_id,
            notifications: sent.or(notifications),
            state_events,
        }
    }
}

/// The times at which a schedule was due, the latest first, from `until` back.
pub(super) fn due_times(
    schedule: &Schedule,
    until: DateTime<Utc>,
) -> Box<dyn Iterator<Item = DateTime<Utc>>> {
    let offset = |zone: &str| -> TimeDelta {
        let (sign, rest) = zone.split_at(1);
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let minutes = hours.parse::<i64>().unwrap_or(0) * 60 + minutes.parse::<i64>().unwrap_or(0);
        TimeDelta::minutes(if sign == "-" { -minutes } else { minutes })
    };
    let daily = move |zone: String, hour: i64, minute: i64, keep: Box<dyn Fn(NaiveDate) -> bool>| {
        let shift = offset(&zone);
        let local = (until + shift).date_naive();
        let time = TimeDelta::minutes(hour * 60 + minute);
        (0..)
            .map(move |back| local - Duration::days(back))
            .filter(move |day| keep(*day))
            .map(move |day| day.and_time(chrono::NaiveTime::MIN).and_utc() + time - shift)
            .skip_while(move |at| *at > until)
    };
    let hours = move |step: u32, minute: u32, zone: String| {
        let shift = offset(&zone);
        let local = until + shift;
        let top = local
            .with_minute(minute)
            .and_then(|t| t.with_second(0))
            .and_then(|t| t.with_nanosecond(0))
            .unwrap_or(local);
        (0..)
            .map(move |back| top - TimeDelta::hours(back))
            .filter(move |at| at.hour() % step == 0)
            .map(move |at| at - shift)
            .skip_while(move |at| *at > until)
    };
    if let Some(s) = schedule.hourly.clone() {
        return Box::new(hours(1, s.minute as u32, s.timezone));
    }
    if let Some(s) = schedule.daily.clone() {
        return Box::new(daily(s.timezone, s.hour, s.minute, Box::new(|_| true)));
    }
    if let Some(s) = schedule.weekly.clone() {
        let day = match s.day_of_week.as_str() {
            "MONDAY" => Weekday::Mon,
            "WEDNESDAY" => Weekday::Wed,
            _ => Weekday::Sun,
        };
        return Box::new(daily(s.timezone, s.hour, s.minute, Box::new(move |d| d.weekday() == day)));
    }
    if let Some(s) = schedule.monthly.clone() {
        return Box::new(daily(s.timezone, s.hour, s.minute, Box::new(move |d| i64::from(d.day()) == s.day)));
    }
    if let Some(s) = schedule.custom.clone() {
        let fields: Vec<&str> = s.cron.split(' ').collect();
        let minute: i64 = fields[0].parse().unwrap_or(0);
        if fields[1].starts_with("*/") {
            return Box::new(hours(6, minute as u32, s.timezone));
        }
        let weekdays = fields[4] == "1-5";
        let keep = move |d: NaiveDate| !weekdays || d.weekday().number_from_monday() <= 5;
        return Box::new(daily(s.timezone, fields[1].parse().unwrap_or(0), minute, Box::new(keep)));
    }
    Box::new(std::iter::empty())
}

fn make_runs(config: &WorldConfig, record: &ProjectRecord) -> Vec<RunSpec> {
    let Some(published) =
        record.project.last_published_at.as_deref().and_then(|t| t.parse::<DateTime<Utc>>().ok())
    else {
        return Vec::new();
    };
    let r = &mut rng::of(config.seed, "runs", record.index);
    let spread = -(1.0 - r.random::<f64>()).ln();
    let wanted = (spread * config.runs_per_project).round() as usize;
    let frozen = [&record.project.archived_at, &record.project.trashed_at];
    let until = frozen.iter().filter_map(|t| t.as_deref()?.parse().ok()).fold(config.epoch, DateTime::min);
    let mut due: Vec<(DateTime<Utc>, &'static str)> = Vec::new();
    for schedule in record.project.schedules.iter().filter(|s| s.enabled) {
        // One slot in forty is missed, as happens.
        let times = due_times(schedule, until).take_while(|at| *at > published).take(wanted);
        due.extend(times.filter(|_| !chance(r, 0.025)).map(|at| (at, "SCHEDULED")));
    }
    let others = if due.is_empty() { wanted } else { due.len() / 12 };
    let span = (until - published).num_milliseconds().max(1);
    for _ in 0..others {
        let back = (r.random::<f64>().powi(2) * span as f64) as i64;
        due.push((until - TimeDelta::milliseconds(back), if chance(r, 0.5) { "API" } else { "APP_REFRESH" }));
    }
    due.sort_by_key(|(at, _)| Reverse(*at));
    let total = due.len() as u32;
    let failing_lately = if chance(r, 0.06) { r.random_range(3..12) } else { 0 };
    due.into_iter()
        .enumerate()
        .map(|(at, (triggered, trigger))| {
            let young = at == 0 && (config.epoch - triggered) < TimeDelta::minutes(20);
            let status = match r.random::<f64>() {
                _ if young && chance(r, 0.5) => pick(r, &["RUNNING", "PENDING"]),
                _ if at < failing_lately => "ERRORED",
                x if x < record.failure_rate => "ERRORED",
                x if x > 0.993 => "UNABLE_TO_ALLOCATE_KERNEL",
                x if x > 0.985 => "KILLED",
                _ => "COMPLETED",
            };
            // A sum of uniforms stands in for a normal variable: durations are log-normal.
            let normal: f64 = (0..6).map(|_| r.random::<f64>()).sum::<f64>() - 3.0;
            let elapsed = (record.median_ms * (normal * 0.6).exp()).clamp(200.0, 7_200_000.0) as u32;
            let elapsed_ms = (!matches!(status, "RUNNING" | "PENDING")).then_some(elapsed);
            RunSpec {
                number: total - 1 - at as u32,
                triggered,
                elapsed_ms,
                status: intern(status),
                trigger,
                api: None,
            }
        })
        .collect()
}

fn intern(status: &str) -> &'static str {
    ["PENDING", "RUNNING", "ERRORED", "COMPLETED", "KILLED", "UNABLE_TO_ALLOCATE_KERNEL"]
        .into_iter()
        .find(|known| *known == status)
        .unwrap_or("COMPLETED")
}
