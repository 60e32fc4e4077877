//! Estimating an export before it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use super::{Error, Options, Reuse, bases};
use crate::client::users::ActingAs;
use crate::crawl::{
    self, Base, Budget, Empty, Endpoint, Freshness, Progress, Reread, Source, Stop, Workspace,
};
use crate::journal::{self, CrawlHeader, Journal};
use crate::schema::Table;
use crate::snapshot::{self, Lake, SnapshotId, TableState};

/// Works out what an export would cost. Spends the calls that list projects and groups.
///
/// # Errors
/// Any of [`Error`].
pub async fn plan(
    source: Source,
    lake: &Lake,
    options: &Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Plan, Error> {
    let now = Utc::now();
    let base = Arc::new(Base::load(lake, bases::choose(lake, &options.tables)?, now)?);
    let scratch = crate::store::scratch().map_err(snapshot::Error::from)?;
    let header = CrawlHeader {
        format: journal::FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        base_url: options.base_url.clone(),
        workspace: None,
        acting_as: ActingAs::Unknown,
        snapshot_id: SnapshotId::at(now),
        snapshot_at: now,
        tables: Vec::new(),
        full: true,
        bases: BTreeMap::new(),
        base_snapshot: None,
        fixed_time: None,
    };
    let journal = Arc::new(Journal::create(&scratch.path().join("plan.hxj"), header)?);
    let wanted = Endpoint::needed_for(options.tables.iter().copied());
    let reread = Reread { now, within: options.revalidate, freshness: options.freshness };
    let crawl_options = crawl::Options {
        endpoints: wanted.iter().copied().filter(|e| e.names().next().is_some()).collect(),
        concurrency: options.concurrency,
        budget: Budget::default(),
        spent: 0,
        full: true,
        reread,
        doubted_before: None,
        workspace: Workspace::Settled,
        empty: Empty::Accepted,
    };
    let report = crawl::crawl(source, journal, Arc::default(), crawl_options, progress, stop).await?;
    let known = (options.reuse == Reuse::Unchanged).then_some(&*base);
    let newest = lake.manifests()?.newest_of_all().map(|newest| newest.manifest);
    let refused = newest.map_or(BTreeSet::new(), |manifest| {
        let is_refused = |table: &&Table| {
            manifest.tables.get(table.name).is_some_and(|t| t.state == Some(TableState::Unreadable))
        };
        options.tables.iter().copied().filter(is_refused).filter_map(Endpoint::of_table).collect()
    });
    let estimates = |freshness, base: Option<&Base>| {
        let reread = Reread { freshness, ..reread };
        let of = |endpoint: &Endpoint| {
            let estimate = crawl::estimate(*endpoint, &report, base, &reread);
            match refused.contains(endpoint) {
                true => estimate.refused(*endpoint),
                false => estimate,
            }
        };
        wanted.iter().map(of).collect::<Vec<_>>()
    };
    let within = match options.freshness {
        Freshness::Exact => Freshness::Within(USUAL_BOUND),
        within => within,
    };
    Ok(Plan {
        exact: estimates(Freshness::Exact, known),
        within: estimates(within, known),
        first: estimates(Freshness::Exact, None),
        has_base: known.is_some_and(|base| !base.is_empty()),
    })
}

/// Freshness bound that a plan prices in addition to the exact one.
const USUAL_BOUND: TimeDelta = TimeDelta::days(7);

/// Cost of an export, by endpoint.
#[derive(Debug)]
pub struct Plan {
    /// With every published project asked for runs.
    pub exact: Vec<crawl::Estimate>,
    /// With those asked that can have run.
    pub within: Vec<crawl::Estimate>,
    /// With nothing known yet.
    pub first: Vec<crawl::Estimate>,
    /// Whether there is a snapshot to build on.
    pub has_base: bool,
}
