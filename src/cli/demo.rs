//! `hexport demo`: a simulated workspace, a real export over HTTP, the query history of its warehouse, and what to try
//! next.

use std::path::PathBuf;
use std::sync::Arc;

use super::Ui;
use super::exit::{Code, Failure};
use super::export::{WhatArgs, exit_code};
use super::nightly::ExportSettings;
use super::progress::{Reporter, stop_on_signals};
use super::summary::{self, Shown, SummaryForm};
use crate::client::{BaseUrl, Client, ClientConfig, Pace, Token};
use crate::crawl::{Source, Stop};
use crate::export::{self, Options, Unfinished};
use crate::history;
use crate::sim::history::{Form, render};
use crate::sim::{SimConfig, SimServer, World, WorldConfig};
use crate::snapshot::Lake;
use crate::store::scratch;

/// Stands in manifests for the simulator's address, which differs each time.
const SIMULATED: &str = "simulated workspace";

/// Kind of the first connection of every simulated workspace.
const WAREHOUSE: history::Kind = history::Kind::Snowflake;

/// Arguments of `hexport demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the data lake
    #[arg(value_name = "DEST", default_value = "hexport-demo")]
    dest: PathBuf,
    #[command(flatten)]
    what: WhatArgs,
    /// Seed of the workspace
    #[arg(long, default_value_t = WorldConfig::default().seed)]
    seed: u64,
    /// Number of projects in the workspace
    #[arg(long, default_value_t = WorldConfig::default().projects as u32, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    projects: u32,
    /// Form of the closing summary
    #[arg(long, value_enum, default_value_t = SummaryForm::Summary)]
    output: SummaryForm,
}

/// Serves, exports, and says what to try next.
///
/// # Errors
/// If the server can't start or nothing could be committed.
pub async fn run(args: Args, ui: &Ui) -> Result<Code, Failure> {
    let file = ExportSettings::default();
    let tables = args.what.tables(&file)?;
    let world = WorldConfig { seed: args.seed, projects: args.projects as usize, ..WorldConfig::default() };
    let epoch = world.epoch;
    let server = SimServer::start(
        SimConfig { world: world.clone(), record: false, ..SimConfig::default() },
        ([127, 0, 0, 1], 0).into(),
    );
    let server =
        server.await.map_err(|e| Failure::new(Code::Nothing, format!("the simulator can't listen: {e}")))?;
    let reporter = Arc::new(Reporter::new(ui));
    let mut config = ClientConfig::new(BaseUrl::new(&server.url())?, Token::new("demo")?);
    config.pace = Pace::unlimited();
    config.observer = Some(reporter.clone());
    let client = Client::new(config)?;
    let options = Options {
        tables,
        formats: args.what.formats(&file),
        delta: args.what.delta(&file),
        base_url: SIMULATED.into(),
        // Each demo has a simulator of its own, so an interrupted crawl can't be resumed.
        unfinished: Unfinished::Discard,
        // Time stands still in the simulated workspace, so that a seed always gives the same files.
        fixed_time: Some(epoch),
        ..Options::default()
    };
    let stop = Stop::default();
    stop_on_signals(&stop);
    let lake = Lake::new(&args.dest);
    let result = export::export(Source::Api(client.clone()), &lake, options, reporter.clone(), stop).await;
    reporter.end();
    let outcome = result?;
    let code = exit_code(&outcome, false);
    let sent = client.requests_sent();
    ui.committed(&outcome, sent, None);
    let imported = match outcome.manifest.holds_whole("data_connections") {
        true => Some(tokio::task::block_in_place(|| import(&lake, world))?),
        false => None,
    };
    let shown =
        Shown { outcome: &outcome, lake: &lake, dest: &args.dest, asked: args.what.asked(&file), sent };
    summary::show(&shown, args.output, code);
    if args.output != SummaryForm::Json {
        if let Some(imported) = imported {
            println!(
                "{} queries imported from the simulated query history of {WAREHOUSE}",
                super::render::count(imported.used)
            );
        }
        next_steps(&args.dest);
    }
    Ok(code)
}

/// Imports the query history of the workspace's first warehouse.
fn import(lake: &Lake, world: WorldConfig) -> Result<history::Outcome, Failure> {
    let epoch = world.epoch;
    let world = World::generate(world);
    let folder = scratch().map_err(crate::snapshot::Error::from)?;
    let file = folder.path().join("history.jsonl");
    let text = render(WAREHOUSE.name(), &world.query_history(0), Form::JsonLines);
    std::fs::write(&file, text).map_err(|e| {
        Failure::new(
            Code::Nothing,
            format!("the simulated history can't be written to {}: {e}", file.display()),
        )
    })?;
    let options = history::Options { fixed_time: Some(epoch), ..history::Options::new(WAREHOUSE) };
    Ok(history::import(lake, &[file], &options)?)
}

fn next_steps(dest: &std::path::Path) {
    let dest = dest.display();
    println!(
        "\nThis was a simulated workspace. Try next:\n\
         \n  cd {dest} && duckdb -init views.sql -c \"SELECT status, count(*) FROM runs GROUP BY ALL\"\
         \n  hexport cost {dest} --by schedule        what its schedules burn, by the warehouse's query history\
         \n  hexport schema runs                      what each column means\
         \n  hexport init                             the same on your own workspace"
    );
}
