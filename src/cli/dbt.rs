//! `hexport dbt`: exposures for a dbt project.

use std::io::Write;
use std::path::PathBuf;

use super::exit::{Code, Failure, causes};
use super::lakes;
use super::settings::StoreArgs;
use crate::handoff::dbt::{
    self, ExposuresError, Left, Maturity, Options, Scope, Why, exposures, load_manifest,
};

/// Tables that are named on standard error; the rest is counted.
const NAMED: usize = 20;

/// Subcommands of `hexport dbt`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write an exposure for each published project, as YAML that dbt reads
    Exposures(ExposuresArgs),
}

/// Arguments of `hexport dbt exposures`.
#[derive(Debug, clap::Args)]
pub struct ExposuresArgs {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// dbt's manifest, such as target/manifest.json; dbt parse writes it
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// File to write, such as models/hex_exposures.yml [default: standard output]
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Connection to the warehouse that dbt builds in, by name or identifier; may be given again [default: all of the
    /// adapter's kind]
    #[arg(long, value_name = "CONNECTION")]
    connection: Vec<String>,
    /// Maturity of projects with this status, such as Certified=high; may be given again
    #[arg(long, value_name = "STATUS=LEVEL", value_parser = maturity)]
    maturity: Vec<(String, Maturity)>,
    /// Leave out projects that read nothing of the dbt project
    #[arg(long)]
    dependent: bool,
    /// Snapshot to read [default: the last one]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
}

fn maturity(text: &str) -> Result<(String, Maturity), String> {
    let wrong = "a maturity is STATUS=high, STATUS=medium or STATUS=low";
    let (status, level) = text.rsplit_once('=').ok_or(wrong)?;
    let level = <Maturity as clap::ValueEnum>::from_str(level, true).map_err(|_| wrong)?;
    Ok((status.trim().to_lowercase(), level))
}

/// Runs one.
///
/// # Errors
/// If there is no snapshot, the manifest is none, or the file can't be written.
pub fn run(command: Command) -> Result<Code, Failure> {
    match command {
        Command::Exposures(args) => write_exposures(args),
    }
}

fn write_exposures(args: ExposuresArgs) -> Result<Code, Failure> {
    let dbt = load_manifest(&args.manifest)?;
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    lakes::require(&manifest, &["lineage", "projects", "users", "data_connections"])?;
    lakes::require(&manifest, &["projects"])?;
    let options = Options {
        connections: args.connection,
        maturity: args.maturity.into_iter().collect(),
        scope: if args.dependent { Scope::Dependent } else { Scope::Published },
    };
    let found = exposures(&lake, &manifest, &dbt, &options)?;
    let yaml = found.to_yaml();
    match &args.output {
        Some(path) => std::fs::write(path, yaml).map_err(|e| {
            Failure::new(Code::Destination, format!("{} can't be written: {e}", path.display()))
        })?,
        None => super::out::stream().write_all(yaml.as_bytes()).expect("a stream never fails"),
    }
    let tables: Vec<&Left> = found.left.iter().collect();
    for left in tables.iter().take(NAMED) {
        eprintln!("{}", line(left));
    }
    if tables.len() > NAMED {
        eprintln!("and {} more tables", tables.len() - NAMED);
    }
    eprintln!("{} exposures with {} dependencies", found.exposures.len(), found.edges());
    Ok(Code::Complete)
}

fn line(left: &Left) -> String {
    let Left { connection, table, why } = left;
    let place = format!("{table} ({connection})");
    match why {
        Why::Unmatched => format!("unmatched: {place}: dbt neither builds it nor declares it as a source"),
        Why::ManyNames(names) => {
            format!("ambiguous: {place}: its name isn't whole, and it may be {}", names.join(" or "))
        }
        Why::ManyWarehouses(places) => format!(
            "ambiguous: {place}: {} have a table of this name; name dbt's with --connection",
            places.join(" and ")
        ),
        Why::ManyNodes(nodes) => format!("ambiguous: {place}: {} are this table", nodes.join(" and ")),
        Why::Private(node) => {
            format!("private: {place}: dbt refuses references to {node} from outside its group")
        }
    }
}

impl From<dbt::Error> for Failure {
    fn from(error: dbt::Error) -> Self {
        Failure::new(Code::Usage, causes(&error))
            .next("Name a file that dbt parse, compile, build or docs generate wrote.")
    }
}

impl From<ExposuresError> for Failure {
    fn from(error: ExposuresError) -> Self {
        let text = error.to_string();
        match error {
            ExposuresError::Snapshot(inner) => inner.into(),
            ExposuresError::Connection { .. } => Failure::new(Code::Usage, text),
            ExposuresError::Adapter { .. } => Failure::new(Code::Usage, text)
                .next("Name the connections to the warehouse that dbt builds in with --connection."),
        }
    }
}
