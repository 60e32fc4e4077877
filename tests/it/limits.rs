//! Budgets, silence, and what is asked at all. Where waiting is what is tested, the clock jumps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hexport::client::{BaseUrl, Client, ClientConfig, Token};
use hexport::crawl::{self, Budget, Coverage, Endpoint, Quiet, Source, State, Stop};
use hexport::export::{Error, Options, Outcome, export};
use hexport::sim::{
    Change, Counting, InProcess, LimitForm, LimitKind, Limits, Refusal, Refused, SimConfig, SimServer,
};
use hexport::snapshot::Lake;
use tokio::time::Instant;

use crate::support::*;

fn serve(faults: &str) -> SimServer {
    let faults = faults.parse().unwrap();
    SimServer::unbound(SimConfig { world: world_of(200), faults, ..SimConfig::default() })
}

/// Exports under a clock that jumps to the next moment at which anything happens.
async fn export_from(server: &SimServer, budget: Option<Duration>) -> Result<Outcome, Error> {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ClientConfig::new(BaseUrl::default(), Token::new(SECRET).unwrap());
    config.transport = Some(Arc::new(InProcess::to(server)));
    let budget = Budget { until: budget.map(|time| Instant::now() + time), ..Budget::default() };
    let options = Options { base_url: "test".into(), budget, ..Options::default() };
    let source = Source::Api(Client::new(config).unwrap());
    export(source, &Lake::new(dir.path()), options, Arc::new(Quiet), Stop::default()).await
}

