//! `hexport snapshots`: list, show, verify, prune.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::json;

use super::exit::{Code, Failure};
use super::lakes::{known, resolve};
use super::settings::StoreArgs;
use super::{Output, lakes, render};
use crate::registry;
use crate::snapshot::{Damage, Lake, Manifest, Manifests, Policy, SnapshotId};

/// Commands on snapshots.
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
        /// Snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the newest]
        #[arg(value_name = "SNAPSHOT")]
        snapshot: Option<String>,
    },
    /// Re-read snapshots and compare checksums and row counts with their manifests
    Verify {
        #[command(flatten)]
        args: Args,
        /// Snapshots: names, dates or ages such as 7d [default: all]
        #[arg(value_name = "SNAPSHOT")]
        snapshots: Vec<String>,
        /// Look for this email address instead, in everything that the lake holds: nothing is found of a person
        /// that was forgotten (hexport forget)
        #[arg(long, value_name = "EMAIL", value_parser = super::forget::address, conflicts_with = "snapshots")]
        forgotten: Option<String>,
    },
    /// Remove snapshots that no rule keeps; the newest that holds a table is always kept
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

/// Retention: which snapshots stay.
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
    /// Also remove snapshots whose manifest or files are damaged
    #[arg(long)]
    damaged: bool,
    /// Only say what would be removed
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
            let manifest = show(&store.open(&dest)?, snapshot.as_deref())?;
            println!("{}", serde_json::to_string_pretty(&manifest).unwrap_or_default());
            Ok(Code::Complete)
        }
        Command::Verify { args, forgotten: Some(address), .. } => verify_forgotten(&args, &address),
        Command::Verify { args, snapshots, .. } => verify(&args, &snapshots),
        Command::Prune(prune) => run_prune(&prune),
    }
}

/// The newest of each table, or as it was when the snapshot that is named was committed.
///
/// # Errors
/// If there is no such snapshot.
pub fn one(lake: &Lake, name: Option<&str>) -> Result<Manifest, Failure> {
    lakes::newest(lake, name)
}

/// The manifest of a snapshot, as it is.
fn show(lake: &Lake, name: Option<&str>) -> Result<Manifest, Failure> {
    let manifests = known(lake)?;
    if let Some(name) = name {
        return Ok(lake.manifest(&resolve(&manifests, name)?)?);
    }
    if let Some(warning) = manifests.warning() {
        lakes::warn(&warning);
    }
    match manifests.latest() {
        Some(manifest) => Ok(manifest.clone()),
        None => lakes::newest(lake, None),
    }
}

fn bytes(manifest: &Manifest) -> u64 {
    manifest.tables.values().flat_map(|t| &t.files).map(|f| f.bytes).sum()
}

fn list(args: &Args) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let Manifests { readable: manifests, damaged, .. } = known(&lake)?;
    let rows = |manifest: &Manifest| manifest.tables.values().map(|t| t.rows).sum::<u64>();
    if args.output == Output::Json {
        let sound = manifests.iter().map(|m| {
            json!({"snapshot_id": m.snapshot_id, "sequence": m.sequence, "snapshot_at": m.snapshot_at,
                   "complete": m.complete, "tables": m.tables.len(), "rows": rows(m), "bytes": bytes(m),
                   "tool_version": m.tool.version})
        });
        let broken =
            damaged.iter().map(|d| json!({"snapshot_id": d.snapshot_id, "damage": d.error.to_string()}));
        let all: Vec<_> = sound.chain(broken).collect();
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
    for d in &damaged {
        table.add_row([d.snapshot_id.as_str(), "damaged", "", "", ""]);
    }
    println!("{table}");
    Ok(Code::Complete)
}

fn verify(args: &Args, names: &[String]) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let manifests = known(&lake)?;
    let names: Vec<SnapshotId> =
        names.iter().map(|name| resolve(&manifests, name)).collect::<Result<_, _>>()?;
    let rest = if names.is_empty() { lake.verify_rest(&manifests)? } else { Vec::new() };
    let is_wanted = |id: &SnapshotId| names.is_empty() || names.contains(id);
    let mut verified = Vec::new();
    let mut damages = Vec::new();
    for manifest in manifests.readable.iter().filter(|m| is_wanted(&m.snapshot_id)) {
        verified.push(&manifest.snapshot_id);
        damages
            .extend(lake.verify(manifest)?.into_iter().map(|damage| (Some(&manifest.snapshot_id), damage)));
    }
    for damaged in manifests.damaged.iter().filter(|d| is_wanted(&d.snapshot_id)) {
        verified.push(&damaged.snapshot_id);
        let damage = Damage { file: "manifest.json".into(), what: damaged.error.to_string() };
        damages.push((Some(&damaged.snapshot_id), damage));
    }
    damages.extend(rest.into_iter().map(|damage| (None, damage)));
    if args.output == Output::Json {
        let found: Vec<_> = damages
            .iter()
            .map(|(id, d)| json!({"snapshot_id": id, "file": d.file, "damage": d.what}))
            .collect();
        let result = json!({"verified": verified, "damages": found});
        println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
    } else {
        for (id, d) in &damages {
            let of = id.map_or(String::new(), |id| format!("{id}: "));
            println!("{of}{}: {}", d.file, d.what);
        }
        let read = render::counted(verified.len() as u64, "snapshot");
        println!("{read} verified, {} found", render::counted(damages.len() as u64, "problem"));
    }
    if damages.is_empty() {
        return Ok(Code::Complete);
    }
    let damaged: BTreeSet<&SnapshotId> = damages.iter().filter_map(|(id, _)| *id).collect();
    let problems = render::counted(damages.len() as u64, "problem");
    Err(Failure::new(Code::Destination, format!("{problems} in the lake"))
        .next(remedy(args, &lake, &damaged)?))
}

