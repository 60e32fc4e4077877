//! `hexport datahub`: a snapshot as a file that DataHub ingests.

use std::path::PathBuf;

use serde_json::Value;

use super::exit::{Code, Failure};
use super::given::ConnectionArgs;
use super::handed::{Output, handed_over, warn_of_unnamed};
use super::lakes;
use super::settings::{Settings, StoreArgs};
use crate::handoff::Pages;
use crate::handoff::datahub::{Made, Names, Options, TABLES, Told, proposals};
use crate::snapshot::{Lake, Manifest};

/// Arguments of `hexport datahub`.
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
    /// Name of the workspace in DataHub: workspace_name of DataHub's own Hex source, if you use that too [default: the
    /// workspace's address]
    #[arg(long, value_name = "NAME")]
    workspace_name: Option<String>,
    /// DataHub's environment of the warehouses' tables
    #[arg(long, value_name = "ENV", default_value = "PROD")]
    env: String,
    /// Platform instance of Hex, where DataHub has several workspaces
    #[arg(long, value_name = "NAME")]
    platform_instance: Option<String>,
    #[command(flatten)]
    connections: ConnectionArgs,
    /// Remember what was written under this name, and write tombstones for what has gone since
    #[arg(long, value_name = "NAME")]
    since_last: Option<String>,
    /// Snapshot to write [default: the last one]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
}

/// Writes the file; what it says is remembered once it is written whole.
///
/// # Errors
/// If there is no snapshot, or the file can't be written.
pub fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    lakes::require(&manifest, &TABLES)?;
    let told = args.since_last.as_deref().map(|name| Told::load(&lake, name)).transpose()?;
    let options = Options {
        workspace: args.workspace_name.unwrap_or_else(|| Pages::new(&manifest).workspace()),
        names: Names { env: args.env, instance: args.platform_instance },
        given: args.connections.read(settings),
        told,
    };
    let made = handed_over(args.output.as_deref(), |out| write(out, &lake, &manifest, &options))?;
    if let Some(name) = &args.since_last {
        made.told.save(&lake, name)?;
    }
    warn_of_unnamed(&made.unnamed, "DataHub", "; set the connection's type with --connection NAME.type=TYPE");
    eprintln!(
        "{} dashboards, {} charts, {} edges to tables, {} tables written, {} tombstones: {} proposals",
        made.dashboards, made.charts, made.edges, made.outputs, made.tombstones, made.proposals
    );
    Ok(Code::Complete)
}

/// Writes a JSON array, a proposal a line.
fn write(out: &mut Output, lake: &Lake, manifest: &Manifest, options: &Options) -> Result<Made, Failure> {
    let mut before = "[\n";
    let made = proposals(lake, manifest, options, |proposal: &Value| -> Result<(), Failure> {
        out.write(format_args!("{before}{proposal}"))?;
        before = ",\n";
        Ok(())
    })?;
    out.write(format_args!("\n]\n"))?;
    Ok(made)
}
