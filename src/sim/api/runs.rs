//! Runs.

use chrono::TimeDelta;
use rand::RngExt;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::Route;
use crate::client::operation as op;
use crate::client::runs::{RunRequest, StartedRun};
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, uuid};
use crate::sim::changes::Change;
use crate::sim::faults::PageFault;
use crate::sim::live::{LiveRun, admit_run};
use crate::sim::rng;
use crate::sim::server::{Sim, lock};
use crate::sim::world::{ProjectRecord, RunSpec, World};

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::GET_PROJECT_RUNS, Older, Sim::list_runs).invalid(422),
    Route::of(&op::RUN_PROJECT, Older, Sim::start_run).invalid(422),
    Route::of(&op::GET_RUN_STATUS, Older, Sim::get_run).invalid(422),
    Route::of(&op::CANCEL_RUN, Older, Sim::cancel_run).invalid(422),
];

impl Sim {
    fn list_runs(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        let limit = call.number("limit", 25, 1, 100)?.min(call.page_cap);
        let offset = call.number("offset", 0, 0, i32::MAX as usize)?;
        let statuses = ["PENDING", "RUNNING", "ERRORED", "COMPLETED", "KILLED", "UNABLE_TO_ALLOCATE_KERNEL"];
        let status = call.one_of("statusFilter", &statuses)?;
        let trigger = call
            .one_of("runTriggerFilter", &["API", "SCHEDULED", "APP_REFRESH", "ALL"])?
            .filter(|t| *t != "ALL");
        if call.fate.shift && offset > 0 {
            let now = self.now();
            let mut world = self.world_mut();
            if let Some(at) = world.find_project(id) {
                world.change(Change::Run, at, now);
            }
        }
        let world = self.world();
        let at = call.project(&world, id)?;
        let record = &world.projects[at];
        let live = self.live_runs(&record.project.id);
        let wanted = |run: &RunSpec| {
            let status_now = live
                .iter()
                .find(|(id, _)| run.id.as_ref() == Some(id))
                .map_or(run.status, |(_, state)| state.0);
            status.is_none_or(|s| s == status_now) && trigger.is_none_or(|t| t == run.trigger)
        };
        let mut matching = world.runs(record).iter().filter(|run| wanted(run)).skip(offset);
        let runs: Vec<Value> =
            matching.by_ref().take(limit).map(|spec| self.run_json(&world, record, spec)).collect();
        let more = matching.next().is_some();
        let url = |offset: usize| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &limit.to_string()).append_pair("offset", &offset.to_string());
            for name in ["statusFilter", "runTriggerFilter"] {
                if let Some(value) = call.get(name) {
                    query.append_pair(name, value);
                }
            }
            format!("{}/api/v1/projects/{id}/runs?{}", call.base, query.finish())
        };
        let next = match call.paging {
            Some(PageFault::Repeat) if offset > 0 => Some(url(offset)),
            Some(PageFault::Circle) if offset > 0 => Some(url(0)),
            Some(PageFault::Endless) => Some(url(offset + limit)),
            _ => more.then(|| url(offset + limit)),
        };
        let previous = (offset > 0).then(|| url(offset.saturating_sub(limit)));
        Ok((
            200,
            Some(json!({"runs": runs, "nextPage": next, "previousPage": previous, "traceId": call.trace})),
        ))
    }

    /// State of the runs of a project that were started over the API: id, status and elapsed time.
    fn live_runs(&self, project: &str) -> Vec<(String, (&'static str, Option<TimeDelta>))> {
        let now = self.now();
        lock(&self.live)
            .runs
            .iter()
            .filter(|r| r.project == project)
            .map(|r| (r.run.clone(), r.state(now)))
            .collect()
    }

    fn run_json(&self, world: &World, record: &ProjectRecord, spec: &RunSpec) -> Value {
        let mut spec = spec.clone();
        if let Some(id) = &spec.id {
            let now = self.now();
            if let Some(live) = lock(&self.live).runs.iter().find(|r| r.run == *id) {
                let (status, elapsed) = live.state(now);
                spec.status = status;
                spec.elapsed_ms = elapsed.map(|e| e.num_milliseconds().clamp(0, i64::from(u32::MAX)) as u32);
            }
        }
        json!(world.run(record, &spec))
    }

    fn get_run(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        let run = call.arg("runId");
        uuid(call, id, "projectId")?;
        uuid(call, run, "runId")?;
        let world = self.world();
        let at = call.project(&world, id)?;
        let record = &world.projects[at];
        let spec = world.runs(record).iter().find(|spec| world.run_id(record, spec) == run);
        let spec = spec.ok_or_else(|| Failure::new(404, "Run not found"))?;
        Ok((200, Some(self.run_json(&world, record, spec))))
    }

    fn start_run(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        let body = call.json()?;
        let run: RunRequest = serde_json::from_value(Value::Object(body))
            .map_err(|e| Failure::new(400, "The body is not a run request").details(e.to_string()))?;
        let now = self.now();
        let mut world = self.world_mut();
        let at = call.project(&world, id)?;
        let record = &world.projects[at];
        if record.project.last_published_at.is_none() {
            return Err(
                Failure::new(422, "The project has no published version").details("Publish it, then run it.")
            );
        }
        let params = run.input_params.clone().unwrap_or_default();
        if !params.is_empty() && run.view_id.is_some() {
            return Err(Failure::new(400, "viewId and inputParams exclude each other"));
        }
        if !params.is_empty() && run.update_published_results == Some(true) {
            return Err(Failure::new(400, "updatePublishedResults can't go with inputParams"));
        }
        check_inputs(&record.inputs, &params, &call.trace)?;
        let dry = run.dry_run == Some(true);
        let seed = world.config.seed;
        let number = world.runs(record).len() as u32;
        let serial = {
            let mut live = lock(&self.live);
            if !dry {
                admit_run(&mut live, self.config.kernels, now)?;
            }
            live.runs.len() as u64
        };
        let run_id = rng::uuid(seed, "live-run", record.index.wrapping_mul(1 << 20) + serial);
        let project_id = record.project.id.clone();
        let started = StartedRun {
            run_url: world.run_url(&project_id, &run_id),
            run_status_url: format!("{}/api/v1/projects/{project_id}/runs/{run_id}", call.base),
            trace_id: call.trace.clone(),
            project_version: record.version,
            notifications: None,
            project_id,
            run_id,
        };
        if !dry {
            let r = &mut rng::of(seed, "live-run-fate", serial);
            lock(&self.live).runs.push(LiveRun {
                project: started.project_id.clone(),
                run: started.run_id.clone(),
                started: now,
                elapsed: TimeDelta::milliseconds(r.random_range(2_000..9_000)),
                fails: params.get("lower").is_some_and(|v| v.as_f64() == Some(-1.0)),
                killed: None,
            });
            let config = world.config.clone();
            let id = Some(started.run_id.clone());
            let spec =
                RunSpec { number, triggered: now, elapsed_ms: None, status: "PENDING", trigger: "API", id };
            World::runs_mut(&config, &mut world.projects[at]).insert(0, spec);
        }
        Ok((201, Some(json!(started))))
    }

    fn cancel_run(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        let run = call.arg("runId");
        uuid(call, id, "projectId")?;
        uuid(call, run, "runId")?;
        let world = self.world();
        let at = call.project(&world, id)?;
        let record = &world.projects[at];
        let known = world.runs(record).iter().any(|spec| world.run_id(record, spec) == run);
        let now = self.now();
        let mut live = lock(&self.live);
        match live.runs.iter_mut().find(|r| r.run == run) {
            Some(live) if matches!(live.state(now).0, "PENDING" | "RUNNING") => {
                live.killed = Some(now);
                Ok((204, None))
            }
            Some(_) => Err(Failure::new(422, "The run has already finished")),
            None if known => Err(Failure::new(422, "The run has already finished")),
            None => Err(Failure::new(404, "Run not found")),
        }
    }
}

fn check_inputs(
    inputs: &[(String, &'static str)],
    params: &Map<String, Value>,
    trace: &str,
) -> Result<(), Failure> {
    let mut invalid = Vec::new();
    let mut not_found = Vec::new();
    for (name, value) in params {
        match inputs.iter().find(|(known, _)| known == name) {
            None => not_found.push(name.clone()),
            Some((_, "number")) if !value.is_number() => {
                invalid.push(json!({"dataType": "NUMBER", "inputCellType": "NUMBER", "paramValue": value.to_string(), "paramName": name}));
            }
            Some((_, "string")) if !value.is_string() => {
                invalid.push(json!({"dataType": "STRING", "inputCellType": "TEXT_INPUT", "paramValue": value.to_string(), "paramName": name}));
            }
            Some(_) => {}
        }
    }
    if invalid.is_empty() && not_found.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(422, "Invalid input parameters");
    failure.body = Some(json!({"traceId": trace, "invalid": invalid, "notFound": not_found}));
    Err(failure)
}
