//! `hexport runs`.

use std::io::Read;
use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};

use super::once::Once;
use super::resolve::resolve;
use super::shape::{RUNS, STARTED_RUNS};
use super::wait::{WaitArgs, wait};
use super::watch::{WatchArgs, watch};
use super::{ListArgs, ReadArgs, Session, WriteArgs, Writing};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::runs::{ListRuns, Notification, RunRequest, StartedRun, is_terminal};
use crate::client::{Call, Error, List, ProjectId, RunId};

/// Commands on runs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List a project's runs, the newest first
    List {
        /// Project: identifier, title or page in Hex
        #[arg(value_name = "PROJECT")]
        project: String,
        /// Only of this status
        #[arg(long, value_enum, ignore_case = true)]
        status: Option<Status>,
        /// Only of this trigger
        #[arg(long, value_enum, ignore_case = true)]
        trigger: Option<Trigger>,
        /// Runs to leave out at the start of the list
        #[arg(long, value_name = "N")]
        offset: Option<u32>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one run
    Get {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Start a run of a project's published version
    Start(Box<Start>),
    /// Cancel a run; exits with 24 if it has already ended
    Cancel {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Wait for a run to end; the exit code is its outcome
    ///
    /// Waits for the run that is named, or for the one that runs start --once KEY started.
    Wait {
        /// Project: identifier, title or page in Hex
        #[arg(value_name = "PROJECT")]
        project: String,
        /// Run's identifier
        #[arg(value_name = "RUN", required_unless_present = "once")]
        run: Option<String>,
        /// The run that was started with this key
        #[arg(long, value_name = "KEY", conflicts_with = "run")]
        once: Option<String>,
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Wait for the next run of a project that completes, whatever started it
    Watch(WatchArgs),
}

/// A run of a project.
#[derive(Debug, clap::Args)]
pub struct Of {
    /// Project: identifier, title or page in Hex
    #[arg(value_name = "PROJECT")]
    project: String,
    /// Run's identifier
    #[arg(value_name = "RUN")]
    run: String,
}

/// Status of a run.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Waits for a kernel.
    Pending,
    /// Runs.
    Running,
    /// Failed.
    Errored,
    /// Succeeded.
    Completed,
    /// Was cancelled.
    Killed,
    /// Got no kernel.
    UnableToAllocateKernel,
}

/// Trigger of a run.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trigger {
    /// The API.
    Api,
    /// A schedule.
    Scheduled,
    /// Someone who refreshed the app.
    AppRefresh,
    /// Any of them.
    All,
}

/// The API's word for a value of a flag.
pub fn name(value: &impl clap::ValueEnum) -> Option<String> {
    value.to_possible_value().map(|v| v.get_name().to_owned())
}

/// Options of a start.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Project: identifier, title or page in Hex
    #[arg(value_name = "PROJECT")]
    project: String,
    /// Value of an input: NAME=VALUE. Taken as JSON if it is, else as text; quote a number that is text:
    /// day='"7"'. May be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = input)]
    input: Vec<(String, Value)>,
    /// File with a JSON object of inputs; - for standard input
    #[arg(long, value_name = "FILE")]
    input_json: Option<PathBuf>,
    /// A saved view whose inputs are used
    #[arg(long, value_name = "VIEW", conflicts_with_all = ["input", "input_json"])]
    view: Option<String>,
    /// Have Hex validate the inputs without starting a run (Hex's dryRun)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    validate: Option<bool>,
    /// Show this run's results in the published app
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    update_published_results: Option<bool>,
    /// Hex's older name for --update-published-results
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    update_cache: Option<bool>,
    /// Whether cached SQL results may be used
    #[arg(long, value_name = "BOOL")]
    use_cached_sql_results: Option<bool>,
    /// The same as --use-cached-sql-results false
    #[arg(long, conflicts_with = "use_cached_sql_results")]
    no_cached_sql: bool,
    /// Start the run once for this key, however often the command is repeated: a repetition finds the run that
    /// the key started before. Kept in HEXPORT_STATE_DIR (default: ~/.local/state/hexport)
    #[arg(long, value_name = "KEY", conflicts_with = "validate")]
    once: Option<String>,
    /// Notify this user of the outcome: email or identifier; may be given more than once
    #[arg(long, value_name = "USER")]
    notify_user: Vec<String>,
    /// Notify this group of the outcome: name or identifier; may be given more than once
    #[arg(long, value_name = "GROUP")]
    notify_group: Vec<String>,
    /// Notify this Slack channel of the outcome, by its identifier; may be given more than once
    #[arg(long, value_name = "CHANNEL")]
    notify_slack: Vec<String>,
    /// Outcomes to notify about
    #[arg(long, value_enum, ignore_case = true, default_value = "ALL")]
    notify_on: NotifyOn,
    /// Subject of the notification
    #[arg(long, value_name = "TEXT")]
    notify_subject: Option<String>,
    /// Body of the notification
    #[arg(long, value_name = "TEXT")]
    notify_body: Option<String>,
    /// Send a screenshot with a success: png or pdf
    #[arg(long, value_name = "FORMAT")]
    notify_screenshot: Option<String>,
    /// Wait for the run to end; the exit code is its outcome
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    waiting: WaitArgs,
    #[command(flatten)]
    write: WriteArgs,
}

