//! Runs: start, list, get, cancel.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operation::{CANCEL_RUN, GET_PROJECT_RUNS, GET_RUN_STATUS, RUN_PROJECT};
use super::{ApiRequest, Call, Client, GroupId, List, ProjectId, RunId, UserId};

/// A run, as `GetProjectRuns` and `GetRunStatus` give it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Run {
    /// The project.
    pub project_id: ProjectId,
    /// Version of the project that ran, from 1.
    pub project_version: i64,
    /// Identifier (UUID).
    pub run_id: RunId,
    /// Page of the run in Hex.
    pub run_url: String,
    /// `PENDING`, `RUNNING`, `ERRORED`, `COMPLETED`, `KILLED`, `UNABLE_TO_ALLOCATE_KERNEL`.
    pub status: String,
    /// `API`, `SCHEDULED`, `APP_REFRESH`.
    pub run_trigger: String,
    /// Start (ISO 8601).
    pub start_time: Option<String>,
    /// End (ISO 8601).
    pub end_time: Option<String>,
    /// Elapsed time, in milliseconds by the published description.
    pub elapsed_time: Option<f64>,
    /// Value of the `flag-config-override` header the run was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag_config_override: Option<String>,
    /// Hex's trace id.
    pub trace_id: String,
    /// Notifications about the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Vec<NotificationRecipient>>,
    /// State changes with their times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_events: Option<Vec<StateEvent>>,
}

/// Statuses after which a run changes no more.
pub const TERMINAL_STATUSES: [&str; 4] = ["ERRORED", "COMPLETED", "KILLED", "UNABLE_TO_ALLOCATE_KERNEL"];

/// Whether a run of this status changes no more. An unknown status may still change.
pub fn is_terminal(status: &str) -> bool {
    TERMINAL_STATUSES.contains(&status)
}

/// A step in a run's life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateEvent {
    /// Kind of event.
    #[serde(rename = "type")]
    pub kind: String,
    /// Value.
    pub value: String,
    /// When (ISO 8601).
    pub timestamp: String,
}

/// Notification about a run's outcome.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NotificationRecipient {
    /// `SUCCESS`, `FAILURE`, `ALL`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// `USER`, `GROUP`, `SLACK_CHANNEL`.
    pub recipient_type: String,
    /// Whether a screenshot is sent with a success.
    pub include_success_screenshot: bool,
    /// Its formats: `png`, `pdf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screenshot_format: Option<Vec<String>>,
    /// The recipient.
    pub recipient: Recipient,
}

/// A user, group or Slack channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recipient {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// Whether a Slack channel is private.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_private: Option<bool>,
}

/// A notification to send when a run ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notification {
    /// `SUCCESS`, `FAILURE`, `ALL`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether a screenshot is sent with a success.
    pub include_success_screenshot: bool,
    /// `png` or `pdf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screenshot_format: Option<String>,
    /// Slack channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack_channel_ids: Option<Vec<String>>,
    /// Users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_ids: Option<Vec<UserId>>,
    /// Groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_ids: Option<Vec<GroupId>>,
    /// Subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Body of `RunProject`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunRequest {
    /// Values of the app's inputs, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_params: Option<Map<String, Value>>,
    /// Validate only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Deprecated by Hex in favour of `update_published_results`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_cache: Option<bool>,
    /// Notifications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Vec<Notification>>,
    /// Whether the published app shows this run's results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_published_results: Option<bool>,
    /// Whether cached SQL results may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_cached_sql_results: Option<bool>,
    /// A saved view whose inputs are used; excludes `input_params`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_id: Option<String>,
}

/// Answer of `RunProject`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartedRun {
    /// The project.
    pub project_id: ProjectId,
    /// The run.
    pub run_id: RunId,
    /// Page of the run in Hex.
    pub run_url: String,
    /// Where its status is.
    pub run_status_url: String,
    /// Hex's trace id.
    pub trace_id: String,
    /// Version of the project that runs.
    pub project_version: i64,
    /// Notifications about the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Vec<NotificationRecipient>>,
}

/// Parameters of `GetProjectRuns`.
#[derive(Debug, Clone, Default)]
pub struct ListRuns {
    /// The project.
    pub project_id: ProjectId,
    /// Only of this status.
    pub status: Option<String>,
    /// Only of this trigger: `API`, `SCHEDULED`, `APP_REFRESH`, `ALL`.
    pub trigger: Option<String>,
    /// Runs a page, 1 to 100; 100 by default.
    pub page_size: Option<u32>,
}

impl List for ListRuns {
    type Item = Run;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&GET_PROJECT_RUNS, &[&self.project_id])
            .query("limit", self.page_size.unwrap_or(100))
            .query_opt("statusFilter", self.status.as_ref())
            .query_opt("runTriggerFilter", self.trigger.as_ref())
    }
}

impl Client {
    /// Starts a run of the published version (`RunProject`). Sent once, whatever happens.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use hexport::client::runs::RunRequest;
    ///
    /// let published = world.projects.iter().find(|p| p.project.last_published_at.is_some()).unwrap();
    /// let dry = RunRequest { dry_run: Some(true), ..RunRequest::default() };
    /// client.run_project(&published.project.id, &dry).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 404 for an unknown or unpublished project, 422 for inputs that don't fit, 429 past
    /// 20 a minute or 60 an hour, 503 when no kernel is free; any other of [`Error`](super::Error).
    pub fn run_project(&self, project_id: &ProjectId, run: &RunRequest) -> Call<StartedRun> {
        let body = serde_json::to_value(run).expect("a run request is JSON");
        self.call(ApiRequest::new(&RUN_PROJECT, &[project_id]).body(body))
    }

    /// One run (`GetRunStatus`).
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let record = world.projects.iter().find(|p| !world.runs(p).is_empty()).unwrap();
    /// let run = world.run_id(record, &world.runs(record)[0]);
    /// println!("{}", client.get_run(&record.project.id, &run.into()).await?.status);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 404 for an unknown run; any other of [`Error`](super::Error).
    pub fn get_run(&self, project_id: &ProjectId, run_id: &RunId) -> Call<Run> {
        self.call(ApiRequest::new(&GET_RUN_STATUS, &[project_id, run_id]))
    }

    /// Cancels a run (`CancelRun`). Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use hexport::client::runs::RunRequest;
    ///
    /// let published = world.projects.iter().find(|p| p.project.last_published_at.is_some()).unwrap();
    /// let started = client.run_project(&published.project.id, &RunRequest::default()).await?;
    /// client.cancel_run(&started.project_id, &started.run_id).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 404 for an unknown run, 422 for one that has ended; any other of [`Error`](super::Error).
    pub fn cancel_run(&self, project_id: &ProjectId, run_id: &RunId) -> Call<()> {
        self.order(ApiRequest::new(&CANCEL_RUN, &[project_id, run_id]))
    }
}
