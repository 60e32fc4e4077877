//! `hexport openlineage`: a snapshot as OpenLineage events.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Ui;
use super::exit::{Code, Failure};
use super::progress::Reporter;
use super::settings::StoreArgs;
use crate::client::Token;
use crate::crawl::Progress;
use crate::handoff::openlineage::{
    Batch, Case, Counts, Endpoint, JobNames, Kinds, Scope, SendError, Style, Told, events,
};
use crate::snapshot::{self, Lake, Manifest};

/// Batches prepared while others are being sent.
const AHEAD: usize = 256;

/// Arguments of `hexport openlineage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the newest]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Send to this OpenLineage server, such as https://datahub.example/openapi/openlineage; its key comes from
    /// OPENLINEAGE_API_KEY
    #[arg(long, value_name = "URL", env = "OPENLINEAGE_URL", conflicts_with = "file")]
    url: Option<String>,
    /// Path below the URL that events are posted to
    #[arg(long, value_name = "PATH", env = "OPENLINEAGE_ENDPOINT", default_value = "api/v1/lineage")]
    endpoint: String,
    /// Events in flight at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    concurrency: u8,
    /// Write newline-delimited JSON to this file [default: standard output]
    #[arg(long, short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write only what is new since the last time with this name; without it a file or standard output gets everything
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    since_last: Option<String>,
    /// Send everything, even what was sent before
    #[arg(long)]
    all: bool,
    /// Kinds of events
    #[arg(long, value_enum, default_value_t = Kinds::All)]
    events: Kinds,
    /// Write names of tables and columns in lower case, as DataHub's connectors do
    #[arg(long)]
    lowercase_names: bool,
    /// Names of jobs: the project's identifier, or its title with the identifier
    #[arg(long, value_enum, default_value_t = JobNames::Id)]
    job_names: JobNames,
    /// Leave out runs that started before this, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    runs_since: Option<DateTime<Utc>>,
}

/// Sends a server what is new since the last time; writes everything, or what is new under a name.
///
/// # Errors
/// If there is no snapshot, or the events can't be delivered; they are sent again next time.
pub async fn run(args: Args, ui: &Ui) -> Result<Code, Failure> {
    let reporter = Reporter::new(ui);
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    super::lakes::require(
        &manifest,
        &["projects", "runs", "lineage", "project_schedules", "data_connections"],
    )?;
    let endpoint = args.url.as_deref().map(|url| connect(url, &args.endpoint)).transpose()?;
    // Each target has its own record of what it was sent. A file may be thrown away unread, so one is kept for it only
    // under a name.
    let target = match &endpoint {
        Some(endpoint) => Some(endpoint.url().to_owned()),
        None => args.since_last.as_ref().map(|name| format!("file {name}")),
    };
    let told = match &target {
        Some(target) if !args.all => Told::load(&lake, target)?,
        _ => None,
    };
    let case = if args.lowercase_names { Case::Lower } else { Case::Kept };
    let style = Style { kinds: args.events, case, job_names: args.job_names };
    let scope = Scope { told, runs_since: args.runs_since, style };
    let result = match endpoint {
        Some(endpoint) => send(&lake, manifest, scope, endpoint, args.concurrency).await,
        None => write(&lake, &manifest, &scope, args.file.as_ref()),
    };
    let (counts, now) = result.map_err(|failure| match &failure.code {
        Code::Usage => failure,
        _ => failure.next("Run the same command again: it sends what wasn't delivered."),
    })?;
    if let Some(target) = &target {
        now.save(&lake, target)?;
    }
    reporter.note(&format!(
        "{} events of runs, {} of jobs, {} of datasets",
        counts.runs, counts.jobs, counts.datasets
    ));
    reporter.end();
    Ok(Code::Complete)
}

fn connect(url: &str, path: &str) -> Result<Endpoint, Failure> {
    let key = std::env::var("OPENLINEAGE_API_KEY").ok().filter(|key| !key.is_empty());
    let key = key.map(|key| Token::new(&key)).transpose()?;
    Ok(Endpoint::new(url, path, key)?)
}

fn write(
    lake: &Lake,
    manifest: &Manifest,
    scope: &Scope,
    file: Option<&PathBuf>,
) -> Result<(Counts, Told), Failure> {
    let failed = |e: std::io::Error| {
        let place = file.map_or("standard output".into(), |path| path.display().to_string());
        Failure::new(Code::Destination, format!("{place} can't be written: {e}"))
    };
    let out: Box<dyn Write> = match file {
        Some(path) => Box::new(File::create(path).map_err(failed)?),
        None => Box::new(super::out::stream()),
    };
    let mut out = BufWriter::new(out);
    let done = events(lake, manifest, scope, |batch: Batch| -> Result<(), Failure> {
        batch.iter().try_for_each(|event| writeln!(out, "{event}")).map_err(failed)
    })?;
    out.flush().map_err(failed)?;
    Ok(done)
}

/// Sends while the next events are prepared. Runs follow the jobs and datasets that they name, and a run's end
/// follows its start.
async fn send(
    lake: &Lake,
    manifest: Manifest,
    scope: Scope,
    endpoint: Endpoint,
    concurrency: u8,
) -> Result<(Counts, Told), Failure> {
    let (sender, receiver) = mpsc::channel::<Batch>(AHEAD);
    let lake = lake.clone();
    let making = tokio::task::spawn_blocking(move || {
        events(&lake, &manifest, &scope, |batch| -> Result<(), Making> {
            sender.blocking_send(batch).map_err(|_| Making::Stopped)
        })
    });
    let sent = ReceiverStream::new(receiver)
        .map(|batch| deliver(&endpoint, batch))
        .buffered(concurrency.into())
        .try_for_each(|()| std::future::ready(Ok(())))
        .await;
    let made = making.await.expect("making events doesn't panic");
    sent?;
    match made {
        Ok(done) => Ok(done),
        Err(Making::Snapshot(e)) => Err(e.into()),
        Err(Making::Stopped) => unreachable!("the receiver stops only with an error of its own"),
    }
}

async fn deliver(endpoint: &Endpoint, batch: Vec<Value>) -> Result<(), SendError> {
    for event in &batch {
        endpoint.send(event).await?;
    }
    Ok(())
}

/// Why no more events are prepared.
enum Making {
    Snapshot(snapshot::Error),
    Stopped,
}

impl From<snapshot::Error> for Making {
    fn from(error: snapshot::Error) -> Self {
        Making::Snapshot(error)
    }
}
