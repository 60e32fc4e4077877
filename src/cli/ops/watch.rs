//! Waiting for the next run of a project, whatever starts it: a trigger for pipelines.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::time::Instant;

use super::resolve::resolve;
use super::runs::Trigger;
use super::shape::RUNS;
use super::wait::{ProgressLine, WaitArgs, outcome};
use super::{ReadArgs, Session};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::runs::{ListRuns, is_terminal};
use crate::client::{List, ProjectId};

/// Runs looked at each time. More never end between two looks: Hex starts at most twenty a minute.
const NEWEST: usize = 100;

/// Runs to watch for.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Project: identifier, title or page in Hex
    #[arg(value_name = "PROJECT")]
    project: String,
    /// Only runs of this trigger
    #[arg(long, value_enum, ignore_case = true, default_value = "ALL")]
    trigger: Trigger,
    /// Stop at the next run that ends, whatever its outcome; the exit code is its outcome
    #[arg(long)]
    any_outcome: bool,
    /// Also count runs after this one that have already ended: the last run that was handled
    #[arg(long, value_name = "RUN")]
    after: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    read: ReadArgs,
}

/// Waits until a run of the project ends that had not ended before, and prints it.
///
/// # Errors
/// If the API can't be read.
pub async fn watch(args: WatchArgs, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let session = args.read.open(settings, ui)?;
    let project: ProjectId = resolve(&session.client, &args.project).await?;
    let trigger = super::runs::name(&args.trigger);
    let list = ListRuns { project_id: project.clone(), trigger, ..ListRuns::default() };
    let line = ProgressLine::new();
    let started = Instant::now();
    let mut old = known_before(&newest(&session, &list).await?, args.after.as_deref())?;
    loop {
        let runs = newest(&session, &list).await?;
        // The oldest first: runs are taken in the order in which they came.
        for run in runs.iter().rev() {
            let (id, status) = (text(run, "runId"), text(run, "status"));
            if old.contains(id) || !is_terminal(status) {
                continue;
            }
            if args.any_outcome || status == "COMPLETED" {
                line.end();
                session.output.print_one(&RUNS.complete(run.clone()))?;
                return Ok(outcome(status));
            }
            tracing::info!(run = id, status, "a run ended otherwise; still waiting for one that completes");
            old.insert(id.to_owned());
        }
        let going = runs.iter().filter(|run| !is_terminal(text(run, "status"))).count();
        line.show(&format!("{going} going"));
        let left = args.wait.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            line.end();
            return Err(Failure::new(Code::RunTimeout, "no run has completed in the time allowed")
                .next("Watch again with a longer --timeout, or look at hexport runs list."));
        }
        let pause = left.map_or(args.wait.poll, |left| left.min(args.wait.poll));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => {
                line.end();
                return Err(Failure::new(Code::Interrupted, "interrupted; runs go on as they would"));
            }
        }
    }
}

async fn newest(session: &Session, list: &ListRuns) -> Result<Vec<Value>, Failure> {
    Ok(session.client.list_json(list.request()).take(NEWEST).try_collect().await?)
}

/// Runs that don't count: those that have ended, or `after` and what came before it.
fn known_before(runs: &[Value], after: Option<&str>) -> Result<HashSet<String>, Failure> {
    let old: HashSet<String> = match after {
        None => runs.iter().filter(|run| is_terminal(text(run, "status"))).map(id_of).collect(),
        Some(after) => runs.iter().skip_while(|run| text(run, "runId") != after).map(id_of).collect(),
    };
    match after {
        Some(after) if !old.contains(after) => {
            Err(Failure::new(Code::Usage, format!("the run {after} is not among the newest {NEWEST}"))
                .next("Leave --after out to wait for a run that ends from now on."))
        }
        _ => Ok(old),
    }
}

fn id_of(run: &Value) -> String {
    text(run, "runId").to_owned()
}

fn text<'a>(run: &'a Value, field: &str) -> &'a str {
    run[field].as_str().unwrap_or_default()
}
