//! `hexport rebuild`: a snapshot from a kept journal.

use std::path::PathBuf;
use std::sync::Arc;

use super::exit::{Code, Failure};
use super::export::{WhatArgs, exit_code};
use super::progress::{Reporter, stop_on_signals};
use super::settings::{Settings, StoreArgs};
use super::summary::{self, Shown, SummaryForm};
use super::{Ui, lakes};
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
    /// Snapshot to rebuild: its name, a date, or an age such as 7d [default: the one with the newest journal]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    #[command(flatten)]
    what: WhatArgs,
    /// Form of the closing summary
    #[arg(long, value_enum, default_value_t = SummaryForm::Summary)]
    output: SummaryForm,
}

/// Rebuilds, and says what came of it.
///
/// # Errors
/// If there is no journal, or nothing could be committed.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let file = &settings.file.export;
    let options = Options {
        tables: args.what.tables(file)?,
        formats: args.what.formats(file),
        delta: args.what.delta(file),
        audit: settings.file.audit.clone(),
        given: args.what.given(settings)?,
        ..Options::default()
    };
    let reporter = Arc::new(Reporter::new(ui));
    let stop = Stop::default();
    stop_on_signals(&stop);
    let lake = args.store.open(&args.dest)?;
    let snapshot = args.snapshot.as_deref().map(|name| lakes::resolve_journal(&lake, name)).transpose()?;
    let result = export::rebuild(&lake, snapshot.as_ref(), options, reporter.clone(), stop).await;
    reporter.end();
    let outcome = result?;
    let code = exit_code(&outcome, false);
    ui.committed(&outcome, 0, None);
    let shown =
        Shown { outcome: &outcome, lake: &lake, dest: &args.dest, asked: args.what.asked(file), sent: 0 };
    summary::show(&shown, args.output, code);
    Ok(code)
}
