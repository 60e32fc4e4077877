//! The generator: a whole workspace from a seed and a size, and the truth about it.

mod cells;
mod connections;
mod people;
mod projects;
mod runs;
mod semantic;
mod threads;

use std::collections::HashMap;
use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use rand::RngExt;

use crate::client::collections::Collection;
use crate::client::connections::DataConnection;
use crate::client::groups::Group;
use crate::client::guides::DraftGuide;
use crate::client::threads::{Thread, Topic};
use crate::client::users::User;

use super::rng;
use super::sql::Catalog;

use connections::connections;
use people::{collections, groups, users};

pub use cells::Authored;
pub use projects::ProjectRecord;
pub use runs::{ApiRun, RunSpec};
pub use semantic::SemanticProject;

/// A workspace's plan; queried tables need `Enterprise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Free.
    Community,
    /// Paid, single people.
    Professional,
    /// Paid, teams.
    Team,
    /// Paid, with everything.
    Enterprise,
}

/// Parameters of the generator.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Seed: the same seed and sizes give the same workspace.
    pub seed: u64,
    /// Projects and components, archived and trashed ones included.
    pub projects: usize,
    /// Mean number of runs of a published project.
    pub runs_per_project: f64,
    /// Mean number of cells of a project.
    pub cells_per_project: f64,
    /// The workspace's plan.
    pub plan: Plan,
    /// The moment the workspace is generated for; nothing in it is younger.
    pub epoch: DateTime<Utc>,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 42,
            projects: 60,
            runs_per_project: 40.0,
            cells_per_project: 14.0,
            plan: Plan::Enterprise,
            epoch: Utc.with_ymd_and_hms(2026, 11, 2, 6, 0, 0).single().expect("a valid time"),
        }
    }
}

/// A generated workspace.
#[derive(Debug)]
pub struct World {
    /// Parameters that it was generated from.
    pub config: WorldConfig,
    /// The organisation's identifier.
    pub org_id: String,
    /// Users; deactivated ones are not among them.
    pub users: Vec<User>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Members of each group, as indexes of users.
    pub members: Vec<Vec<usize>>,
    /// Collections.
    pub collections: Vec<Collection>,
    /// Data connections.
    pub connections: Vec<DataConnection>,
    /// Tables behind each connection.
    pub catalogs: Vec<Catalog>,
    /// Projects, the youngest first.
    pub projects: Vec<ProjectRecord>,
    /// Agent threads, the youngest first.
    pub threads: Vec<Thread>,
    /// Thread topics.
    pub topics: Vec<Topic>,
    /// Prompts and answers of threads that were prompted over the API, by thread.
    pub messages: HashMap<String, Vec<String>>,
    /// Draft guides.
    pub guides: Vec<DraftGuide>,
    /// Semantic projects.
    pub semantic_projects: Vec<SemanticProject>,
    /// Status labels of the workspace.
    pub statuses: Vec<&'static str>,
    /// Components that cells import: identifier and version.
    components: Vec<(String, i64)>,
    /// Things made after the generation.
    made: u64,
    /// Places of projects by identifier; rebuilt when projects come or go.
    places: OnceLock<HashMap<String, usize>>,
}

const THEMES: [&str; 22] = [
    "Revenue",
    "Churn",
    "Onboarding funnel",
    "Marketing attribution",
    "Weekly KPIs",
    "Customer 360",
    "Fraud review",
    "Forecast",
    "Inventory",
    "Support load",
    "Pricing test",
    "Cohorts",
    "Board deck",
    "LTV model",
    "Ad spend",
    "Data quality",
    "Payroll check",
    "Renewals",
    "Experiment readout",
    "Usage by plan",
    "Região São Paulo",
    "顧客分析",
];
const STATUSES: [&str; 6] =
    ["Approved", "In development", "Production", "Deprecated", "Exploratory", "Needs review"];

