//! `hexport report`: one HTML page about a snapshot.

use std::path::PathBuf;

use super::exit::{Code, Failure};
use super::settings::{Settings, StoreArgs};
use crate::audit::OwnRule;
use crate::report;

/// Arguments of `hexport report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// File to write
    #[arg(long, short = 'o', value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the newest]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
}

/// Writes the page.
///
/// # Errors
/// If there is no snapshot, or the page can't be written.
pub fn run(args: &Args, settings: &Settings) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    super::lakes::require(&manifest, &["projects"])?;
    let config = &settings.file.audit;
    let own = config.rules.as_ref().map_or(Ok(Vec::new()), |folder| OwnRule::in_folder(folder))?;
    if let Some(mistake) = config.mistakes(&own).into_iter().next() {
        return Err(Failure::new(Code::Usage, mistake).next("hexport audit lists the rules."));
    }
    let page = report::page(&lake, &manifest, config, &own)?;
    std::fs::write(&args.output, page).map_err(|e| {
        Failure::new(Code::Destination, format!("{} can't be written: {e}", args.output.display()))
    })?;
    println!("{}", args.output.display());
    Ok(Code::Complete)
}
