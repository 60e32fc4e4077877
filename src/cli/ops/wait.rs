//! Waiting for a run to end.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::Instant;

use super::shape::RUNS;
use super::{Session, ask};
use crate::cli::exit::{Code, Failure};
use crate::client::runs::is_terminal;
use crate::client::{Error, ProjectId, RunId};
use crate::units::parse_duration;

/// Timeout and polling.
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// Maximum time to wait for the run to end [default: forever]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Polling interval
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub poll: Duration,
}

/// Waits until a run has ended, prints it, and gives its outcome.
///
/// # Errors
/// If the API can't be read, or the wait is interrupted.
pub async fn wait(
    session: &Session,
    project: &ProjectId,
    run: &RunId,
    args: &WaitArgs,
) -> Result<Code, Failure> {
    let line = ProgressLine::new();
    let started = Instant::now();
    loop {
        let look = look(session, project, run);
        let answer = tokio::select! {
            answer = look => answer?,
            _ = tokio::signal::ctrl_c() => return interrupted(session, project, run, &line).await,
        };
        let status = answer["status"].as_str().unwrap_or("").to_owned();
        line.show(&status);
        if is_terminal(&status) {
            line.end();
            session.output.print_one(&RUNS.complete(answer))?;
            return Ok(outcome(&status));
        }
        let left = args.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            line.end();
            session.output.print_one(&RUNS.complete(answer))?;
            return Ok(Code::RunTimeout);
        }
        let pause = left.map_or(args.poll, |left| left.min(args.poll));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return interrupted(session, project, run, &line).await,
        }
    }
}

/// The exit code of a run that has ended.
pub fn outcome(status: &str) -> Code {
    match status {
        "COMPLETED" => Code::Complete,
        "KILLED" => Code::RunKilled,
        "UNABLE_TO_ALLOCATE_KERNEL" => Code::RunNoKernel,
        _ => Code::RunErrored,
    }
}

/// The run as it is. One that was only just started may not be known everywhere yet.
async fn look(session: &Session, project: &ProjectId, run: &RunId) -> Result<Value, Error> {
    let call = session.client.get_run(project, run);
    match call.json().await {
        Err(Error::Api { status: 404, .. }) => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            call.json().await
        }
        answer => answer,
    }
}

/// The run goes on without us, unless a person who is there wants it cancelled.
async fn interrupted(
    session: &Session,
    project: &ProjectId,
    run: &RunId,
    line: &ProgressLine,
) -> Result<Code, Failure> {
    line.end();
    let left = Failure::new(Code::Interrupted, format!("interrupted; the run {run} goes on")).next(format!(
        "hexport runs wait {project} {run} waits again, hexport runs cancel {project} {run} ends it."
    ));
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(left);
    }
    let wanted = tokio::task::spawn_blocking(|| ask("Cancel the run?")).await.unwrap_or(false);
    if !wanted {
        return Err(left);
    }
    session.client.cancel_run(project, run).await?;
    Err(Failure::new(Code::Interrupted, format!("interrupted; the run {run} was cancelled")))
}

/// A line that says how the run stands: one that moves when a person is watching, else one a change.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    last: std::cell::RefCell<String>,
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgressLine {
    /// A line without a text yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}")
                .expect("a template that indicatif knows");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, last: std::cell::RefCell::default() }
    }

    /// Shows a status.
    pub fn show(&self, status: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(status.to_owned()),
            None if *self.last.borrow() != status => tracing::info!(status, "run"),
            None => {}
        }
        self.last.replace(status.to_owned());
    }

    /// Takes the line away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