/// How many entities of an endpoint are in each state.
fn count(outcome: &Outcome, endpoint: Endpoint, state: State) -> usize {
    let count = outcome.manifest.endpoints[endpoint.name()].states.get(state.name()).copied().unwrap_or(0);
    // Those that were not read are told one by one, too.
    let told = outcome.not_read.iter().filter(|c| c.endpoint == endpoint && c.state == state).count();
    assert_eq!(told, if state == State::Fetched { 0 } else { count as usize });
    count as usize
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_is_a_gap_and_costs_few_requests() {
    for answer in [Refused::Status(500), Refused::Status(503), Refused::Html] {
        let server = serve("latency=100ms");
        server.refuse([Refusal::of("ListCells", answer)]);
        let outcome = export_from(&server, None).await.unwrap();
        assert_eq!(count(&outcome, Endpoint::CELLS, State::Failed), 200, "{answer:?}");
        let asked = server.requests().iter().filter(|r| r.target.starts_with("/cells")).count();
        // Some are under way while the fifth fails for good.
        assert!((5..=13 * 8).contains(&asked), "{answer:?}: {asked}");
        let gaps: BTreeSet<_> = outcome.gaps().map(|c| c.endpoint).collect();
        assert_eq!(gaps, BTreeSet::from([Endpoint::CELLS, Endpoint::COMPONENT_IMPORTS]), "the rest is whole");
        let says = |c: &&Coverage| {
            let reason = c.reason.as_deref().unwrap_or("");
            reason.contains("considered down") && reason.contains("Last failure: ")
        };
        let unasked = outcome.not_read.iter().filter(|c| c.endpoint == Endpoint::CELLS).filter(says).count();
        assert!(unasked > 180, "{answer:?}: {unasked}");
    }
}

#[tokio::test(start_paused = true)]
async fn single_entities_that_fail_do_not_count_as_an_endpoint_that_is_down() {
    let server = serve("latency=100ms");
    let failing: Vec<String> =
        server.world().projects.iter().step_by(20).map(|record| record.project.id.to_string()).collect();
    server.refuse(failing.iter().map(|id| Refusal::of("ListCells", Refused::Status(500)).about(id)));
    let outcome = export_from(&server, None).await.unwrap();
    assert_eq!(count(&outcome, Endpoint::CELLS, State::Failed), failing.len());
    assert_eq!(count(&outcome, Endpoint::CELLS, State::Fetched), 200 - failing.len());
}

#[tokio::test(start_paused = true)]
async fn a_budget_ends_the_wait_for_a_server_that_does_not_answer() {
    for faults in ["429=1,retry-after=1h", "timeout=1,hang=2h", "500=1"] {
        let (server, began) = (serve(faults), Instant::now());
        let error = export_from(&server, Some(Duration::from_secs(5))).await.unwrap_err();
        assert!(matches!(error, Error::Crawl(crawl::Error::OutOfTime { .. })), "{faults}: {error:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{faults}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_server_fell_silent_is_committed_when_the_budget_ends() {
    for faults in ["429=1,retry-after=1h", "timeout=1,hang=2h"] {
        let (server, began) = (serve("latency=100ms"), Instant::now());
        let falling_silent = async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            server.set_faults(faults.parse().unwrap());
        };
        let budget = Some(Duration::from_secs(60));
        let (outcome, ()) = tokio::join!(export_from(&server, budget), falling_silent);
        let outcome = outcome.unwrap();
        assert!(began.elapsed() < Duration::from_secs(120), "{faults}: {:?}", began.elapsed());
        assert!(count(&outcome, Endpoint::CELLS, State::Fetched) > 0, "{faults}");
        assert!(count(&outcome, Endpoint::CELLS, State::Deferred) > 100, "{faults}");
        assert_eq!(outcome.not_read.iter().filter(|c| c.state == State::Failed).count(), 0, "{faults}");
    }
}

#[test]
fn a_budget_ends_an_hours_wait_at_the_command_line_too() {
    let counting = Counting::Together(vec![(40, Duration::from_secs(3600))]);
    let limit = Limits { kind: LimitKind::FixedWindow, counting, headers: LimitForm::Silent };
    let sim = Sim::start(SimConfig { world: world_of(60), limit: Some(limit), ..SimConfig::default() });
    let dir = tempfile::tempdir().unwrap();
    let summary = sim.export(dir.path(), &["--budget", "2s"], 4);
    assert_eq!(summary["complete"], false, "{summary}");
    assert_eq!(rows_of_tables(dir.path())["projects"], 60);
}

#[test]
fn with_a_bound_only_projects_that_can_have_run_are_asked_and_all_within_it() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(150);
    // Asks for runs of which projects.
    let night = |at: &str| -> BTreeSet<String> {
        sim.server.clear_requests();
        sim.export(dir.path(), &["--freshness", "7d", "--fixed-time", at], 0);
        let requests = sim.server.requests();
        let of_runs = |target: &str| {
            let path = target.split('?').next().unwrap().to_owned();
            let id = path.strip_suffix("/runs")?.rsplit('/').next()?;
            Some(id.to_owned())
        };
        requests.iter().filter_map(|r| of_runs(&r.target)).collect()
    };
    // The last API runs are over a month ago.
    let published = night("2026-12-20T06:30:00Z");
    let noon = "2026-12-20T12:00:00Z".parse().unwrap();
    let (mut refreshed, mut ran) = (BTreeSet::new(), BTreeSet::new());
    {
        let mut world = sim.server.world_mut();
        for at in 0..world.projects.len() {
            let project = &world.projects[at].project;
            if !published.contains(&*project.id)
                || project.archived_at.is_some()
                || project.trashed_at.is_some()
            {
                continue;
            }
            ran.extend(world.change(Change::Run, at, noon));
            if at % 10 == 0 {
                refreshed.extend(world.change(Change::Refresh, at, noon));
            }
        }
    }
    let known = rows_of_tables(dir.path())["runs"];
    let asked = night("2026-12-21T06:30:00Z");
    assert!(asked.len() * 10 < published.len() * 8, "{} of {}", asked.len(), published.len());
    assert!(!refreshed.is_empty() && refreshed.is_subset(&asked), "what moved is asked");
    let due = ask(
        dir.path(),
        "SELECT DISTINCT project_id FROM project_schedules WHERE enabled AND cadence IN ('HOURLY', 'DAILY')",
    );
    let due: BTreeSet<String> = due.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
    let due: BTreeSet<String> = due.intersection(&published).cloned().collect();
    assert!(!due.is_empty() && due.is_subset(&asked), "what was due is asked");
    // Each of those asked brought its new run; the others keep what was known of them.
    let seen = asked.intersection(&ran).count() as u64;
    assert_eq!(rows_of_tables(dir.path())["runs"], known + seen);
    assert!(seen > 0 && (seen as usize) < ran.len());
    let old = ask_one(
        dir.path(),
        "SELECT count(*) FROM crawl_coverage WHERE operation = 'GetProjectRuns' AND state = 'reused' AND \
         last_read_at < '2026-12-21'",
    );
    assert_eq!(
        old.as_u64().unwrap() as usize,
        published.len() - asked.len(),
        "they say until when they were read"
    );
    // At the latest after the bound every run is seen.
    night("2026-12-27T06:30:00Z");
    assert_eq!(rows_of_entities(dir.path()), true_rows(&sim.server.world()));
}
