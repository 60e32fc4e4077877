//! Estimating a crawl from the lists alone.

use serde::Serialize;

use super::gate::REFUSALS;
use super::{Base, Decision, Endpoint, Freshness, Probe, Report, Reread, Scope, decide};

/// Of projects whose cells nobody has read, one in so many is taken to import a component.
const IMPORTERS: u64 = 4;

/// Estimated requests of an endpoint.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Estimate {
    /// Endpoint.
    pub endpoint: &'static str,
    /// Group of operations that it is counted in.
    pub group: &'static str,
    /// Groups or projects that would be asked about; 1 for a list of the workspace.
    pub read: u64,
    /// Those whose rows would be taken over.
    pub reused: u64,
    /// Those whose answer is known to be empty.
    pub skipped: u64,
    /// Requests: at least one a thing read, more where the last snapshot tells how many pages there are.
    pub requests: u64,
    /// Reason for reading it.
    pub why: &'static str,
}

impl Estimate {
    /// The same for an endpoint that the API refused the last time: it takes a few requests to learn that it still
    /// does.
    pub fn refused(self, endpoint: Endpoint) -> Self {
        let asked = match endpoint.spec().probe {
            Probe::Alone => 1,
            Probe::Together => REFUSALS.into(),
        };
        let (read, requests) = (self.read.min(asked), self.requests.min(asked));
        Self { read, requests, why: "refused last time, for the token or the plan", ..self }
    }
}

/// Estimates what reading an endpoint would cost, from the lists of projects and groups.
pub fn estimate(endpoint: Endpoint, report: &Report, base: Option<&Base>, reread: &Reread) -> Estimate {
    let mut sum =
        Estimate { endpoint: endpoint.name(), group: endpoint.operation().group.name, ..Estimate::default() };
    let page = endpoint.operation().listing.map_or(u64::MAX, |listing| u64::from(listing.max_page));
    match endpoint.scope() {
        Scope::Workspace => {
            sum.read = 1;
            sum.why = "lists are always read: they show what changed";
            let now = report.endpoints.get(&endpoint).map(|summary| summary.rows);
            let then = base.and_then(|base| base.known(endpoint, None)).map(|known| known.rows);
            sum.requests = pages(now.or(then).unwrap_or(1), page);
        }
        Scope::Group => {
            sum.read = report.groups.len() as u64;
            sum.why = "a group doesn't show changes of its members";
            let rows =
                |id| base.and_then(|base| base.known(endpoint, Some(id))).map_or(1, |known| known.rows);
            sum.requests = report.groups.iter().map(|id| pages(rows(id), page)).sum();
        }
        Scope::Project => {
            sum.why = match endpoint {
                endpoint if endpoint == Endpoint::RUNS => match reread.freshness {
                    Freshness::Exact => "a project doesn't show new runs; read back to the last known one",
                    Freshness::Within(_) => "a run was due, the project changed, or it was read long ago",
                },
                endpoint if endpoint == Endpoint::COMPONENT_IMPORTS => {
                    "a cell imports a component, and the project is new or was edited or published"
                }
                _ => "never read, or the project was edited, published or refreshed",
            };
            let mut unknown = 0;
            for project in &report.projects {
                if endpoint == Endpoint::COMPONENT_IMPORTS {
                    match base.and_then(|base| base.imports_components(&project.id)) {
                        Some(true) => {}
                        Some(false) => {
                            sum.skipped += 1;
                            continue;
                        }
                        None => {
                            unknown += 1;
                            continue;
                        }
                    }
                }
                match decide(endpoint, project, base, reread) {
                    Decision::Skip(_) => sum.skipped += 1,
                    Decision::Reuse => sum.reused += 1,
                    Decision::Read(Some(_)) => {
                        sum.read += 1;
                        sum.requests += 1;
                    }
                    Decision::Read(None) => {
                        let known = base.and_then(|base| base.known(endpoint, Some(&project.id)));
                        sum.read += 1;
                        sum.requests += pages(known.map_or(1, |known| known.rows), page);
                    }
                }
            }
            // Only their cells tell whether they import anything.
            let likely = unknown / IMPORTERS;
            sum.read += likely;
            sum.requests += likely;
            sum.skipped += unknown - likely;
        }
    }
    sum
}

fn pages(rows: u64, page: u64) -> u64 {
    rows.div_ceil(page).max(1)
}
