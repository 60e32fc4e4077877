//! Runs.

use chrono::TimeDelta;
use rand::RngExt;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::Route;
use crate::client::RunId;
use crate::client::operation as op;
use crate::client::runs::{Notification, NotificationRecipient, Recipient, RunRequest, StartedRun};
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, ok, uuid};
use crate::sim::changes::Change;
use crate::sim::faults::PageFault;
use crate::sim::live::{LiveRun, admit_run};
use crate::sim::rng;
use crate::sim::server::{Sim, lock};
use crate::sim::world::{ApiRun, RunSpec, World};

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::GET_PROJECT_RUNS, Older, Sim::list_runs).invalid(422).also(&["/project/{projectId}/runs"]),
    Route::of(&op::RUN_PROJECT, Older, Sim::start_run).invalid(422).also(&["/project/{projectId}/run"]),
    Route::of(&op::GET_RUN_STATUS, Older, Sim::get_run)
        .invalid(422)
        .also(&["/project/{projectId}/run/{runId}"]),
    Route::of(&op::CANCEL_RUN, Older, Sim::cancel_run)
        .invalid(422)
        .also(&["/project/{projectId}/run/{runId}"]),
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
        let wanted = |run: &RunSpec| {
            status.is_none_or(|s| s == run.status) && trigger.is_none_or(|t| t == run.trigger)
        };
        let mut matching = world.runs(record).iter().filter(|run| wanted(run)).skip(offset);
        let runs: Vec<Value> =
            matching.by_ref().take(limit).map(|spec| json!(world.run(record, spec))).collect();
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
        let mut run = world.run(record, spec);
        run.state_events = run.state_events.filter(|_| call.expanded_stats);
        ok(&run)
    }

    fn start_run(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        let mut body = Value::Object(call.json()?);
        booleans_of_texts(&mut body);
        let run: RunRequest = serde_json::from_value(body)
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
            return Err(Failure::new(422, "updatePublishedResults can't be true with inputParams"));
        }
        check_inputs(&record.inputs, &params, &call.trace)?;
        let dry = run.dry_run == Some(true);
        if !dry {
            admit_run(&mut lock(&self.live), self.config.kernels, now)?;
        }
        let notifications = recipients(&world, run.notifications.as_deref().unwrap_or_default());
        let (project_id, version) = (record.project.id.clone(), record.version);
        let run_id = RunId::from(world.new_id("live-run", now));
        let started = StartedRun {
            run_url: world.run_url(&project_id, &run_id),
            run_status_url: format!("{}/api/v1/projects/{project_id}/runs/{run_id}", call.base),
            trace_id: call.trace.clone(),
            project_version: version,
            notifications: (!notifications.is_empty()).then(|| notifications.clone()),
            project_id,
            run_id,
        };
        if !dry {
            let config = world.config.clone();
            let runs = World::runs_mut(&config, &mut world.projects[at]);
            let number = runs.len() as u32;
            let r = &mut rng::of(config.seed, "live-run-fate", u64::from(number));
            lock(&self.live).runs.push(LiveRun {
                project: started.project_id.to_string(),
                run: started.run_id.to_string(),
                triggered: now,
                elapsed: TimeDelta::milliseconds(r.random_range(2_000..9_000)),
                fails: params.get("lower").is_some_and(|v| v.as_f64() == Some(-1.0)),
                updates_results: run.update_published_results == Some(true),
                killed: None,
            });
            let trace = call.trace.clone();
            let id = started.run_id.to_string();
            let api = Some(Box::new(ApiRun { id, trace, version, notifications, ..ApiRun::default() }));
            let (status, trigger) = ("PENDING", "API");
            runs.insert(0, RunSpec { number, triggered: now, elapsed_ms: None, status, trigger, api });
        }
        Ok((201, Some(json!(started))))
    }

    fn cancel_run(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        let run = call.arg("runId");
        uuid(call, id, "projectId")?;
        uuid(call, run, "runId")?;
        let now = self.now();
        let mut world = self.world_mut();
        let at = call.project(&world, id)?;
        let record = &world.projects[at];
        if !world.runs(record).iter().any(|spec| world.run_id(record, spec) == run) {
            return Err(Failure::new(404, "Run not found"));
        }
        let mut live = lock(&self.live);
        let Some(running) = live.runs.iter_mut().find(|r| r.run == run) else {
            return Err(Failure::new(422, "The run has already finished"));
        };
        running.killed = Some(now);
        live.settle(&mut world, now);
        Ok((204, None))
    }
}

/// Booleans written as texts, as in the examples of Hex's own documentation.
fn booleans_of_texts(body: &mut Value) {
    const FLAGS: [&str; 5] = [
        "dryRun",
        "updateCache",
        "updatePublishedResults",
        "useCachedSqlResults",
        "includeSuccessScreenshot",
    ];
    let mut amend = |object: &mut Value| {
        for flag in FLAGS {
            match object.get(flag).and_then(Value::as_str) {
                Some("true") => object[flag] = json!(true),
                Some("false") => object[flag] = json!(false),
                _ => {}
            }
        }
    };
    amend(body);
    body["notifications"].as_array_mut().into_iter().flatten().for_each(&mut amend);
    if body["notifications"].is_null()
        && let Some(object) = body.as_object_mut()
    {
        object.remove("notifications");
    }
}

/// Who is notified of a run's outcome, with the names that Hex knows them by.
fn recipients(world: &World, sent: &[Notification]) -> Vec<NotificationRecipient> {
    let mut all = Vec::new();
    for notification in sent {
        let mut add = |kind: &str, id: &str, name: String, is_private: Option<bool>| {
            all.push(NotificationRecipient {
                kind: notification.kind.clone(),
                subject: notification.subject.clone(),
                body: notification.body.clone(),
                recipient_type: kind.to_owned(),
                include_success_screenshot: notification.include_success_screenshot,
                screenshot_format: notification.screenshot_format.clone().map(|format| vec![format]),
                recipient: Recipient { id: id.to_owned(), name, is_private },
            });
        };
        for id in notification.user_ids.iter().flatten() {
            let user = world.users.iter().find(|user| user.id == *id);
            add("USER", id, user.and_then(|user| user.name.clone()).unwrap_or_default(), None);
        }
        for id in notification.group_ids.iter().flatten() {
            let group = world.groups.iter().find(|group| group.id == *id);
            add("GROUP", id, group.map(|group| group.name.clone()).unwrap_or_default(), None);
        }
        for id in notification.slack_channel_ids.iter().flatten() {
            add("SLACK_CHANNEL", id, format!("#{}", id.to_lowercase()), Some(false));
        }
    }
    all
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