/// Outcomes to notify about.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum NotifyOn {
    /// All.
    All,
    /// Successes.
    Success,
    /// Failures.
    Failure,
}

fn input(text: &str) -> Result<(String, Value), String> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("an input is NAME=VALUE")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List { project, status, trigger, offset, list } => {
            let session = list.read.open(settings, ui)?;
            let project_id = resolve(&session.client, &project).await?;
            let status = status.as_ref().and_then(name);
            let trigger = trigger.as_ref().and_then(name);
            let request = ListRuns { project_id, status, trigger, page_size: None }.request();
            session.list(request.query_opt("offset", offset), list.limit, &RUNS).await
        }
        Command::Get { of, read } => {
            let session = read.open(settings, ui)?;
            let project = resolve(&session.client, &of.project).await?;
            session.get(session.client.get_run(&project, &of.run.into()), &RUNS).await
        }
        Command::Start(start) => start_run(*start, settings, ui).await,
        Command::Cancel { of, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let project = resolve(&session.client, &of.project).await?;
            cancel(&session, &project, &of.run.into(), &writing).await
        }
        Command::Wait { project, run, once, wait: waiting, read } => {
            let session = read.open(settings, ui)?;
            let project: ProjectId = resolve(&session.client, &project).await?;
            // clap asks for one of them; no key is no run's.
            let run = match run {
                Some(run) => run,
                None => {
                    let key = once.unwrap_or_default();
                    let known = Once::open(session.client.base_url(), &project, &key)?.run_id()?;
                    known.ok_or_else(|| {
                        Failure::new(
                            Code::Usage,
                            format!("no run of this project was started with the key '{key}'"),
                        )
                        .next("Start it with hexport runs start --once KEY, or name a run.")
                    })?
                }
            };
            wait(&session, &project, &run.into(), &waiting).await
        }
        Command::Watch(args) => watch(args, settings, ui).await,
    }
}

fn some<I>(ids: Vec<I>) -> Option<Vec<I>> {
    (!ids.is_empty()).then_some(ids)
}

/// Cancels a run that has not ended.
async fn cancel(
    session: &Session,
    project: &ProjectId,
    run: &RunId,
    writing: &Writing,
) -> Result<Code, Failure> {
    let call = session.client.cancel_run(project, run);
    if writing.dry_run {
        return session.show(call.request());
    }
    let status =
        async || -> Result<String, Failure> { Ok(session.client.get_run(project, run).await?.status) };
    let mut ended = Some(status().await?).filter(|status| is_terminal(status));
    if ended.is_none() {
        match call.await {
            Ok(()) => {}
            // It may have ended between the two.
            Err(e) => match status().await {
                Ok(status) if is_terminal(&status) => ended = Some(status),
                _ => return Err(e.into()),
            },
        }
    }
    let mut answer = json!({"success": ended.is_none(), "projectId": project, "runId": run});
    if let Some(status) = &ended {
        answer["status"] = json!(status);
    }
    session.output.print_one(&answer)?;
    match ended {
        None => Ok(Code::Complete),
        Some(status) => {
            eprintln!("note: the run had ended before ({status}); nothing was cancelled");
            Ok(Code::RunEnded)
        }
    }
}

