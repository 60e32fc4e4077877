//! Runs started over the API, as time passes.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::call::Failure;
use super::world::{World, iso};

/// Runs that may be started in a minute, and in an hour.
const RUN_LIMITS: [(usize, TimeDelta); 2] = [(20, TimeDelta::minutes(1)), (60, TimeDelta::hours(1))];
/// Time that a started run waits for its kernel.
const KERNEL_START: TimeDelta = TimeDelta::seconds(2);

/// Runs started over the API that have not ended.
#[derive(Default)]
pub(super) struct Live {
    pub(super) started: VecDeque<DateTime<Utc>>,
    pub(super) runs: Vec<LiveRun>,
}

/// A run started over the API.
pub(super) struct LiveRun {
    pub(super) project: String,
    pub(super) run: String,
    pub(super) triggered: DateTime<Utc>,
    pub(super) elapsed: TimeDelta,
    pub(super) fails: bool,
    pub(super) updates_results: bool,
    pub(super) killed: Option<DateTime<Utc>>,
}

/// State of a run at a moment.
pub(super) struct RunState {
    pub(super) status: &'static str,
    pub(super) started: Option<DateTime<Utc>>,
    pub(super) ended: Option<DateTime<Utc>>,
}

impl LiveRun {
    pub(super) fn state(&self, now: DateTime<Utc>) -> RunState {
        let started = self.triggered + KERNEL_START;
        let end = started + self.elapsed;
        let (status, started, ended) = match self.killed {
            // Killed before it got a kernel: it never started.
            Some(at) if at < started => ("KILLED", None, Some(at)),
            Some(at) => ("KILLED", Some(started), Some(at)),
            None if now < started => ("PENDING", None, None),
            None if now < end => ("RUNNING", Some(started), None),
            None if self.fails => ("ERRORED", Some(started), Some(end)),
            None => ("COMPLETED", Some(started), Some(end)),
        };
        RunState { status, started, ended }
    }
}

impl Live {
    /// Brings the runs of the world to `now`. Those that have ended are no longer live.
    pub(super) fn settle(&mut self, world: &mut World, now: DateTime<Utc>) {
        self.runs.retain(|live| {
            let state = live.state(now);
            let Some(at) = world.find_project(&live.project) else { return false };
            let config = world.config.clone();
            let record = &mut world.projects[at];
            if state.status == "COMPLETED" && live.updates_results {
                record.project.analytics.published_results_updated_at = state.ended.map(iso);
            }
            let runs = World::runs_mut(&config, record);
            let spec = runs.iter_mut().find(|spec| spec.api.as_ref().is_some_and(|api| api.id == live.run));
            if let Some(spec) = spec {
                spec.status = state.status;
                let elapsed = state.started.zip(state.ended).map(|(from, to)| (to - from).num_milliseconds());
                spec.elapsed_ms = elapsed.map(|ms| ms.clamp(0, i64::from(u32::MAX)) as u32);
                if let Some(api) = &mut spec.api {
                    (api.started, api.ended) = (state.started, state.ended);
                }
            }
            state.ended.is_none()
        });
    }
}

pub(super) fn admit_run(live: &mut Live, kernels: usize, now: DateTime<Utc>) -> Result<(), Failure> {
    for (most, period) in RUN_LIMITS {
        if live.started.iter().filter(|at| now - **at < period).count() >= most {
            return Err(Failure::new(429, "Too many runs were started")
                .details(format!("at most {most} in {} s", period.num_seconds())));
        }
    }
    if live.runs.len() >= kernels {
        return Err(Failure::new(503, "No kernel is free").details(format!("{kernels} are running")));
    }
    live.started.push_back(now);
    while live.started.front().is_some_and(|at| now - *at > RUN_LIMITS[1].1) {
        live.started.pop_front();
    }
    Ok(())
}
