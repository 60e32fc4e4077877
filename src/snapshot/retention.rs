//! Which snapshots are kept: a policy as backup tools have it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Datelike, Utc};

use super::lake::{MANIFEST, STAGING, folder_of};
use super::manifest::Manifest;
use super::{Error, Lake, SnapshotId};
use crate::journal::Journal;
use crate::schema::Table;

/// Reason to keep the newest snapshot.
const LATEST: &str = "latest";
/// Reason to keep a snapshot that an export on another machine builds on.
const BUILT_ON: &str = "an export on another machine is at work with it";
/// Reason to keep a snapshot that a journal builds on.
const BUILDS_ON_IT: &str = "builds on it";

/// Number of snapshots to keep. A day, week (ISO) or month (UTC) counts if it has a snapshot; the last one in it is
/// kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// The last ones.
    pub last: u32,
    /// The last one of each of so many days.
    pub daily: u32,
    /// The last one of each of so many weeks.
    pub weekly: u32,
    /// The last one of each of so many months.
    pub monthly: u32,
}

impl Policy {
    /// Whether it keeps anything but the latest snapshot.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For each snapshot why it is kept; nothing for one that may go. They come in the order of their commits, and
    /// the last one is always kept.
    pub fn reasons(&self, snapshots: &[Manifest]) -> BTreeMap<SnapshotId, Vec<String>> {
        let newest_first = || snapshots.iter().rev();
        let mut reasons: BTreeMap<SnapshotId, Vec<String>> =
            snapshots.iter().map(|m| (m.snapshot_id.clone(), Vec::new())).collect();
        let mut keep =
            |m: &Manifest, why: &str| reasons.entry(m.snapshot_id.clone()).or_default().push(why.to_owned());
        if let Some(newest) = newest_first().next() {
            keep(newest, LATEST);
        }
        for manifest in newest_first().take(self.last as usize) {
            keep(manifest, "last");
        }
        type Period = fn(&DateTime<Utc>) -> (i32, u32);
        let periods: [(u32, &'static str, Period); 3] = [
            (self.daily, "daily", |at| (at.year(), at.ordinal())),
            (self.weekly, "weekly", |at| (at.iso_week().year(), at.iso_week().week())),
            (self.monthly, "monthly", |at| (at.year(), at.month())),
        ];
        for (most, why, period) in periods {
            let mut seen = HashSet::new();
            for manifest in newest_first() {
                if seen.len() < most as usize && seen.insert(period(&manifest.snapshot_at)) {
                    keep(manifest, why);
                }
            }
        }
        reasons
    }
}

impl Lake {
    /// For each readable snapshot why it is kept; nothing for one that may go. The newest that holds a table whole
    /// stays, and so does what a journal builds on: an unfinished crawl's, or one that was kept beside a snapshot
    /// that stays.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn prune_plan(
        &self,
        policy: &Policy,
        tables: impl IntoIterator<Item = &'static Table>,
    ) -> Result<BTreeMap<SnapshotId, Vec<String>>, Error> {
        let manifests = self.manifests()?;
        let mut plan = policy.reasons(&manifests.readable);
        let mut held: BTreeMap<SnapshotId, Vec<&str>> = BTreeMap::new();
        for table in tables {
            if let Some(manifest) = manifests.newest_for(table.name) {
                held.entry(manifest.snapshot_id.clone()).or_default().push(table.name);
            }
        }
        for (id, names) in held {
            let reasons = plan.entry(id).or_default();
            if !reasons.iter().any(|why| why == LATEST) {
                reasons.push(match names.as_slice() {
                    [a] => format!("newest that holds {a}"),
                    [a, b] => format!("newest that holds {a} and {b}"),
                    _ => format!("newest that holds {} and {} more tables", names[0], names.len() - 1),
                });
            }
        }
        for base in self.built_on()? {
            if let Some(reasons) = plan.get_mut(&base) {
                reasons.push(BUILT_ON.to_owned());
            }
        }
        let stays: BTreeSet<SnapshotId> =
            plan.iter().filter(|(_, why)| !why.is_empty()).map(|(id, _)| id.clone()).collect();
        for (id, path) in self.kept_journals()? {
            let committed = manifests.get(&id);
            // What stays for another's journal alone needs none of its own: else every base would keep the next.
            if committed.is_some() && !stays.contains(&id) {
                continue;
            }
            let journal = path.and_then(|path| Journal::open_read(&path).ok());
            // A crawl that was resumed is committed on the bases of that night, not of the one when it began. These
            // are all that is known of a journal that is on another machine.
            let tables = committed.into_iter().flat_map(|manifest| manifest.tables.values());
            let mut bases =
                journal.iter().flat_map(|journal| journal.header().base_snapshots()).collect::<BTreeSet<_>>();
            bases.extend(tables.filter_map(|table| table.base.as_ref()));
            for base in bases {
                let Some(reasons) = plan.get_mut(base) else { continue };
                reasons.push(match committed {
                    Some(_) => format!("the kept journal of {id} {BUILDS_ON_IT}"),
                    None => format!("an unfinished crawl {BUILDS_ON_IT}"),
                });
            }
        }
        Ok(plan)
    }

