//! Ninety nights of two lakes over one workspace: `--freshness exact` beside `--freshness 7d`, with revalidation on. The
//! real client, scheduler, builder and simulator, in simulated time. `cargo bench --bench nights` prints the figures;
//! nothing is asserted. `HEXPORT_PROJECTS` sets the size (3,000), `HEXPORT_NIGHTS` the nights (90).
//!
//! What happens in the workspace, by day:
//! - Schedules are the generator's: 36 % of the published projects have one, 88 % of these enabled; 20 % hourly, 40 %
//!   daily, 20 % weekly, 10 % monthly, 10 % cron. One due time in forty is missed. A scheduled run moves
//!   `publishedResultsUpdatedAt`.
//! - Views: nobody views 70 % of the published projects; the others have a mean rate each, exponential around 0.3 a
//!   day, and as many views as a Poisson process of that rate gives. Three views in ten run the app, which moves
//!   nothing but the views.
//! - API runs: 2 % of the published projects run four times a day over the API, 1 % once in 20 days and 1 % once in 90
//!   days on average; they move no time at all. One put-away project in a hundred runs once in 60 days.
//! - 2 % of the projects are edited, 0.7 % published.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hexport::client::operation::GET_PROJECT_RUNS;
use hexport::client::projects::Schedule as ApiSchedule;
use hexport::client::{BaseUrl, Client, ClientConfig, Pace, ProjectId, Token};
use hexport::crawl::{Freshness, Quiet, Source, Stop};
use hexport::derive::schedule::Schedule;
use hexport::export::{Options, choose, export};
use hexport::sim::{Change, InProcess, RunSpec, SimConfig, SimServer, World, WorldConfig};
use hexport::snapshot::{Lake, Policy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How a project is used, beside its schedules.
struct Habits {
    views_a_day: f64,
    api_runs_a_day: f64,
}

fn draw_habits(world: &World, rng: &mut ChaCha8Rng) -> HashMap<ProjectId, Habits> {
    let of = |record: &hexport::sim::ProjectRecord, rng: &mut ChaCha8Rng| {
        let project = &record.project;
        let put_away = project.archived_at.is_some() || project.trashed_at.is_some();
        let is_viewed = rng.random_bool(0.3) && !put_away;
        let views_a_day = if is_viewed { -0.3 * (1.0 - rng.random::<f64>()).ln() } else { 0.0 };
        let api_runs_a_day = match rng.random::<f64>() {
            x if put_away && x < 0.01 => 1.0 / 60.0,
            _ if put_away => 0.0,
            x if x < 0.02 => 4.0,
            x if x < 0.03 => 1.0 / 20.0,
            x if x < 0.04 => 1.0 / 90.0,
            _ => 0.0,
        };
        Habits { views_a_day, api_runs_a_day }
    };
    let published = world.projects.iter().filter(|record| record.project.last_published_at.is_some());
    published.map(|record| (record.project.id.clone(), of(record, rng))).collect()
}

/// Moments of a Poisson process between two times.
fn moments(rate: f64, from: DateTime<Utc>, until: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Vec<DateTime<Utc>> {
    let (mut at, mut found) = (from, Vec::new());
    if rate <= 0.0 {
        return found;
    }
    loop {
        at += TimeDelta::seconds((-(1.0 - rng.random::<f64>()).ln() / rate * 86_400.0).min(1e9) as i64 + 1);
        if at >= until {
            break;
        }
        found.push(at);
    }
    found
}

fn due(schedule: &ApiSchedule, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let zone = |zone: &str| Some(zone.to_owned());
    let (mut timezone, mut minute, mut hour, mut day, mut day_of_week, mut cron) =
        (None, 0, 0, 0, None, None);
    if let Some(s) = &schedule.hourly {
        (timezone, minute) = (zone(&s.timezone), s.minute);
    } else if let Some(s) = &schedule.daily {
        (timezone, minute, hour) = (zone(&s.timezone), s.minute, s.hour);
    } else if let Some(s) = &schedule.weekly {
        (timezone, minute, hour) = (zone(&s.timezone), s.minute, s.hour);
        day_of_week = Some(s.day_of_week.clone());
    } else if let Some(s) = &schedule.monthly {
        (timezone, minute, hour, day) = (zone(&s.timezone), s.minute, s.hour, s.day);
    } else if let Some(s) = &schedule.custom {
        (timezone, cron) = (zone(&s.timezone), Some(s.cron.clone()));
    }
    let schedule = Schedule {
        cadence: &schedule.cadence,
        timezone: timezone.as_deref(),
        minute,
        hour,
        day_of_week: day_of_week.as_deref(),
        day,
        cron: cron.as_deref(),
    };
    schedule.due(from, until).unwrap_or_default().into_iter().collect()
}

/// What happens to a project.
enum Event {
    Scheduled,
    Api,
    View { runs: bool },
}

/// A day of the workspace. Gives how many runs each project had.
fn pass_day(
    server: &SimServer,
    habits: &HashMap<ProjectId, Habits>,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    rng: &mut ChaCha8Rng,
) -> BTreeMap<ProjectId, u64> {
    let mut ran = BTreeMap::new();
    let mut world = server.world_mut();
    let config = world.config.clone();
    for record in &mut world.projects {
        let Some(habits) = habits.get(&record.project.id) else { continue };
        let mut events: Vec<(DateTime<Utc>, Event)> = Vec::new();
        let put_away = record.project.archived_at.is_some() || record.project.trashed_at.is_some();
        for schedule in record.project.schedules.iter().filter(|schedule| schedule.enabled && !put_away) {
            let times = due(schedule, from, until).into_iter().filter(|_| !rng.random_bool(0.025));
            events.extend(times.map(|at| (at, Event::Scheduled)));
        }
        events
            .extend(moments(habits.api_runs_a_day, from, until, rng).into_iter().map(|at| (at, Event::Api)));
        for at in moments(habits.views_a_day, from, until, rng) {
            events.push((at, Event::View { runs: rng.random_bool(0.3) }));
        }
        events.sort_by_key(|(at, _)| *at);
        for (at, event) in events {
            let ended = at + TimeDelta::seconds(30);
            let analytics = &mut record.project.analytics;
            let trigger = match event {
                Event::Scheduled => {
                    analytics.published_results_updated_at = Some(ended.to_rfc3339());
                    "SCHEDULED"
                }
                Event::Api => "API",
                Event::View { runs } => {
                    analytics.app_views.all_time += 1;
                    analytics.last_viewed_at = Some(at.to_rfc3339());
                    if !runs {
                        continue;
                    }
                    "APP_REFRESH"
                }
            };
            let runs = World::runs_mut(&config, record);
            let number = runs.iter().map(|run| run.number).max().map_or(0, |number| number + 1);
            let (status, elapsed_ms) = ("COMPLETED", Some(29_000));
            runs.insert(0, RunSpec { number, triggered: at, elapsed_ms, status, trigger, api: None });
            *ran.entry(record.project.id.clone()).or_default() += 1;
        }
    }
    let count = world.projects.len();
    drop(world);
    server.set_now(until);
    for (change, share) in [(Change::Edit, 0.02), (Change::Publish, 0.007)] {
        for _ in 0..(count as f64 * share) as usize {
            server.change(change, rng.random_range(0..count));
        }
    }
    ran
}

/// A lake, what its exports have asked for, and how late they saw each run.
struct Nightly {
    name: &'static str,
    freshness: Freshness,
    folder: tempfile::TempDir,
    /// Requests by operation, without those of the first night.
    of_operations: BTreeMap<&'static str, u64>,
    unseen: BTreeMap<ProjectId, Vec<(u32, u64)>>,
    /// Runs by the nights that passed until they were seen.
    lateness: BTreeMap<u32, u64>,
    latest_put_away: u32,
}

impl Nightly {
    fn new(name: &'static str, freshness: Freshness) -> Self {
        Self {
            name,
            freshness,
            folder: tempfile::tempdir().expect("a folder"),
            of_operations: BTreeMap::new(),
            unseen: BTreeMap::new(),
            lateness: BTreeMap::new(),
            latest_put_away: 0,
        }
    }

    async fn export(
        &mut self,
        server: &SimServer,
        night: u32,
        at: DateTime<Utc>,
        put_away: &HashSet<ProjectId>,
    ) {
        server.clear_requests();
        let mut config = ClientConfig::new(BaseUrl::default(), Token::new("bench").expect("a token"));
        config.transport = Some(Arc::new(InProcess::to(server)));
        config.pace = Pace::unlimited();
        let client = Client::new(config).expect("a client");
        let names: Vec<String> =
            hexport::tables::ENTITIES.iter().map(|table| table.name.to_owned()).collect();
        let options = Options {
            tables: choose(&names).expect("tables"),
            base_url: "bench".into(),
            freshness: self.freshness,
            fixed_time: Some(at),
            ..Options::default()
        };
        let lake = Lake::new(self.folder.path());
        let done = export(Source::Api(client), &lake, options, Arc::new(Quiet), Stop::default()).await;
        let done = done.expect("an export");
        assert!(done.manifest.complete, "{:?}", done.gaps().next());
        let policy = Policy { last: 2, ..Policy::default() };
        let plan = lake.prune_plan(&policy, hexport::registry::all()).expect("a plan");
        lake.carry_out(&plan).expect("pruned");
        for request in server.requests() {
            let operation = request.operation().unwrap_or("none");
            if night > 0 {
                *self.of_operations.entry(operation).or_default() += 1;
            }
            let path = request.target.split('?').next().unwrap_or_default();
            let Some(project) = path.strip_prefix("/projects/").and_then(|path| path.strip_suffix("/runs"))
            else {
                continue;
            };
            for (since, runs) in self.unseen.remove(project).unwrap_or_default() {
                let nights = night - since;
                *self.lateness.entry(nights).or_default() += runs;
                if put_away.contains(project) {
                    self.latest_put_away = self.latest_put_away.max(nights);
                }
            }
        }
    }

    fn print(&self, nights: u32, beside: Option<&Nightly>) {
        let seen: u64 = self.lateness.values().sum();
        let same = self.lateness.get(&0).copied().unwrap_or(0) as f64 / seen.max(1) as f64;
        let unseen: u64 = self.unseen.values().flatten().map(|(_, runs)| runs).sum();
        let oldest = self.unseen.values().flatten().map(|(since, _)| nights - since).max().unwrap_or(0);
        let latest = self.lateness.keys().max().copied().unwrap_or(0);
        let share = |of: fn(&Nightly) -> u64| {
            beside.map_or(String::new(), |other| {
                format!(" ({:.3} of {})", of(self) as f64 / of(other) as f64, other.name)
            })
        };
        let requests = |of: &Nightly| of.of_operations.values().sum::<u64>();
        let of_runs = |of: &Nightly| of.of_operations.get(GET_PROJECT_RUNS.id).copied().unwrap_or_default();
        println!(
            "  {}: {} requests a night{}, {} of them for run histories{}; {:.3} % of {seen} runs seen the same night, \
             the latest after {latest} nights (put away: {}); {unseen} not seen yet, since {oldest} nights",
            self.name,
            requests(self) / u64::from(nights),
            share(requests),
            of_runs(self) / u64::from(nights),
            share(of_runs),
            same * 100.0,
            self.latest_put_away,
        );
        for (operation, sum) in &self.of_operations {
            println!("    {operation}: {:.1}", *sum as f64 / f64::from(nights));
        }
    }
}

async fn nights(projects: usize, nights: u32) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let world = WorldConfig { projects, ..WorldConfig::default() };
    let epoch = world.epoch;
    let server = SimServer::unbound(SimConfig { world, ..SimConfig::default() });
    let habits = draw_habits(&server.world(), &mut rng);
    let away = |record: &&hexport::sim::ProjectRecord| {
        record.project.archived_at.is_some() || record.project.trashed_at.is_some()
    };
    let put_away: HashSet<ProjectId> =
        server.world().projects.iter().filter(away).map(|record| record.project.id.clone()).collect();
    let mut exact = Nightly::new("exact", Freshness::Exact);
    let mut within = Nightly::new("7d", Freshness::Within(TimeDelta::days(7)));
    let mut before = epoch;
    for night in 0..=nights {
        // Nights begin up to 20 minutes late.
        let at = epoch + TimeDelta::days(i64::from(night)) + TimeDelta::seconds(rng.random_range(60..1200));
        let ran = pass_day(&server, &habits, (before, at), &mut rng);
        for lake in [&mut exact, &mut within] {
            for (project, runs) in &ran {
                lake.unseen.entry(project.clone()).or_default().push((night, *runs));
            }
            lake.export(&server, night, at, &put_away).await;
        }
        before = at;
    }
    println!("{projects} projects, {nights} nights after the first; revalidation within 14 days");
    exact.print(nights, None);
    within.print(nights, Some(&exact));
}

fn main() {
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let size = (number("HEXPORT_PROJECTS", 3_000), number("HEXPORT_NIGHTS", 90) as u32);
    runtime.block_on(nights(size.0, size.1));
}
