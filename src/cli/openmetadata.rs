//! `hexport openmetadata`: a snapshot as the requests that OpenMetadata's API takes.

use std::path::PathBuf;

use serde_json::Value;

use super::exit::{Code, Failure};
use super::given::ConnectionArgs;
use super::handed::{Output, handed_over, warn_of_unnamed};
use super::lakes;
use super::settings::{Settings, StoreArgs};
use crate::handoff::openmetadata::{Made, Options, TABLES, requests};
use crate::snapshot::{Lake, Manifest};

/// Arguments of `hexport openmetadata`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// File to write [default: standard output]
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the Hex service in OpenMetadata
    #[arg(long, value_name = "NAME", default_value = "hex")]
    service: String,
    #[command(flatten)]
    connections: ConnectionArgs,
    /// Snapshot to write [default: the last one]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
}

/// Writes the requests.
///
/// # Errors
/// If there is no snapshot, or the file can't be written.
pub fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    lakes::require(&manifest, &TABLES)?;
    let options = Options { service: args.service, given: args.connections.read(settings) };
    let made = handed_over(args.output.as_deref(), |out| write(out, &lake, &manifest, &options))?;
    warn_of_unnamed(&made.unnamed, "OpenMetadata", ": its schema isn't known");
    eprintln!("{} dashboards, {} charts, {} edges to tables", made.dashboards, made.charts, made.edges);
    Ok(Code::Complete)
}

fn write(out: &mut Output, lake: &Lake, manifest: &Manifest, options: &Options) -> Result<Made, Failure> {
    requests(lake, manifest, options, |request: &Value| out.write(format_args!("{request}\n")))
}