    /// Removes what a plan doesn't keep; and the journals of snapshots that stay only for another's journal, since
    /// what these were built on may be gone.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn carry_out(&self, plan: &BTreeMap<SnapshotId, Vec<String>>) -> Result<(), Error> {
        let gone = plan.iter().filter(|(_, why)| why.is_empty()).map(|(id, _)| id.clone()).collect();
        self.while_pruning(&gone, || gone.iter().try_for_each(|id| self.remove(id)))?;
        let for_journals_alone = |why: &[String]| why.iter().all(|why| why.ends_with(BUILDS_ON_IT));
        for (id, _) in plan.iter().filter(|(_, why)| !why.is_empty() && for_journals_alone(why)) {
            self.remove_journal(id)?;
        }
        Ok(())
    }

    /// Removes the rows of snapshots that are gone from Delta tables with history. Gives how many files went, by
    /// table. Tables that hold the newest rows alone stay as they are.
    ///
    /// # Errors
    /// [`Error::Delta`], [`Error::Io`], [`Error::Store`].
    #[cfg(feature = "delta")]
    pub fn prune_delta(&self) -> Result<BTreeMap<String, usize>, Error> {
        let mut gone = BTreeMap::new();
        for table in self.delta_tables()? {
            // Listed again for each: an export commits its snapshot before its rows go into a Delta table.
            let count = super::delta::remove(self, &table, &|| Ok(self.snapshots()?.into_iter().collect()))?;
            if count > 0 {
                gone.insert(table, count);
            }
        }
        Ok(gone)
    }

    /// Without Delta Lake nothing can be removed from a Delta table.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(feature = "delta"))]
    pub fn prune_delta(&self) -> Result<BTreeMap<String, usize>, Error> {
        Ok(BTreeMap::new())
    }

    /// Removes a snapshot and its journal: it disappears in one step, then its files go.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn remove(&self, snapshot_id: &SnapshotId) -> Result<(), Error> {
        // Before the snapshot: a journal without its snapshot is taken for an unfinished crawl.
        self.remove_journal(snapshot_id)?;
        let aside = format!("{STAGING}removed-{snapshot_id}");
        Ok(self.store().retract(&folder_of(snapshot_id), MANIFEST, &aside)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(policy: Policy, times: &[&str]) -> Vec<String> {
        let at = |time: &&str| {
            let snapshot_at = time.parse().unwrap();
            Manifest { snapshot_at, ..Manifest::empty(&SnapshotId::at(snapshot_at)) }
        };
        let snapshots: Vec<_> = times.iter().map(at).collect();
        policy
            .reasons(&snapshots)
            .into_iter()
            .filter(|(_, why)| !why.is_empty())
            .map(|(id, _)| id[5..15].to_owned())
            .collect()
    }

    const TIMES: [&str; 7] = [
        "2026-09-30T02:00:00Z",
        "2026-10-31T02:00:00Z",
        "2026-11-20T02:00:00Z",
        "2026-11-22T02:00:00Z",
        "2026-11-23T02:00:00Z",
        "2026-11-24T02:00:00Z",
        "2026-11-24T14:00:00Z",
    ];

    #[test]
    fn each_period_keeps_its_last_snapshot() {
        let none = Policy::default();
        assert_eq!(kept(none, &TIMES), ["11-24T1400"], "the latest always");
        assert_eq!(kept(Policy { last: 2, ..none }, &TIMES), ["11-24T0200", "11-24T1400"]);
        assert_eq!(kept(Policy { daily: 3, ..none }, &TIMES), ["11-22T0200", "11-23T0200", "11-24T1400"]);
        // The 22nd was a Sunday.
        assert_eq!(kept(Policy { weekly: 2, ..none }, &TIMES), ["11-22T0200", "11-24T1400"]);
        assert_eq!(kept(Policy { monthly: 3, ..none }, &TIMES), ["09-30T0200", "10-31T0200", "11-24T1400"]);
        assert_eq!(kept(Policy { monthly: 9, ..none }, &[]), Vec::<String>::new());
    }
}