/// Reads everything in a lake to find a person's address.
fn verify_forgotten(args: &Args, address: &str) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    known(&lake)?;
    let found = lake.find_person(address, registry::by_name)?;
    if args.output == Output::Json {
        let files: Vec<_> = found.iter().map(|f| json!({"file": f.file, "what": f.what})).collect();
        println!("{}", serde_json::to_string_pretty(&json!({"found": files})).unwrap_or_default());
    } else {
        found.iter().for_each(|f| println!("{}: {}", f.file, f.what));
    }
    if found.is_empty() {
        if args.output == Output::Table {
            println!("The address is in no file of the lake.");
        }
        return Ok(Code::Complete);
    }
    let files = render::counted(found.len() as u64, "file");
    Err(Failure::new(Code::Destination, format!("the address is in {files} of the lake, or may be"))
        .next(format!("Run hexport forget {} with the address.", args.dest.display())))
}

/// Advice about damaged snapshots: rebuild those that have a journal, restore or remove the others.
fn remedy(args: &Args, lake: &Lake, damaged: &BTreeSet<&SnapshotId>) -> Result<String, Failure> {
    lake.fetch_journals()?;
    let journals: BTreeSet<SnapshotId> = lake.journals()?.into_iter().map(|(id, _)| id).collect();
    let (kept, others): (Vec<&SnapshotId>, Vec<&SnapshotId>) =
        damaged.iter().copied().partition(|id| journals.contains(*id));
    let dest = args.dest.display();
    let mut steps = Vec::new();
    // A snapshot in an object store is never replaced, so there rebuild doesn't help.
    let (kept, others) = match lake.remote() {
        Some(_) => (Vec::new(), [kept, others].concat()),
        None => (kept, others),
    };
    for id in kept {
        steps.push(format!(
            "The journal of {id} is there: hexport rebuild {dest} --snapshot {id} writes it again."
        ));
    }
    if !others.is_empty() {
        steps.push(format!(
            "Restore {} from a backup, or remove what is damaged: hexport snapshots prune {dest} --damaged.",
            others.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
        ));
    }
    if steps.is_empty() {
        steps.push("The next export puts it right.".into());
    }
    Ok(steps.join(" "))
}

/// For each snapshot why it stays; nothing for one that goes.
fn plan(lake: &Lake, policy: &Policy, prune: &Prune) -> Result<BTreeMap<SnapshotId, Vec<String>>, Failure> {
    let manifests = lake.manifests()?;
    let mut plan = if policy.is_empty() {
        manifests.readable.iter().map(|m| (m.snapshot_id.clone(), vec!["no policy".into()])).collect()
    } else {
        lake.prune_plan(policy, registry::all())?
    };
    if prune.damaged {
        for manifest in &manifests.readable {
            if !lake.verify(manifest)?.is_empty() {
                plan.insert(manifest.snapshot_id.clone(), Vec::new());
            }
        }
        plan.extend(manifests.damaged.into_iter().map(|d| (d.snapshot_id, Vec::new())));
    } else if let Some(warning) = manifests.warning() {
        lakes::warn(&warning);
    }
    Ok(plan)
}

fn run_prune(prune: &Prune) -> Result<Code, Failure> {
    let policy = Policy {
        last: prune.keep_last,
        daily: prune.keep_daily,
        weekly: prune.keep_weekly,
        monthly: prune.keep_monthly,
    };
    if policy.is_empty() && !prune.damaged {
        return Err(Failure::new(Code::Usage, "nothing says what to keep").next(
            "Give at least one of --keep-last, --keep-daily, --keep-weekly, --keep-monthly, or --damaged.",
        ));
    }
    let lake = prune.args.store.open(&prune.args.dest)?;
    known(&lake)?;
    let lock = lake.lock()?;
    let plan = plan(&lake, &policy, prune)?;
    if !prune.dry_run {
        lake.carry_out(&plan)?;
        lake.refresh()?;
    }
    // What is damaged may be whole in a Delta table: only a policy removes rows there.
    let delta = match prune.dry_run || policy.is_empty() {
        true => BTreeMap::new(),
        false => lake.prune_delta()?,
    };
    lake.tidy(lock);
    if prune.args.output == Output::Json {
        let gone: Vec<&SnapshotId> =
            plan.iter().filter(|(_, why)| why.is_empty()).map(|(id, _)| id).collect();
        let kept: Vec<_> = plan
            .iter()
            .filter(|(_, why)| !why.is_empty())
            .map(|(id, why)| json!({"snapshot_id": id, "reasons": why}))
            .collect();
        let delta: serde_json::Map<_, _> =
            delta.into_iter().map(|(table, files)| (table, files.into())).collect();
        let result =
            json!({"dry_run": prune.dry_run, "removed": gone, "kept": kept, "delta_files_removed": delta});
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
    if !delta.is_empty() {
        let tables = render::counted(delta.len() as u64, "Delta table");
        println!("Rows of snapshots that are gone were removed from {tables}.");
    }
    Ok(Code::Complete)
}
