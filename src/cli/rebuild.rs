//! `hexport rebuild`: a snapshot from a kept journal.

use std::path::PathBuf;
use std::sync::Arc;

use super::exit::{Code, Failure};
use super::export::{WhatArgs, exit_code, show};
use super::progress::{Reporter, stop_on_signals};
use super::settings::{Settings, StoreArgs};
use super::{Output, Ui};
use crate::crawl::Stop;
use crate::export::{self, Options};

/// Arguments of `hexport rebuild`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Snapshot to build again [default: the one with the latest journal]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    #[command(flatten)]
    what: WhatArgs,
    /// Form of the closing summary
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Rebuilds, and says what came of it.
///
/// # Errors
/// If there is no journal, or nothing could be committed.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let options = Options {
        tables: args.what.tables()?,
        formats: args.what.formats(),
        delta: args.what.delta(),
        audit: settings.file.audit.clone(),
        given: args.what.given(settings)?,
        ..Options::default()
    };
    let reporter = Arc::new(Reporter::new(ui));
    let stop = Stop::default();
    stop_on_signals(&stop);
    let lake = args.store.open(&args.dest)?;
    let result = export::rebuild(&lake, args.snapshot.as_deref(), options, reporter.clone(), stop).await;
    reporter.end();
    let outcome = result?;
    let code = exit_code(&outcome, false);
    show(&outcome, 0, args.output, code);
    Ok(code)
}
