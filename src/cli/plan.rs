//! `hexport plan`: what an export would cost.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::exit::{Code, Failure};
use super::export::WhatArgs;
use super::progress::{Reporter, stop_on_signals};
use super::settings::{ApiArgs, Settings, StoreArgs};
use super::{Output, Ui, render};
use crate::crawl::{Source, Stop};
use crate::export::{self, Options, Reuse};

/// Arguments of `hexport plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    what: WhatArgs,
    /// Plan for reading everything anew
    #[arg(long)]
    full: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    api: ApiArgs,
}

/// Plans, and says what came of it.
///
/// # Errors
/// If the lists can't be read.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let reporter = Arc::new(Reporter::new(ui));
    let api = args.api.connect(settings, reporter.clone())?;
    let options = Options {
        tables: args.what.tables()?,
        base_url: api.client.base_url().to_string(),
        concurrency: api.concurrency,
        reuse: if args.full { Reuse::Nothing } else { Reuse::Unchanged },
        ..Options::default()
    };
    let stop = Stop::default();
    stop_on_signals(&stop);
    let lake = args.store.open(&args.dest)?;
    let estimates =
        export::plan(Source::Api(api.client.clone()), &lake, &options, reporter.clone(), stop).await;
    reporter.end();
    let estimates = estimates?;
    let total: u64 = estimates.iter().map(|e| e.requests).sum();
    let per_minute = api.client.total_limit().or(Some(60.0));
    let minutes = per_minute.map(|rate| total as f64 / rate);
    if args.output == Output::Json {
        let plan = json!({
            "endpoints": estimates, "requests": total, "requests_per_minute": per_minute, "minutes": minutes,
            "requests_spent_on_planning": api.client.requests_sent(),
        });
        println!("{}", serde_json::to_string_pretty(&plan).unwrap_or_default());
        return Ok(Code::Complete);
    }
    let mut table =
        render::table(&["Endpoint", "Requests", "Read", "Reused", "Skipped", "Why"], &[1, 2, 3, 4]);
    for e in &estimates {
        let count = |n| if n == 0 { String::new() } else { render::count(n) };
        table.add_row([
            e.endpoint.into(),
            render::count(e.requests),
            count(e.read),
            count(e.reused),
            count(e.skipped),
            e.why.into(),
        ]);
    }
    println!("{table}\n");
    let time =
        minutes.map_or("at no limit of ours".into(), |m| format!("about {}", render::seconds(m * 60.0)));
    println!(
        "an export sends at least {} requests, {time}; planning spent {}",
        render::count(total),
        api.client.requests_sent()
    );
    Ok(Code::Complete)
}
