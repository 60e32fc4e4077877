//! `hexport runs`.

use std::io::Read;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::resolve::{Kind, resolve};
use super::wait::{WaitArgs, wait};
use super::{ListArgs, ReadArgs, WriteArgs};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::operation::{CANCEL_RUN, GET_RUN_STATUS, RUN_PROJECT};
use crate::client::runs::{ListRuns, Notification, RunRequest};
use crate::client::{ApiRequest, List};

/// What is done about runs.
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
    /// Cancel a run
    Cancel {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Wait until a run has ended; its outcome is the exit code
    Wait {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        read: ReadArgs,
    },
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
    /// Ended well.
    Completed,
    /// Was cancelled.
    Killed,
    /// Got no kernel.
    UnableToAllocateKernel,
}

/// What started a run.
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

fn name(value: &impl clap::ValueEnum) -> Option<String> {
    value.to_possible_value().map(|v| v.get_name().to_owned())
}

/// How a run is started.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Project: identifier, title or page in Hex
    #[arg(value_name = "PROJECT")]
    project: String,
    /// A value of an input: NAME=VALUE. A value that is JSON is taken as such, else as text; quote a number
    /// that is text: day='"7"'. May be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = input)]
    input: Vec<(String, Value)>,
    /// File with a JSON object of inputs; - for standard input
    #[arg(long, value_name = "FILE")]
    input_json: Option<PathBuf>,
    /// A saved view whose inputs are used
    #[arg(long, value_name = "VIEW", conflicts_with_all = ["input", "input_json"])]
    view: Option<String>,
    /// Have Hex check the inputs, and start nothing (Hex's dryRun)
    #[arg(long)]
    validate: bool,
    /// Show this run's results in the published app
    #[arg(long, conflicts_with_all = ["input", "input_json"])]
    update_published_results: bool,
    /// Hex's older name for --update-published-results
    #[arg(long)]
    update_cache: bool,
    /// Don't use cached SQL results
    #[arg(long)]
    no_cached_sql: bool,
    /// Tell this user of the outcome: email or identifier; may be given more than once
    #[arg(long, value_name = "USER")]
    notify_user: Vec<String>,
    /// Tell this group of the outcome: name or identifier; may be given more than once
    #[arg(long, value_name = "GROUP")]
    notify_group: Vec<String>,
    /// Tell this Slack channel of the outcome, by its identifier; may be given more than once
    #[arg(long, value_name = "CHANNEL")]
    notify_slack: Vec<String>,
    /// Outcomes that are told
    #[arg(long, value_enum, ignore_case = true, default_value = "ALL")]
    notify_on: NotifyOn,
    /// Subject of what is told
    #[arg(long, value_name = "TEXT")]
    notify_subject: Option<String>,
    /// Body of what is told
    #[arg(long, value_name = "TEXT")]
    notify_body: Option<String>,
    /// Send a screenshot with a success: png or pdf
    #[arg(long, value_name = "FORMAT")]
    notify_screenshot: Option<String>,
    /// Wait until the run has ended; its outcome is the exit code
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    waiting: WaitArgs,
    #[command(flatten)]
    write: WriteArgs,
}

/// Outcomes that are told.
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

const COLUMNS: [&str; 7] =
    ["runId", "status", "runTrigger", "startTime", "endTime", "elapsedTime", "projectVersion"];

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List { project, status, trigger, list } => {
            let session = list.read.open(settings, ui)?;
            let project_id = resolve(&session.client, Kind::Project, &project).await?;
            let status = status.as_ref().and_then(name);
            let trigger = trigger.as_ref().and_then(name);
            let request = ListRuns { project_id, status, trigger, page_size: None }.request();
            session.list(request, list.limit, &COLUMNS).await
        }
        Command::Get { of, read } => {
            let session = read.open(settings, ui)?;
            let project = resolve(&session.client, Kind::Project, &of.project).await?;
            session.get(ApiRequest::new(&GET_RUN_STATUS, &[&project, &of.run])).await
        }
        Command::Start(start) => start_run(*start, settings, ui).await,
        Command::Cancel { of, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let project = resolve(&session.client, Kind::Project, &of.project).await?;
            let code =
                session.write(ApiRequest::new(&CANCEL_RUN, &[&project, &of.run]), &writing, None).await?;
            if !writing.dry_run {
                // The API answers with nothing; a script wants to know what was cancelled.
                session.output.print_one(
                    &serde_json::json!({"success": true, "projectId": project, "runId": of.run}),
                )?;
            }
            Ok(code)
        }
        Command::Wait { of, wait: waiting, read } => {
            let session = read.open(settings, ui)?;
            let project = resolve(&session.client, Kind::Project, &of.project).await?;
            wait(&session, &project, &of.run, &waiting).await
        }
    }
}

async fn start_run(start: Start, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let inputs = inputs(&start)?;
    let (waits, waiting) = (start.wait, start.waiting);
    let (read, writing) = start.write.split();
    let session = read.open(settings, ui)?;
    let project = resolve(&session.client, Kind::Project, &start.project).await?;
    let mut users = Vec::new();
    for user in &start.notify_user {
        users.push(resolve(&session.client, Kind::User, user).await?);
    }
    let mut groups = Vec::new();
    for group in &start.notify_group {
        groups.push(resolve(&session.client, Kind::Group, group).await?);
    }
    let some = |ids: Vec<String>| (!ids.is_empty()).then_some(ids);
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
    let told = [&notification.slack_channel_ids, &notification.user_ids, &notification.group_ids];
    let is_told = told.into_iter().any(Option::is_some);
    let request = RunRequest {
        input_params: (!inputs.is_empty()).then_some(inputs),
        dry_run: start.validate.then_some(true),
        update_cache: start.update_cache.then_some(true),
        notifications: is_told.then(|| vec![notification]),
        update_published_results: start.update_published_results.then_some(true),
        use_cached_sql_results: start.no_cached_sql.then_some(false),
        view_id: start.view,
    };
    let body = serde_json::to_value(&request).expect("a run request is JSON");
    let request = ApiRequest::new(&RUN_PROJECT, &[&project]).body(body);
    if writing.dry_run {
        return session.show(&request);
    }
    let answer = session.client.send_json(&request).await?;
    if !waits || start.validate {
        session.output.print_one(&answer)?;
        return Ok(Code::Complete);
    }
    let run = answer["runId"].as_str().unwrap_or_default();
    wait(&session, &project, run, &waiting).await
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
