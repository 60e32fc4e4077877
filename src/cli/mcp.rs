//! `hexport mcp`: a read-only Model Context Protocol server over a lake.

use std::path::PathBuf;
use std::time::Duration;

use super::exit::{Code, Failure, causes};
use super::lakes;
use super::progress::stop_on_signals;
use super::settings::{Settings, StoreArgs};
use crate::crawl::Stop;
use crate::handoff::mcp::{Config, Personal, end_queries, serve};

/// Arguments of `hexport mcp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Name people in answers: owners, grants, email addresses; without it they are left out
    #[arg(long)]
    personal: bool,
    /// Stop a query after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    sql_timeout: u64,
}

/// Serves until the client ends.
///
/// # Errors
/// If there is no snapshot, or the client doesn't speak the protocol.
pub async fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    if let Some(mistake) = settings.file.access.mistakes().into_iter().next() {
        return Err(Failure::new(Code::Usage, mistake));
    }
    let lake = args.store.open(&args.dest)?;
    lakes::known(&lake)?;
    let config = Config {
        lake,
        personal: if args.personal { Personal::Shown } else { Personal::Hidden },
        access: settings.file.access.clone(),
        audit: settings.file.audit.clone(),
        deadline: Duration::from_secs(args.sql_timeout),
    };
    let stop = Stop::default();
    stop_on_signals(&stop);
    let served = tokio::select! {
        served = serve(config) => served,
        () = stop.stopped() => Ok(()),
    };
    end_queries();
    served.map_err(|e| {
        Failure::new(Code::Usage, causes(&e))
            .next("Start it from an assistant's settings, as the README shows.")
    })?;
    Ok(Code::Complete)
}
