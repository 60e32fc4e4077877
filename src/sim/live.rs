//! Runs started over the API, as time passes.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::call::Failure;

/// Runs that may be started in a minute, and in an hour.
const RUN_LIMITS: [(usize, TimeDelta); 2] = [(20, TimeDelta::minutes(1)), (60, TimeDelta::hours(1))];
/// Time that a started run waits for its kernel.
const KERNEL_START: TimeDelta = TimeDelta::seconds(2);

/// Runs started over the API.
#[derive(Default)]
pub(super) struct Live {
    pub(super) started: VecDeque<DateTime<Utc>>,
    pub(super) runs: Vec<LiveRun>,
}

/// A run started over the API.
pub(super) struct LiveRun {
    pub(super) project: String,
    pub(super) run: String,
    pub(super) started: DateTime<Utc>,
    pub(super) elapsed: TimeDelta,
    pub(super) fails: bool,
    pub(super) killed: Option<DateTime<Utc>>,
}

impl LiveRun {
    pub(super) fn state(&self, now: DateTime<Utc>) -> (&'static str, Option<TimeDelta>) {
        let kernel = self.started + KERNEL_START;
        match self.killed {
            Some(at) => ("KILLED", Some((at - kernel).max(TimeDelta::zero()))),
            None if now < kernel => ("PENDING", None),
            None if now < kernel + self.elapsed => ("RUNNING", None),
            None if self.fails => ("ERRORED", Some(self.elapsed)),
            None => ("COMPLETED", Some(self.elapsed)),
        }
    }
}

pub(super) fn admit_run(live: &mut Live, kernels: usize, now: DateTime<Utc>) -> Result<(), Failure> {
    for (most, period) in RUN_LIMITS {
        if live.started.iter().filter(|at| now - **at < period).count() >= most {
            return Err(Failure::new(429, "Too many runs were started")
                .details(format!("at most {most} in {} s", period.num_seconds())));
        }
    }
    let busy = live.runs.iter().filter(|run| matches!(run.state(now).0, "PENDING" | "RUNNING")).count();
    if busy >= kernels {
        return Err(Failure::new(503, "No kernel is free").details(format!("{kernels} are running")));
    }
    live.started.push_back(now);
    while live.started.front().is_some_and(|at| now - *at > RUN_LIMITS[1].1) {
        live.started.pop_front();
    }
    Ok(())
}