/// A time as Hex writes it: UTC with milliseconds.
pub fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl World {
    /// A number for something that is made after the generation, unlike any before it.
    pub(super) fn serial(&mut self) -> u64 {
        self.made += 1;
        1_000_000 + self.made
    }

    /// An identifier for something that is made now.
    pub(super) fn new_id(&mut self, kind: &str, now: DateTime<Utc>) -> String {
        let serial = self.serial();
        rng::uuid7(self.config.seed, kind, serial, now)
    }

    /// Generates a workspace.
    pub fn generate(config: WorldConfig) -> Self {
        let seed = config.seed;
        let mut rng = rng::of(seed, "world", 0);
        let size = config.projects as f64;
        let users = users(&config, (size.powf(0.7) * 1.2) as usize + 8);
        let gone: Vec<String> = (0..users.len() / 12 + 2).map(|i| format!("gone.{i}@acme.example")).collect();
        let (groups, members) = groups(&config, users.len(), 4 + users.len() / 15);
        let collections = collections(&config, &users, &groups, 3 + config.projects / 25);
        let (connections, catalogs) = connections(&config, &groups, 4 + size.powf(0.4) as usize);
        let mut world = Self {
            org_id: rng::uuid(seed, "org", 0),
            users,
            groups,
            members,
            collections,
            connections,
            catalogs,
            projects: Vec::with_capacity(config.projects),
            threads: Vec::new(),
            topics: Vec::new(),
            messages: HashMap::new(),
            guides: Vec::new(),
            semantic_projects: semantic::projects(seed),
            components: Vec::new(),
            statuses: STATUSES.to_vec(),
            made: 0,
            places: OnceLock::new(),
            config,
        };
        world.projects = (0..world.config.projects).map(|i| world.make_project(i as u64, &gone)).collect();
        let components = world.projects.iter().filter(|record| record.project.kind == "COMPONENT");
        world.components =
            components.map(|record| (record.project.id.to_string(), record.version.max(1))).collect();
        world.projects.sort_by(|a, b| {
            (&b.project.created_at, &b.project.id).cmp(&(&a.project.created_at, &a.project.id))
        });
        world.topics = ["Billing", "Churn", "Growth", "Data quality", "Other"]
            .iter()
            .enumerate()
            .map(|(i, name)| Topic { id: rng::uuid(seed, "topic", i as u64), name: (*name).into() })
            .collect();
        world.topics.sort_by(|a, b| a.name.cmp(&b.name));
        world.threads = (0..10 + world.config.projects / 4).map(|i| world.make_thread(i as u64)).collect();
        world.threads.sort_by(|a, b| b.created_at.cmp(&a.created_at));
        world.guides = (0..3 + rng.random_range(0..4))
            .map(|i| DraftGuide {
                id: rng::uuid(seed, "guide", i),
                file_path: format!("guides/topic-{i}.md"),
            })
            .collect();
        world
    }
}

#[cfg(test)]
mod tests {
    use super::runs::due_times;
    use super::*;
    use crate::client::projects::{Daily, Schedule};

    #[test]
    fn the_same_seed_gives_the_same_world_and_another_seed_another() {
        let world = |seed| World::generate(WorldConfig { seed, ..WorldConfig::default() });
        let (a, b, c) = (world(1), world(1), world(2));
        let text = |w: &World| -> String {
            w.projects.iter().map(|p| format!("{:?}{:?}{:?}", p.project, w.runs(p), w.cells(p))).collect()
        };
        assert_eq!(text(&a), text(&b));
        assert_ne!(text(&a), text(&c));
    }

    #[test]
    fn a_project_made_after_another_was_deleted_is_a_new_one() {
        let mut world = World::generate(WorldConfig { projects: 20, ..WorldConfig::default() });
        let now = world.config.epoch;
        let first = world.create_project(now, "a".into(), None);
        let id = world.projects[first].project.id.clone();
        world.delete_project(5);
        let second = world.create_project(now, "b".into(), None);
        assert_ne!(world.projects[second].project.id, id);
    }

    #[test]
    fn runs_are_newest_first_and_only_of_published_projects() {
        let world = World::generate(WorldConfig { projects: 300, ..WorldConfig::default() });
        for record in &world.projects {
            let runs = world.runs(record);
            assert!(runs.windows(2).all(|w| w[0].triggered >= w[1].triggered));
            assert!(runs.is_empty() || record.project.last_published_at.is_some());
            assert!(runs.iter().all(|run| run.triggered <= world.config.epoch));
        }
        let total: usize = world.projects.iter().map(|p| world.runs(p).len()).sum();
        assert!(total > 1000, "{total}");
    }

    #[test]
    fn a_daily_schedule_is_due_at_its_local_hour() {
        let until: DateTime<Utc> = "2026-11-02T06:00:00Z".parse().unwrap();
        let daily = Daily { timezone: "+09:00".into(), minute: 30, hour: 8 };
        let schedule =
            Schedule { cadence: "DAILY".into(), enabled: true, daily: Some(daily), ..Schedule::default() };
        let times: Vec<String> = due_times(&schedule, until).take(2).map(iso).collect();
        assert_eq!(times, ["2026-11-01T23:30:00.000Z", "2026-10-31T23:30:00.000Z"]);
    }
}