async fn start_run(start: Start, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let inputs = inputs(&start)?;
    let (waits, waiting) = (start.wait, start.waiting);
    let (read, writing) = start.write.split();
    let session = read.open(settings, ui)?;
    let project: ProjectId = resolve(&session.client, &start.project).await?;
    let mut users = Vec::new();
    for user in &start.notify_user {
        users.push(resolve(&session.client, user).await?);
    }
    let mut groups = Vec::new();
    for group in &start.notify_group {
        groups.push(resolve(&session.client, group).await?);
    }
    let notification = Notification {
        kind: name(&start.notify_on).unwrap_or_default(),
        include_success_screenshot: start.notify_screenshot.is_some(),
        screenshot_format: start.notify_screenshot,
        slack_channel_ids: some(start.notify_slack),
        user_ids: some(users),
        group_ids: some(groups),
        subject: start.notify_subject,
        body: start.notify_body,
    };
    let is_told = notification.slack_channel_ids.is_some()
        || notification.user_ids.is_some()
        || notification.group_ids.is_some();
    let request = RunRequest {
        input_params: (!inputs.is_empty()).then_some(inputs),
        dry_run: start.validate,
        update_cache: start.update_cache,
        notifications: is_told.then(|| vec![notification]),
        update_published_results: start.update_published_results,
        use_cached_sql_results: if start.no_cached_sql { Some(false) } else { start.use_cached_sql_results },
        view_id: start.view,
    };
    let call = session.client.run_project(&project, &request);
    if writing.dry_run {
        return session.show(call.request());
    }
    let answer = match &start.once {
        None => call.json().await?,
        Some(key) => start_once(&session, &project, key, &call).await?,
    };
    if !waits || start.validate == Some(true) {
        session.output.print_one(&STARTED_RUNS.complete(answer))?;
        return Ok(Code::Complete);
    }
    let run = answer["runId"].as_str().unwrap_or_default();
    wait(&session, &project, &run.into(), &waiting).await
}

/// Starts a run, unless the key has started one before; then that one is given.
async fn start_once(
    session: &Session,
    project: &ProjectId,
    key: &str,
    call: &Call<StartedRun>,
) -> Result<Value, Failure> {
    let body = call.request().json_body().cloned().unwrap_or_default();
    let mut once = Once::open(session.client.base_url(), project, key)?;
    if let Some(answer) = once.known(&body)? {
        eprintln!("note: the key '{key}' has started this run before; nothing was started");
        return Ok(answer);
    }
    let of_api = ListRuns { project_id: project.clone(), trigger: Some("API".into()), ..ListRuns::default() };
    let newest = |runs: &[Value]| runs.first().and_then(|run| run["runId"].as_str()).map(str::to_owned);
    let runs: Vec<Value> = session.client.list_json(of_api.request()).take(100).try_collect().await?;
    if let Some(before) = once.unfinished() {
        // An earlier attempt sent the start, or was about to, and never saw the answer.
        let known = |run: &&Value| run["runId"].as_str() != before.as_deref();
        let since: Vec<&Value> = runs.iter().take_while(known).collect();
        match since.as_slice() {
            [] => {}
            [run] => {
                eprintln!(
                    "note: an earlier attempt with the key '{key}' has started this run; nothing was started"
                );
                let answer = (*run).clone();
                once.finish(&answer)?;
                return Ok(answer);
            }
            several => {
                return Err(Failure::new(
                    Code::Usage,
                    format!(
                        "an earlier attempt with the key '{key}' may have started one of {} runs",
                        several.len()
                    ),
                )
                .next("Look at them with hexport runs list --trigger API, then use another key."));
            }
        }
    }
    once.begin(&body, newest(&runs))?;
    let answer = match call.json().await {
        Err(e @ Error::Api { .. }) => {
            // A refusal starts nothing: the key stays free.
            once.forget()?;
            return Err(e.into());
        }
        answer => answer?,
    };
    once.finish(&answer)?;
    Ok(answer)
}

/// Inputs of the file, and then those of the flags, which come before it.
fn inputs(start: &Start) -> Result<Map<String, Value>, Failure> {
    let mut inputs = match &start.input_json {
        None => Map::new(),
        Some(path) => {
            let bad = |why: String| {
                Failure::new(Code::Usage, format!("the inputs in {} can't be used: {why}", path.display()))
                    .next("The file holds one JSON object: input names and their values.")
            };
            let text = if path.as_os_str() == "-" {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map(|_| text)
            } else {
                std::fs::read_to_string(path)
            };
            match serde_json::from_str(&text.map_err(|e| bad(e.to_string()))?) {
                Ok(Value::Object(map)) => map,
                Ok(_) => return Err(bad("it is not an object".into())),
                Err(e) => return Err(bad(e.to_string())),
            }
        }
    };
    inputs.extend(start.input.iter().cloned());
    Ok(inputs)
}
