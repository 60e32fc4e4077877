//! `hexport snapshots`: list, show, verify, prune.

use std::path::PathBuf;

use serde_json::json;

use super::exit::{Code, Failure};
use super::settings::StoreArgs;
use super::{Output, render};
use crate::snapshot::{Lake, Manifest, Policy};

/// What is done about snapshots.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the snapshots of a lake
    List(Args),
    /// Show the manifest of a snapshot
    Show {
        /// The data lake: a folder, or a URL such as s3://bucket/prefix
        #[arg(value_name = "DEST")]
        dest: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
        /// Snapshot [default: the last one]
        #[arg(value_name = "SNAPSHOT")]
        snapshot: Option<String>,
    },
    /// Read snapshots again and compare checksums and row counts with their manifests
    Verify {
        #[command(flatten)]
        args: Args,
        /// Snapshots [default: all]
        #[arg(value_name = "SNAPSHOT")]
        snapshots: Vec<String>,
    },
    /// Remove snapshots that no rule keeps; the last one is always kept
    Prune(Prune),
}

/// Arguments of every command on snapshots.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What is kept.
#[derive(Debug, clap::Args)]
pub struct Prune {
    #[command(flatten)]
    args: Args,
    /// Keep the last N snapshots
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: u32,
    /// Keep the last snapshot of each of the last N days that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: u32,
    /// Keep the last snapshot of each of the last N weeks that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: u32,
    /// Keep the last snapshot of each of the last N months that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_monthly: u32,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// If the lake can't be read, a snapshot is damaged, or nothing says what to keep.
pub fn run(command: Command) -> Result<Code, Failure> {
    match command {
        Command::List(args) => list(&args),
        Command::Show { dest, store, snapshot } => {
            let manifest = one(&store.open(&dest)?, snapshot.as_deref())?;
            println!("{}", serde_json::to_string_pretty(&manifest).unwrap_or_default());
            Ok(Code::Complete)
        }
        Command::Verify { args, snapshots } => verify(&args, &snapshots),
        Command::Prune(prune) => run_prune(&prune),
    }
}

fn empty(lake: &Lake) -> Failure {
    Failure::new(Code::Usage, format!("{} holds no snapshot", lake.name()))
        .next("Name a folder that hexport export wrote to.")
}

/// The manifest of the snapshot that is named, or of the last one.
///
/// # Errors
/// If there is none.
pub fn one(lake: &Lake, name: Option<&str>) -> Result<Manifest, Failure> {
    let names: Vec<String> = name.map(str::to_owned).into_iter().collect();
    let id = chosen(lake, &names)?.pop().ok_or_else(|| empty(lake))?;
    Ok(lake.manifest(&id)?)
}

/// The snapshots that are named, or all.
fn chosen(lake: &Lake, names: &[String]) -> Result<Vec<String>, Failure> {
    let all = lake.snapshots()?;
    if all.is_empty() {
        return Err(empty(lake));
    }
    match names.iter().find(|name| !all.contains(name)) {
        Some(name) => Err(Failure::new(Code::Usage, format!("there is no snapshot {name}"))
            .next(format!("There are {}.", all.join(", ")))),
        None if names.is_empty() => Ok(all),
        None => Ok(names.to_vec()),
    }
}

fn bytes(manifest: &Manifest) -> u64 {
    manifest.tables.values().flat_map(|t| &t.files).map(|f| f.bytes).sum()
}

fn list(args: &Args) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let mut manifests = Vec::new();
    for id in chosen(&lake, &[])? {
        manifests.push(lake.manifest(&id)?);
    }
    let rows = |manifest: &Manifest| manifest.tables.values().map(|t| t.rows).sum::<u64>();
    if args.output == Output::Json {
        let all: Vec<_> = manifests
            .iter()
            .map(|m| {
                json!({"snapshot_id": m.snapshot_id, "snapshot_at": m.snapshot_at, "complete": m.complete,
                       "tables": m.tables.len(), "rows": rows(m), "bytes": bytes(m), "tool_version": m.tool.version})
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&all).unwrap_or_default());
        return Ok(Code::Complete);
    }
    let mut table = render::table(&["Snapshot", "Complete", "Tables", "Rows", "Size"], &[2, 3, 4]);
    for m in &manifests {
        let complete = if m.complete { "yes" } else { "no" };
        let tables = m.tables.len().to_string();
        table.add_row([
            m.snapshot_id.as_str(),
            complete,
            &tables,
            &render::count(rows(m)),
            &render::bytes(bytes(m)),
        ]);
    }
    println!("{table}");
    Ok(Code::Complete)
}

fn verify(args: &Args, names: &[String]) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let mut damages = Vec::new();
    let snapshots = chosen(&lake, names)?;
    for id in &snapshots {
        damages.extend(lake.verify(id)?.into_iter().map(|damage| (id.clone(), damage)));
    }
    if args.output == Output::Json {
        let found: Vec<_> = damages
            .iter()
            .map(|(id, d)| json!({"snapshot_id": id, "file": d.file, "damage": d.what}))
            .collect();
        let result = json!({"verified": snapshots, "damages": found});
        println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
    } else {
        damages.iter().for_each(|(id, d)| println!("{id}: {}: {}", d.file, d.what));
        println!("{} snapshots read, {} damages found", snapshots.len(), damages.len());
    }
    if damages.is_empty() {
        return Ok(Code::Complete);
    }
    Err(Failure::new(Code::Destination, format!("{} files are not what their manifests say", damages.len()))
        .next("Restore them from a backup, or remove the damaged snapshots' folders and export again."))
}

fn run_prune(prune: &Prune) -> Result<Code, Failure> {
    let policy = Policy {
        last: prune.keep_last,
        daily: prune.keep_daily,
        weekly: prune.keep_weekly,
        monthly: prune.keep_monthly,
    };
    if policy.is_empty() {
        return Err(Failure::new(Code::Usage, "nothing says what to keep")
            .next("Give at least one of --keep-last, --keep-daily, --keep-weekly, --keep-monthly."));
    }
    let lake = prune.args.store.open(&prune.args.dest)?;
    chosen(&lake, &[])?;
    let lock = lake.lock()?;
    let plan = lake.prune_plan(&policy)?;
    for (id, reasons) in &plan {
        if reasons.is_empty() && !prune.dry_run {
            lake.remove(id)?;
        }
    }
    lake.tidy(lock);
    if prune.args.output == Output::Json {
        let gone: Vec<&String> = plan.iter().filter(|(_, why)| why.is_empty()).map(|(id, _)| id).collect();
        let kept: Vec<_> = plan
            .iter()
            .filter(|(_, why)| !why.is_empty())
            .map(|(id, why)| json!({"snapshot_id": id, "reasons": why}))
            .collect();
        let result = json!({"dry_run": prune.dry_run, "removed": gone, "kept": kept});
        println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
        return Ok(Code::Complete);
    }
    let fate = if prune.dry_run { "would be removed" } else { "removed" };
    let mut table = render::table(&["Snapshot", "", "Why"], &[]);
    for (id, reasons) in &plan {
        let fate = if reasons.is_empty() { fate } else { "kept" };
        table.add_row([id.as_str(), fate, &reasons.join(", ")]);
    }
    println!("{table}");
    Ok(Code::Complete)
}
