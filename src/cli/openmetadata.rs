//! `hexport openmetadata`: a snapshot as the requests that OpenMetadata's API takes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::exit::{Code, Failure};
use super::given::ConnectionArgs;
use super::lakes;
use super::settings::{Settings, StoreArgs};
use crate::handoff::openmetadata::{Made, Options, TABLES, requests};
use crate::snapshot::{Lake, Manifest};

/// Tables that are named on standard error; the rest is counted.
const NAMED: usize = 5;

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
    let made = match &args.output {
        Some(path) => {
            let failed = |e: std::io::Error| {
                Failure::new(Code::Destination, format!("{} can't be written: {e}", path.display()))
            };
            // Beside the file, and in its place when it is whole.
            let mut partial = path.as_os_str().to_owned();
            partial.push(".partial");
            let out = BufWriter::new(File::create(&partial).map_err(failed)?);
            let made = write(out, &failed, &lake, &manifest, &options)
                .and_then(|made| std::fs::rename(&partial, path).map_err(failed).map(|()| made));
            if made.is_err() {
                let _ = std::fs::remove_file(&partial);
            }
            made?
        }
        None => {
            let failed =
                |e| Failure::new(Code::Destination, format!("standard output can't be written: {e}"));
            write(BufWriter::new(super::out::stream()), &failed, &lake, &manifest, &options)?
        }
    };
    for (connection, table) in made.unnamed.iter().take(NAMED) {
        lakes::warn(&format!("{table} ({connection}) has no name in OpenMetadata: its schema isn't known"));
    }
    if made.unnamed.len() > NAMED {
        lakes::warn(&format!("{} more tables have no name in OpenMetadata", made.unnamed.len() - NAMED));
    }
    eprintln!("{} dashboards, {} charts, {} edges to tables", made.dashboards, made.charts, made.edges);
    Ok(Code::Complete)
}

fn write(
    mut out: impl Write,
    failed: &dyn Fn(std::io::Error) -> Failure,
    lake: &Lake,
    manifest: &Manifest,
    options: &Options,
) -> Result<Made, Failure> {
    let made = requests(lake, manifest, options, |request: &Value| -> Result<(), Failure> {
        writeln!(out, "{request}").map_err(failed)
    })?;
    out.flush().map_err(failed)?;
    Ok(made)
}
