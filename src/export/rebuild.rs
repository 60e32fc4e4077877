//! Building a snapshot again from a kept journal.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::journals::report_damage;
use super::{Catch, Error, Job, NoJournal, Options, Outcome, Reuse, bases, choice, delta};
use crate::crawl::{Budget, Endpoint, Identity, Progress, Source, Stop, Workspace};
use crate::journal::{CrawlHeader, Journal};
use crate::schema::{Origin, Table};
use crate::snapshot::{Lake, SnapshotId};

/// Builds the snapshot of a kept journal again, with the tables as this version declares them. Asks nothing
/// of the API.
///
/// # Errors
/// Any of [`Error`].
pub async fn rebuild(
    lake: &Lake,
    snapshot: Option<&SnapshotId>,
    options: Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Outcome, Error> {
    let lock = lake.lock()?;
    let result = rebuild_locked(lake, snapshot, options, progress, stop).await;
    lake.tidy(lock);
    result
}

async fn rebuild_locked(
    lake: &Lake,
    snapshot: Option<&SnapshotId>,
    options: Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Outcome, Error> {
    lake.fetch_journals()?;
    let journals = lake.journals()?;
    let path = match snapshot {
        None => last_committed(lake, &journals)?,
        Some(id) => journals.iter().find(|(of, _)| of == id).map(|(_, path)| path.clone()),
    };
    let path = path.ok_or_else(|| {
        let others: Vec<SnapshotId> = journals.iter().map(|(id, _)| id.clone()).collect();
        let lake = lake.name().to_string();
        match snapshot.cloned() {
            _ if others.is_empty() => NoJournal::None { lake },
            None => NoJournal::Unfinished { lake, unfinished: others },
            Some(wanted) => NoJournal::Others { wanted, others },
        }
    })?;
    let journal = Arc::new(Journal::open_read(&path)?);
    journal.prefer_whole();
    report_damage(&journal, &*progress);
    let header = journal.header();
    let options = Options {
        base_url: header.base_url.clone(),
        budget: Budget::default(),
        tables: journalled_tables(header, &options.tables),
        reuse: if header.full { Reuse::Nothing } else { Reuse::Unchanged },
        revalidate: None,
        ..options
    };
    let manifests = lake.manifests()?;
    let identity = Identity {
        org_id: header.workspace.clone(),
        acting_as: header.acting_as.clone(),
        ..Identity::default()
    };
    let bases = bases::of_journal(lake, header, &manifests, &options.tables);
    let options = Options { tables: choice::writable(&options.tables, &bases), ..options };
    let how = Workspace::Settled;
    let source = Source::JournalOnly;
    // A prune on another machine must not remove what it is built on, nor the snapshot that it takes the place of.
    let mut kept: BTreeSet<SnapshotId> = bases.values().map(|base| base.snapshot_id.clone()).collect();
    kept.insert(header.snapshot_id.clone());
    lake.build_on(&header.snapshot_id, &kept)?;
    let job = Job { source, lake, options: &options, journal: &journal, bases, how, identity };
    let mut result = job.run(progress, stop).await;
    lake.ended(&header.snapshot_id);
    if let (Ok(outcome), Some(mode)) = (&mut result, options.delta)
        && let Err(error) = delta(lake, outcome.manifest.clone(), mode, Catch::New).await
    {
        outcome.side_failures.push(format!("Delta tables: {error}"));
    }
    let journal_at = path.display().to_string();
    result.map(|outcome| Outcome { resumed: journal.len(), journal: Some(journal_at), ..outcome })
}

/// The last journal whose crawl was committed. An open one is the next export's to resume.
fn last_committed(lake: &Lake, journals: &[(SnapshotId, PathBuf)]) -> Result<Option<PathBuf>, Error> {
    let committed = lake.snapshots()?;
    let is_committed = |(id, path): &&(SnapshotId, PathBuf)| {
        committed.contains(id) || Journal::open_read(path).is_ok_and(|journal| journal.committed().is_some())
    };
    Ok(journals.iter().rev().find(is_committed).map(|(_, path)| path.clone()))
}

/// Of the tables wanted, those that a journal has answers for, and what can be derived from these.
fn journalled_tables(header: &CrawlHeader, wanted: &[&'static Table]) -> Vec<&'static Table> {
    let asked = header.tables.iter().filter_map(|name| crate::registry::by_name(name));
    let endpoints = Endpoint::needed_for(asked);
    let mut names = BTreeSet::new();
    for table in wanted {
        let is_there = match table.origin {
            Origin::Api(_) => Endpoint::of_table(table).is_some_and(|e| endpoints.contains(&e)),
            Origin::Derived(from) => from.iter().all(|name| names.contains(name)),
            Origin::Crawl | Origin::History(_) => true,
        };
        if is_there {
            names.insert(table.name);
        }
    }
    wanted.iter().copied().filter(|table| names.contains(table.name)).collect()
}
