//! Lakes as reading commands meet them: the newest of each table, and words where that is not the whole story.

use std::io::Write;

use super::exit::{Code, Failure};
use crate::snapshot::{Lake, Manifest, Manifests, Newest};

/// Tells people of something that doesn't stop the command. Standard output is for the result alone.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// Snapshots of a lake that has some.
///
/// # Errors
/// If it has none, or can't be read.
pub fn known(lake: &Lake) -> Result<Manifests, Failure> {
    let manifests = lake.manifests()?;
    match manifests.readable.is_empty() && manifests.damaged.is_empty() {
        true => Err(Failure::new(Code::Usage, format!("{} holds no snapshot", lake.name()))
            .next("Name a folder that hexport export wrote to.")),
        false => Ok(manifests),
    }
}

/// Makes sure that snapshots are there.
///
/// # Errors
/// The first name that is none's, with those that there are.
pub fn check_names(manifests: &Manifests, names: &[String]) -> Result<(), Failure> {
    let readable = manifests.readable.iter().map(|m| m.snapshot_id.as_str());
    let all: Vec<&str> = readable.chain(manifests.damaged.iter().map(|d| d.snapshot_id.as_str())).collect();
    match names.iter().find(|name| !all.contains(&name.as_str())) {
        Some(name) => Err(Failure::new(Code::Usage, format!("there is no snapshot {name}"))
            .next(format!("There are {}.", all.join(", ")))),
        None => Ok(()),
    }
}

/// The newest of each table, or as it was when the snapshot that is named was committed. Where that differs from
/// the snapshot, a warning says so.
///
/// # Errors
/// If there is no such snapshot, or it is damaged.
pub fn newest(lake: &Lake, name: Option<&str>) -> Result<Manifest, Failure> {
    let manifests = known(lake)?;
    let found = match name {
        None => {
            if let Some(warning) = manifests.warning() {
                warn(&warning);
            }
            manifests.newest_of_all()
        }
        Some(name) => {
            check_names(&manifests, &[name.to_owned()])?;
            manifests.as_of(name)
        }
    };
    if let Some(Newest { manifest, notes }) = found {
        notes.iter().for_each(|note| warn(note));
        return Ok(manifest);
    }
    match manifests.damaged.into_iter().find(|damaged| name.is_none_or(|name| damaged.snapshot_id == name)) {
        Some(damaged) if name.is_some() => Err(damaged.error.into()),
        _ => Err(Failure::new(Code::Destination, format!("no snapshot in {} can be read", lake.name()))
            .next("Restore one from a backup, or export again.")),
    }
}

/// Makes sure that the first of these tables is there, and warns of others that aren't: what needs them can't be
/// answered, and their absence is no evidence.
///
/// # Errors
/// If the first is missing.
pub fn require(manifest: &Manifest, tables: &[&str]) -> Result<(), Failure> {
    let is_missing = |name: &&&str| manifest.tables.get(**name).is_none_or(|table| table.files.is_empty());
    let missing: Vec<&str> = tables.iter().filter(is_missing).copied().collect();
    if missing.first() == tables.first()
        && let Some(first) = missing.first()
    {
        return Err(Failure::new(Code::Usage, format!("no snapshot holds the table {first}"))
            .next("Export it: hexport export without --tables writes all tables."));
    }
    if !missing.is_empty() {
        warn(&format!("no snapshot holds {}: nothing is said of what needs them", missing.join(", ")));
    }
    Ok(())
}
