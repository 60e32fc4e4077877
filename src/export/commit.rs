//! From what a crawl found to a committed snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::bases::{self, Bases};
use super::{Error, Options, Outcome, build, derived, truth};
use crate::client::operation::ME;
use crate::crawl::{Base, Endpoint, Identity, Report};
use crate::journal::Journal;
use crate::schema::{Origin, SCHEMA_VERSION, Table};
use crate::snapshot::{
    self, Counting, EndpointSummary, Format, Lake, Manifest, Pseudonyms, TableEntry, TableState, ToolEntry,
    WorkspaceEntry,
};
use crate::tables::PROJECT_SHARING;

/// Everything that a snapshot is committed from.
pub(super) struct Commit {
    pub(super) lake: Lake,
    pub(super) options: Options,
    pub(super) journal: Arc<Journal>,
    pub(super) identity: Identity,
    pub(super) bases: Bases,
    pub(super) base: Arc<Base>,
    /// It was committed before.
    pub(super) is_rebuilt: bool,
    pub(super) report: Report,
    pub(super) kept: truth::Kept,
    pub(super) crawl_time: Duration,
}

impl Commit {
    pub(super) fn run(mut self) -> Result<Outcome, Error> {
        let header = self.journal.header().clone();
        let states = truth::states(&self.report, &self.base, &self.options.tables);
        self.check_rebuilt(&states)?;
        let staging = self.lake.stage(&header.snapshot_id)?;
        // Read as late as can be: somebody may have been forgotten while the crawl went on.
        let pseudonyms = self.lake.pseudonyms()?;
        let counting = self.newest_totals()?;
        let built = self.build(staging.folder(), &pseudonyms)?;
        let manifest = pseudonyms.manifest(self.manifest(&built, &states)?);
        counting.as_ref().map_or(Ok(()), Counting::check)?;
        let place = staging.commit(&manifest)?;
        drop(counting);
        let base = self.bases.values().map(|m| &m.snapshot_id).max();
        Ok(Outcome {
            place,
            journal: None,
            table_seconds: built.iter().map(|b| (b.table.name, b.took.as_secs_f64())).collect(),
            crawl_seconds: self.crawl_time.as_secs_f64(),
            resumed: 0,
            base: base.cloned(),
            manifest,
            not_read: self.report.coverage,
            side_failures: Vec::new(),
        })
    }

    /// The totals of query histories are those of now: another machine may have imported one while the crawl went on.
    /// None is imported until they are dropped. What is built again builds on what it was built on.
    fn newest_totals(&mut self) -> Result<Option<Counting>, Error> {
        let is_total = |table: &&&Table| matches!(table.origin, Origin::History(_));
        let totals: Vec<&Table> = self.options.tables.iter().filter(is_total).copied().collect();
        if totals.is_empty() || self.is_rebuilt {
            return Ok(None);
        }
        let counting = self.lake.counting()?;
        self.bases.extend(bases::choose(&self.lake, &totals)?);
        Ok(Some(counting))
    }

    /// A snapshot that is there is never replaced by one that knows less.
    fn check_rebuilt(&self, states: &BTreeMap<&'static str, truth::Known>) -> Result<(), Error> {
        let snapshot_id = self.journal.header().snapshot_id.clone();
        let Some(there) = self.lake.manifests()?.get(&snapshot_id).cloned() else { return Ok(()) };
        let is_complete = !states.values().any(|known| known.state.is_gap());
        let why = truth::worse(&there.tables, states).or_else(|| {
            (there.complete && !is_complete).then(|| "it is complete, but the journal is not".to_owned())
        });
        match why {
            Some(why) => Err(Error::Worse { snapshot_id, why }),
            None => Ok(()),
        }
    }

