//! Lakes as reading commands see them: the newest of each table, with warnings where that isn't the whole story.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::exit::{Code, Failure};
use crate::snapshot::{Lake, Manifest, Manifests, Newest, NotASnapshotId, SnapshotId};
use crate::units::parse_duration;

/// Warns people of something that doesn't stop the command. Standard output is for the result alone.
pub fn warn(text: &str) {
    eprintln!("warning: {text}");
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

/// The snapshot that a name stands for: its identifier; a date, for the last snapshot up to the end of that day
/// (UTC); a time; or an age such as `7d`, for the last snapshot that is at least that old.
///
/// # Errors
/// If there is none, with those that there are.
pub fn resolve(manifests: &Manifests, name: &str) -> Result<SnapshotId, Failure> {
    let readable = manifests.readable.iter().map(|m| &m.snapshot_id);
    let all: Vec<&SnapshotId> = readable.chain(manifests.damaged.iter().map(|d| &d.snapshot_id)).collect();
    if let Some(id) = all.iter().find(|id| **id == name) {
        return Ok((**id).clone());
    }
    let Some(until) = moment(name, Utc::now()) else {
        return Err(Failure::new(Code::Usage, format!("there is no snapshot {name}")).next(choice(&all)));
    };
    let found = manifests.readable.iter().rev().find(|m| m.snapshot_at <= until);
    match found {
        Some(manifest) => Ok(manifest.snapshot_id.clone()),
        None => {
            let at = until.format("%Y-%m-%d %H:%M UTC");
            let why = format!("no snapshot is as old as {name} ({at})");
            Err(Failure::new(Code::Usage, why).next(choice(&all)))
        }
    }
}

/// The snapshots that may be named, in words.
fn choice(all: &[&SnapshotId]) -> String {
    const NAMED: usize = 8;
    let more = match all.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!(" and {more} older ones"),
        _ => String::new(),
    };
    let newest: Vec<&str> = all.iter().rev().take(NAMED).map(|id| id.as_str()).collect();
    let there = if all.is_empty() { "none".to_owned() } else { newest.join(", ") + &more };
    format!("There are {there}. A date such as 2026-11-24 or an age such as 7d will do, too.")
}

/// The last moment that a date, time or age names; `None` if it is none of these.
fn moment(name: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Ok(day) = name.parse::<NaiveDate>() {
        return day
            .succ_opt()?
            .and_hms_opt(0, 0, 0)?
            .and_utc()
            .checked_sub_signed(TimeDelta::microseconds(1));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(name) {
        return Some(time.to_utc());
    }
    // A bare number is no age: it is rather a mistyped name.
    let is_age = name.ends_with(char::is_alphabetic) && name.starts_with(|c: char| c.is_ascii_digit());
    let age = parse_duration(name).ok().filter(|_| is_age)?;
    now.checked_sub_signed(TimeDelta::from_std(age).ok()?)
}

/// The snapshot of a journal that a name stands for; a name that is neither date nor age is passed on, since a
/// journal may be all that is left of a snapshot.
///
/// # Errors
/// If the lake can't be read, or nothing is that old.
pub fn resolve_journal(lake: &Lake, name: &str) -> Result<SnapshotId, Failure> {
    match moment(name, Utc::now()) {
        Some(_) => resolve(&lake.manifests()?, name),
        None => name.parse().map_err(|e: NotASnapshotId| Failure::new(Code::Usage, e.to_string())),
    }
}

/// The newest of each table, or as it was when the snapshot that is named was committed. Where that differs from
/// the snapshot, a warning says so.
///
/// # Errors
/// If there is no such snapshot, or it is damaged.
pub fn newest(lake: &Lake, name: Option<&str>) -> Result<Manifest, Failure> {
    let manifests = known(lake)?;
    let resolved = name.map(|name| resolve(&manifests, name)).transpose()?;
    let name = resolved.as_ref();
    let found = match name {
        None => {
            if let Some(warning) = manifests.warning() {
                warn(&warning);
            }
            manifests.newest_of_all()
        }
        Some(name) => manifests.as_of(name),
    };
    if let Some(Newest { manifest, notes }) = found {
        notes.iter().for_each(|note| warn(note));
        return Ok(manifest);
    }
    match manifests.damaged.into_iter().find(|damaged| name.is_none_or(|name| damaged.snapshot_id == *name)) {
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
        warn(&format!(
            "no snapshot holds {}: whatever needs them is left out of the answer",
            missing.join(", ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_named_by_identifier_date_time_and_age() {
        let snapshot =
            |id: &str, at: &str| Manifest { snapshot_at: at.parse().unwrap(), ..Manifest::empty(id) };
        let mut manifests = Manifests::default();
        manifests.readable.push(snapshot("2026-11-01T020000Z", "2026-11-01T02:00:00Z"));
        manifests.readable.push(snapshot("2026-11-02T020000Z", "2026-11-02T02:00:00Z"));
        for (name, found) in [
            ("2026-11-01T020000Z", Some("2026-11-01T020000Z")),
            ("2026-11-01", Some("2026-11-01T020000Z")),
            ("2026-11-30", Some("2026-11-02T020000Z")),
            ("2026-11-02T01:59:59Z", Some("2026-11-01T020000Z")),
            ("2026-10-31", None),
            ("7", None),
            ("yesterday", None),
        ] {
            assert_eq!(resolve(&manifests, name).ok().as_deref(), found, "{name}");
        }
        let now = "2026-11-09T02:00:00Z".parse().unwrap();
        assert_eq!(moment("7d", now), Some("2026-11-02T02:00:00Z".parse().unwrap()));
        assert_eq!(moment("7", now), None);
    }
}
