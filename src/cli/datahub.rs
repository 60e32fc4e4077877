//! `hexport datahub`: a snapshot as a file that DataHub ingests.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::exit::{Code, Failure};
use super::given::ConnectionArgs;
use super::lakes;
use super::settings::{Settings, StoreArgs};
use crate::handoff::Pages;
use crate::handoff::datahub::{Made, Names, Options, TABLES, Told, proposals};
use crate::snapshot::{Lake, Manifest};

/// Tables that are named on standard error; the rest is counted.
const NAMED: usize = 5;

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
    let made = match &args.output {
        Some(path) => to_file(path, &lake, &manifest, &options)?,
        None => {
            let failed =
                |e| Failure::new(Code::Destination, format!("standard output can't be written: {e}"));
            write(BufWriter::new(super::out::stream()), &failed, &lake, &manifest, &options)?
        }
    };
    if let Some(name) = &args.since_last {
        made.told.save(&lake, name)?;
    }
    for (connection, table) in made.unnamed.iter().take(NAMED) {
        lakes::warn(&format!(
            "{table} ({connection}) has no name in DataHub; set the connection's type with --connection NAME.type=TYPE"
        ));
    }
    if made.unnamed.len() > NAMED {
        lakes::warn(&format!("{} more tables have no name in DataHub", made.unnamed.len() - NAMED));
    }
    eprintln!(
        "{} dashboards, {} charts, {} edges to tables, {} tables written, {} tombstones: {} proposals",
        made.dashboards, made.charts, made.edges, made.outputs, made.tombstones, made.proposals
    );
    Ok(Code::Complete)
}

/// Writes beside the file and puts it in its place when it is whole: DataHub never reads half of one.
fn to_file(path: &Path, lake: &Lake, manifest: &Manifest, options: &Options) -> Result<Made, Failure> {
    let failed = |e: std::io::Error| {
        Failure::new(Code::Destination, format!("{} can't be written: {e}", path.display()))
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let out = BufWriter::new(File::create(&partial).map_err(failed)?);
    let made = write(out, &failed, lake, manifest, options)
        .and_then(|made| std::fs::rename(&partial, path).map_err(failed).map(|()| made));
    if made.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    made
}

/// Writes a JSON array, a proposal a line.
fn write(
    mut out: impl Write,
    failed: &dyn Fn(std::io::Error) -> Failure,
    lake: &Lake,
    manifest: &Manifest,
    options: &Options,
) -> Result<Made, Failure> {
    let mut before = "[\n";
    let made = proposals(lake, manifest, options, |proposal: &Value| -> Result<(), Failure> {
        write!(out, "{before}{proposal}").map_err(failed)?;
        before = ",\n";
        Ok(())
    })?;
    out.write_all(b"\n]\n").and_then(|()| out.flush()).map_err(failed)?;
    Ok(made)
}