    /// Writes the tables. What only those need that come from the crawl is let go of before the others are derived.
    fn build(
        &mut self,
        folder: &std::path::Path,
        pseudonyms: &Arc<Pseudonyms>,
    ) -> Result<Vec<build::Built>, Error> {
        let header = self.journal.header();
        let (journal, lake, base) = (&*self.journal, &self.lake, &*self.base);
        let sources = build::Sources { journal, report: &self.report, lake, base, bases: &self.bases };
        let is_derived = |table: &Table| matches!(table.origin, Origin::Derived(_));
        let (derived, plain): (Vec<&Table>, Vec<&Table>) =
            self.options.tables.iter().partition(|table| is_derived(table));
        let mut formats = self.options.formats.clone();
        // Other tables are read back from it; what nobody wants is removed at the end.
        let is_read = !derived.is_empty() || plain.iter().any(|table| table.name == PROJECT_SHARING.name);
        if is_read && !formats.contains(&Format::Parquet) {
            formats.push(Format::Parquet);
        }
        let workspace = self.workspace();
        let target = build::Target {
            folder,
            snapshot_id: &header.snapshot_id,
            snapshot_at: header.snapshot_at,
            formats: &formats,
            workspace: &workspace,
            audit: &self.options.audit,
            given: &self.options.given,
            runs_since: self.runs_since(),
            pseudonyms,
        };
        let mut built = build::build(&sources, &target, &plain)?;
        journal.release();
        self.report.let_go();
        self.base = Arc::default();
        built.extend(derived::derive(&target, &self.lake, &self.bases, &derived)?);
        build::strip(&mut built, folder, &self.options.formats)?;
        Ok(built)
    }

    /// When the oldest runs happened that are kept, if not all are.
    fn runs_since(&self) -> Option<DateTime<Utc>> {
        let age = self.options.runs_keep?;
        self.journal.header().snapshot_at.checked_sub_signed(age)
    }

    fn workspace(&self) -> WorkspaceEntry {
        let header = self.journal.header();
        WorkspaceEntry { base_url: header.base_url.clone(), org_id: header.workspace.clone() }
    }

    fn manifest(
        &self,
        built: &[build::Built],
        states: &BTreeMap<&'static str, truth::Known>,
    ) -> Result<Manifest, Error> {
        let header = self.journal.header();
        let tables: BTreeMap<String, TableEntry> = built.iter().map(|b| self.entry(b, states)).collect();
        Ok(Manifest {
            manifest_version: snapshot::MANIFEST_VERSION,
            snapshot_id: header.snapshot_id.clone(),
            sequence: Some(self.lake.sequence_for(&header.snapshot_id)?),
            snapshot_at: header.snapshot_at,
            committed_at: header.fixed_time.unwrap_or_else(Utc::now),
            tool: ToolEntry { name: "hexport".into(), version: env!("CARGO_PKG_VERSION").into() },
            workspace: self.workspace(),
            acting_as: Some(self.identity.acting_as.clone()),
            complete: !tables.values().any(|entry| entry.state.is_some_and(TableState::is_gap)),
            schema_version: SCHEMA_VERSION,
            tables,
            endpoints: self.endpoints(),
            schema_drift: drift(built),
            forgotten: Vec::new(),
        })
    }

    /// Requests and results by operation, including `Me`.
    fn endpoints(&self) -> BTreeMap<String, EndpointSummary> {
        let requests = self.identity.requests;
        let of_me = EndpointSummary { requests, retries: requests.saturating_sub(1), ..Default::default() };
        let me = (requests > 0).then(|| (ME.id.to_owned(), of_me));
        let crawled = self.report.endpoints.iter().map(|(e, summary)| (e.name().to_owned(), summary.clone()));
        crawled.chain(me).collect()
    }

    fn entry(
        &self,
        built: &build::Built,
        states: &BTreeMap<&'static str, truth::Known>,
    ) -> (String, TableEntry) {
        let known = states.get(built.table.name).copied().unwrap_or_default();
        let endpoint = Endpoint::of_table(built.table);
        let seen_by = endpoint.and_then(|e| self.kept.seen_by.get(&e));
        let entry = TableEntry {
            state: Some(known.state),
            entities: endpoint.map(|_| known.entities),
            base: truth::base_of(&self.bases, built.table).cloned(),
            kept_since: self.runs_since().filter(|_| built.table.accumulates()),
            seen_by: seen_by.filter(|seen_by| **seen_by != self.identity.acting_as).cloned(),
            ..built.entry.clone()
        };
        (built.table.name.to_owned(), entry)
    }
}

fn drift(built: &[build::Built]) -> BTreeMap<String, BTreeMap<String, u64>> {
    built.iter().filter(|b| !b.drift.is_empty()).map(|b| (b.table.name.to_owned(), b.drift.clone())).collect()
}
