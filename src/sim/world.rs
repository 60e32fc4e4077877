//! The generator: a whole workspace from a seed and a size, and the truth about it.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use chrono::{
    DateTime, Datelike, Duration, NaiveDate, SecondsFormat, TimeDelta, TimeZone, Timelike, Utc, Weekday,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::client::cells::{Cell, Source, SqlSource};
use crate::client::collections::{Collection, CollectionSharing, Creator, IdGrant, MembersAccess};
use crate::client::connections::{
    ConnectionGroupGrant, ConnectionSharing, ConnectionWorkspaceAccess, DataConnection, GroupRef,
};
use crate::client::groups::Group;
use crate::client::guides::DraftGuide;
use crate::client::projects::{
    Access, Analytics, AppViews, Category, CollectionGrant, Custom, Daily, GroupGrant, Hourly, Monthly,
    Named, Person, Project, QueriedTable, Reviews, Schedule, Sharing, Status, UserGrant, Weekly,
};
use crate::client::runs::{NotificationRecipient, Recipient, Run, StateEvent};
use crate::client::threads::{Thread, Topic};
use crate::client::users::User;

use super::rng::{self, chance, pick, skewed};
use super::sql::{self, Catalog, CellTruth};

/// A workspace's plan; queried tables need `Enterprise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
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

/// What to generate.
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

/// A run in short; the long form is made when it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    /// Number of the run within its project, from 0, the oldest.
    pub number: u32,
    /// When it was triggered.
    pub triggered: DateTime<Utc>,
    /// Elapsed milliseconds, once it has ended.
    pub elapsed_ms: Option<u32>,
    /// Status.
    pub status: &'static str,
    /// Trigger.
    pub trigger: &'static str,
    /// Identifier, where it isn't the generator's own (a run started over the API).
    pub id: Option<String>,
}

/// A project with what the API doesn't list beside it.
#[derive(Debug)]
pub struct ProjectRecord {
    /// Number, from 0: the seed of everything in it.
    pub index: u64,
    /// The project; its sharing is always set here.
    pub project: Project,
    /// Published versions so far.
    pub version: i64,
    /// How often it was edited over the API or by the moving workspace: changes its cells' ids.
    pub edits: u32,
    /// Edits that the published version has.
    pub published_edits: u32,
    /// Indexes of its collections.
    pub collections: Vec<usize>,
    /// Inputs of its app: name and type (`string`, `number`).
    pub inputs: Vec<(String, &'static str)>,
    runs: OnceLock<Vec<RunSpec>>,
    failure_rate: f64,
    median_ms: f64,
}

/// A generated workspace.
#[derive(Debug)]
pub struct World {
    /// What it was generated from.
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
    /// What each connection reaches.
    pub catalogs: Vec<Catalog>,
    /// Projects, the youngest first.
    pub projects: Vec<ProjectRecord>,
    /// Agent threads, the youngest first.
    pub threads: Vec<Thread>,
    /// Thread topics.
    pub topics: Vec<Topic>,
    /// Draft guides.
    pub guides: Vec<DraftGuide>,
    /// Status labels of the workspace.
    pub statuses: Vec<&'static str>,
    /// Projects made after the generation.
    made: u64,
    /// Places of projects by identifier; made anew when projects come or go.
    places: OnceLock<HashMap<String, usize>>,
}

const FIRST: [&str; 24] = [
    "Ada", "Grace", "Linus", "Margaret", "Zoë", "Søren", "Mikołaj", "Aiko", "Chidi", "Fatima", "Igor",
    "Jürgen", "Kavya", "Lucía", "Ming", "Noor", "Olu", "Priya", "Quentin", "Renée", "Sven", "Tariq", "Uma",
    "Yuki",
];
const LAST: [&str; 20] = [
    "Lovelace",
    "Hopper",
    "Okafor",
    "Hamilton",
    "Brontë",
    "Kierkegaard",
    "Nowak",
    "Tanaka",
    "Anagonye",
    "Haddad",
    "Petrov",
    "Müller",
    "Rao",
    "García",
    "Chen",
    "Khan",
    "Adeyemi",
    "Patel",
    "Dubois",
    "Lindqvist",
];
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
const SUFFIXES: [&str; 12] = [
    "dashboard",
    "explorer",
    "(draft)",
    "v2",
    "deep dive",
    "for finance",
    "EMEA",
    "APAC",
    "daily",
    "report",
    "model",
    "– copy",
];
const STATUSES: [&str; 6] =
    ["Approved", "In development", "Production", "Deprecated", "Exploratory", "Needs review"];
const CATEGORIES: [(&str, Option<&str>); 7] = [
    ("Finance", Some("Money in, money out")),
    ("Marketing", None),
    ("Product", Some("Usage and features")),
    ("Operations", None),
    ("Executive", Some("For the board, \"as is\"")),
    ("Machine learning", None),
    ("People", Some("Restricted: HR, payroll")),
];
const ZONES: [&str; 4] = ["+00:00", "-05:00", "+01:00", "+09:00"];
const CELL_TYPES: [&str; 9] =
    ["INPUT", "DISPLAY_TABLE", "CHART", "TEXT", "METRIC", "PIVOT", "FILTER", "MAP", "COMPONENT_IMPORT"];

/// A time as Hex writes it: UTC with milliseconds.
pub fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl World {
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
            guides: Vec::new(),
            statuses: STATUSES.to_vec(),
            made: 0,
            places: OnceLock::new(),
            config,
        };
        world.projects = (0..world.config.projects).map(|i| world.make_project(i as u64, &gone)).collect();
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

    fn make_project(&self, index: u64, gone: &[String]) -> ProjectRecord {
        let config = &self.config;
        let mut rng = rng::of(config.seed, "project", index);
        let r = &mut rng;
        let epoch = config.epoch;
        let age_minutes = 1 + (r.random::<f64>().powi(2) * 3.0 * 365.0 * 1440.0) as i64;
        let created =
            epoch - TimeDelta::minutes(age_minutes) - TimeDelta::milliseconds(r.random_range(0..60_000));
        let component = chance(r, 0.08);
        let published = chance(r, 0.62);
        let edited = created + (epoch - created).mul_f64(1.0 - r.random::<f64>().powi(2));
        let published_at =
            published.then(|| created + (edited - created).mul_f64(0.5 + 0.5 * r.random::<f64>()));
        let archived = chance(r, 0.11).then(|| edited + (epoch - edited).mul_f64(r.random()));
        let trashed = chance(r, 0.04).then(|| edited + (epoch - edited).mul_f64(r.random()));
        let creator = self.user_email(r, gone, 0.07);
        let owner = if chance(r, 0.8) { creator.clone() } else { self.user_email(r, gone, 0.05) };
        let mut title = format!("{} {}", pick(r, &THEMES), pick(r, &SUFFIXES));
        if chance(r, 0.5) {
            title += &format!(" {}", r.random_range(1..400));
        }
        match index {
            3 => title = "<script>alert(\"x\")</script>".into(),
            5 => title = "Quotes \"and\", commas; and a\nline break".into(),
            7 => title = "🚀 Große Übersicht – 日本語".into(),
            _ => {}
        }
        let schedules = match (published, r.random::<f64>()) {
            (true, x) if x < 0.36 => (0..if x < 0.02 { 2 } else { 1 }).map(|_| schedule(r)).collect(),
            _ => Vec::new(),
        };
        let views = if published { (r.random::<f64>().powi(4) * 4000.0) as i64 } else { 0 };
        let recent = if chance(r, 0.3) { 0 } else { (views as f64 * r.random::<f64>() * 0.2) as i64 };
        let refreshed =
            published_at.filter(|_| chance(r, 0.8)).map(|at| at + (epoch - at).mul_f64(r.random()));
        let mut in_collections: BTreeSet<usize> = BTreeSet::new();
        for _ in 0..[0, 0, 1, 1, 2][r.random_range(0..5)] {
            in_collections.insert(skewed(r, self.collections.len()));
        }
        let sharing = self.sharing(r, &owner, &in_collections);
        let project = Project {
            id: rng::uuid(config.seed, "project", index),
            title,
            description: chance(r, 0.6).then(|| format!("What we know about it.\nAsk {owner}, \"please\".")),
            kind: if component { "COMPONENT" } else { "PROJECT" }.into(),
            creator: Person { email: creator },
            owner: Person { email: owner },
            status: chance(r, 0.5).then(|| Status { name: pick(r, &STATUSES).to_owned() }),
            categories: {
                let chosen: BTreeSet<usize> =
                    (0..r.random_range(0..3)).map(|_| skewed(r, CATEGORIES.len())).collect();
                let category = |i: usize| Category {
                    name: CATEGORIES[i].0.into(),
                    description: CATEGORIES[i].1.map(Into::into),
                };
                chosen.into_iter().map(category).collect()
            },
            reviews: Reviews { required: chance(r, 0.1) },
            analytics: Analytics {
                published_results_updated_at: refreshed.map(iso),
                last_viewed_at: (views > 0)
                    .then(|| iso(epoch - TimeDelta::minutes((r.random::<f64>().powi(3) * 500_000.0) as i64))),
                app_views: AppViews {
                    last_thirty_days: recent,
                    last_fourteen_days: recent * 3 / 5,
                    last_seven_days: recent / 3,
                    all_time: views.max(recent),
                },
            },
            last_edited_at: iso(edited),
            last_published_at: published_at.map(iso),
            created_at: iso(created),
            archived_at: archived.map(iso),
            trashed_at: trashed.map(iso),
            schedules,
            sharing: Some(sharing),
        };
        let inputs = if published {
            vec![("selected_id".to_owned(), "string"), ("lower".to_owned(), "number")]
        } else {
            Vec::new()
        };
        let failure_rate = [0.0, 0.01, 0.02, 0.02, 0.05, 0.1, 0.35, 0.9][skewed(r, 8)];
        let median_ms = 2_000.0 * (r.random::<f64>() * 5.5).exp();
        ProjectRecord {
            index,
            project,
            version: if published { r.random_range(1..30) } else { 0 },
            edits: 0,
            published_edits: 0,
            collections: in_collections.into_iter().collect(),
            inputs,
            runs: OnceLock::new(),
            failure_rate,
            median_ms,
        }
    }

    /// Creates an unpublished project now, as a person in the workspace would.
    pub fn create_project(
        &mut self,
        now: DateTime<Utc>,
        title: String,
        description: Option<String>,
    ) -> usize {
        self.made += 1;
        let index = 1_000_000 + self.made;
        let mut record = self.make_project(index, &[]);
        let at = iso(now);
        let project = &mut record.project;
        project.title = title;
        project.description = description;
        project.kind = "PROJECT".into();
        (project.created_at, project.last_edited_at) = (at.clone(), at);
        (project.last_published_at, project.archived_at, project.trashed_at) = (None, None, None);
        project.analytics = Analytics::default();
        project.schedules.clear();
        record.inputs.clear();
        record.version = 0;
        record.runs = OnceLock::from(Vec::new());
        self.projects.insert(0, record);
        self.places = OnceLock::new();
        0
    }

    fn user_email(&self, r: &mut ChaCha8Rng, gone: &[String], left: f64) -> String {
        if !gone.is_empty() && chance(r, left) {
            return gone[r.random_range(0..gone.len())].clone();
        }
        self.users[skewed(r, self.users.len())].email.clone()
    }

    fn sharing(&self, r: &mut ChaCha8Rng, owner: &str, collections: &BTreeSet<usize>) -> Sharing {
        let levels = ["APP_ONLY", "CAN_VIEW", "CAN_EDIT", "FULL_ACCESS"];
        let mut users =
            vec![UserGrant { access: "FULL_ACCESS".into(), user: Person { email: owner.into() } }];
        for _ in 0..skewed(r, 5) {
            let email = self.users[skewed(r, self.users.len())].email.clone();
            if users.iter().all(|grant| grant.user.email != email) {
                users.push(UserGrant { access: pick(r, &levels).into(), user: Person { email } });
            }
        }
        let chosen: BTreeSet<usize> = (0..skewed(r, 4)).map(|_| skewed(r, self.groups.len())).collect();
        let group = |i: usize, access: &str| GroupGrant {
            access: access.into(),
            group: Named { name: self.groups[i].name.clone() },
        };
        let collection = |i: usize| Named { name: self.collections[i].name.clone() };
        Sharing {
            users,
            groups: chosen.into_iter().map(|i| group(i, pick(r, &levels))).collect(),
            collections: collections
                .iter()
                .map(|i| CollectionGrant { access: pick(r, &levels).into(), collection: collection(*i) })
                .collect(),
            workspace: Access {
                access: pick(r, &["NONE", "NONE", "APP_ONLY", "CAN_VIEW", "CAN_EDIT"]).into(),
            },
            public_web: Access { access: if chance(r, 0.03) { "APP_ONLY" } else { "NONE" }.into() },
            support: Access { access: if chance(r, 0.1) { "CAN_VIEW" } else { "NONE" }.into() },
        }
    }

    fn make_thread(&self, index: u64) -> Thread {
        let seed = self.config.seed;
        let r = &mut rng::of(seed, "thread", index);
        let private = chance(r, 0.1);
        let id = rng::uuid(seed, "thread", index);
        let created = self.config.epoch - TimeDelta::minutes(r.random_range(1..200_000));
        Thread {
            url: format!("https://app.hex.tech/{}/thread/{id}", self.org_id),
            id,
            org_id: self.org_id.clone(),
            title: (!private).then(|| format!("Why did {} move?", pick(r, &THEMES).to_lowercase())),
            credits_used: chance(r, 0.8).then(|| (r.random::<f64>() * 400.0).round() / 100.0),
            topics: if chance(r, 0.5) {
                vec![self.topics[skewed(r, self.topics.len())].clone()]
            } else {
                Vec::new()
            },
            warnings: if chance(r, 0.15) {
                let id = rng::uuid(seed, "warning", index);
                vec![json!({"id": id, "type": "DATA_LIMITATION", "summary": "Only recent data was used."})]
            } else {
                Vec::new()
            },
            feedback: if chance(r, 0.1) {
                let id = rng::uuid(seed, "feedback", index);
                let liked = chance(r, 0.6);
                vec![
                    json!({"id": id, "userFeedback": "", "type": "THUMBS", "selectedReason": null, "userLiked": liked}),
                ]
            } else {
                Vec::new()
            },
            warnings_generated_at: None,
            thread_summary: chance(r, 0.5).then(|| "A question about a figure.".to_owned()),
            thread_intent: chance(r, 0.3).then(|| "explain".to_owned()),
            model: chance(r, 0.7).then(|| "default".to_owned()),
            user_id: chance(r, 0.95).then(|| self.users[skewed(r, self.users.len())].id.clone()),
            kind: pick(r, &["THREADS", "NOTEBOOK", "MODELING"]).to_owned(),
            source: pick(r, &["HEX", "HEX", "SLACK", "MCP", "PUBLIC_API"]).to_owned(),
            created_at: iso(created),
            sensitive: private,
        }
    }

    /// A group's members, sorted by name as the API does.
    pub fn group_members(&self, group: usize) -> Vec<&User> {
        self.members[group].iter().map(|i| &self.users[*i]).collect()
    }

    /// Runs of a project, the newest first.
    pub fn runs<'a>(&self, record: &'a ProjectRecord) -> &'a [RunSpec] {
        record.runs.get_or_init(|| make_runs(&self.config, record))
    }

    /// Runs of a project, to add to.
    pub fn runs_mut<'a>(config: &WorldConfig, record: &'a mut ProjectRecord) -> &'a mut Vec<RunSpec> {
        if record.runs.get().is_none() {
            let runs = make_runs(config, record);
            let _ = record.runs.set(runs);
        }
        record.runs.get_mut().expect("set above")
    }

    /// Identifier of a run.
    pub fn run_id(&self, record: &ProjectRecord, spec: &RunSpec) -> String {
        match &spec.id {
            Some(id) => id.clone(),
            None => rng::uuid(
                self.config.seed,
                "run",
                record.index.wrapping_mul(1 << 24) + u64::from(spec.number),
            ),
        }
    }

    /// Page of a run: at Hex, whatever address the simulator is served at, so that the same seed gives the
    /// same answers.
    pub fn run_url(&self, project_id: &str, run_id: &str) -> String {
        format!("https://app.hex.tech/{}/app/{project_id}/runs/{run_id}", self.org_id)
    }

    /// A run as the API gives it.
    pub fn run(&self, record: &ProjectRecord, spec: &RunSpec) -> Run {
        let id = self.run_id(record, spec);
        let key = record.index.wrapping_mul(1 << 24) + u64::from(spec.number);
        let r = &mut rng::of(self.config.seed, "run-detail", key);
        let started = (spec.status != "PENDING")
            .then(|| spec.triggered + TimeDelta::milliseconds(r.random_range(50..900)));
        let ended = started.zip(spec.elapsed_ms).map(|(at, ms)| at + TimeDelta::milliseconds(i64::from(ms)));
        let trace_id = format!("{:032x}", r.random::<u128>());
        let state_events = chance(r, 0.2).then(|| {
            let event = |value: &str, at: DateTime<Utc>| StateEvent {
                kind: "STATUS".into(),
                value: value.into(),
                timestamp: iso(at),
            };
            let mut events = vec![event("PENDING", spec.triggered)];
            events.extend(started.map(|at| event("RUNNING", at)));
            events.extend(ended.map(|at| event(spec.status, at)));
            events
        });
        let notifications = (spec.trigger == "SCHEDULED" && record.index % 9 == 4).then(|| {
            vec![NotificationRecipient {
                kind: "FAILURE".into(),
                recipient_type: "SLACK_CHANNEL".into(),
                include_success_screenshot: false,
                recipient: Recipient {
                    id: "C024BE91L".into(),
                    name: "#data-alerts".into(),
                    is_private: Some(false),
                },
                ..NotificationRecipient::default()
            }]
        });
        Run {
            project_id: record.project.id.clone(),
            project_version: record.version.max(1),
            run_url: self.run_url(&record.project.id, &id),
            run_id: id,
            status: spec.status.into(),
            run_trigger: spec.trigger.into(),
            start_time: started.map(iso),
            end_time: ended.map(iso),
            elapsed_time: spec.elapsed_ms.map(f64::from),
            flag_config_override: None,
            trace_id,
            notifications,
            state_events,
        }
    }

    /// Cells of a project's draft, and the truth about what its SQL reads.
    pub fn cells(&self, record: &ProjectRecord) -> Vec<(Cell, CellTruth)> {
        self.cells_at(record, record.edits)
    }

    fn cells_at(&self, record: &ProjectRecord, edits: u32) -> Vec<(Cell, CellTruth)> {
        let config = &self.config;
        let r = &mut rng::of(config.seed, "cells", record.index + (u64::from(edits) << 40));
        let spread = -(1.0 - r.random::<f64>()).ln();
        let count = (1.0 + spread * (config.cells_per_project - 1.0)).round().clamp(0.0, 5000.0) as usize;
        let count = if record.index % 23 == 11 { 0 } else { count };
        let main = skewed(r, self.connections.len());
        let second = skewed(r, self.connections.len());
        let prefer = r.random_range(0..60);
        let mut frames: Vec<(String, Vec<String>)> = Vec::new();
        let mut cells = Vec::with_capacity(count);
        for at in 0..count {
            let key = record.index.wrapping_mul(1 << 20) + at as u64;
            let static_id = rng::uuid(config.seed, "cell", key);
            let version = key.wrapping_add(u64::from(edits) << 44);
            let mut cell = Cell {
                id: rng::uuid(config.seed, "cell-version", version),
                static_id,
                project_id: record.project.id.clone(),
                label: chance(r, 0.4).then(|| format!("Step {at}")),
                ..Cell::default()
            };
            let mut truth = CellTruth::default();
            match r.random_range(0..100) {
                0..=34 => {
                    cell.cell_type = "SQL".into();
                    let frame = format!("df_{at}");
                    let of_frame = !frames.is_empty() && chance(r, 0.25);
                    let made = if of_frame {
                        let (name, columns) = &frames[r.random_range(0..frames.len())];
                        sql::dataframe_query(r, name, columns)
                    } else {
                        let connection = if chance(r, 0.85) { main } else { second };
                        cell.data_connection_id = Some(self.connections[connection].id.clone());
                        sql::query(r, &self.catalogs[connection], prefer)
                    };
                    frames.push((frame.clone(), made.output));
                    truth = made.truth;
                    cell.contents.sql_cell = Some(SqlSource { source: made.source, output_dataframe: frame });
                }
                35..=59 => {
                    cell.cell_type = "CODE".into();
                    let source = format!("import pandas as pd\n\n# step {at}\nprint('Ünïcode ✓', {at})");
                    cell.contents.code_cell = Some(Source { source });
                }
                60..=74 => {
                    cell.cell_type = "MARKDOWN".into();
                    cell.contents.markdown_cell =
                        Some(Source { source: format!("## Part {at}\n\nSee `df_{at}`.") });
                }
                _ => cell.cell_type = pick(r, &CELL_TYPES).to_owned(),
            }
            cells.push((cell, truth));
        }
        cells
    }

    /// Tables that a project's published runs have queried: none for a project that was never published.
    pub fn queried_tables(&self, record: &ProjectRecord) -> Vec<QueriedTable> {
        if record.project.last_published_at.is_none() {
            return Vec::new();
        }
        let tables: BTreeSet<QueriedTable> = self
            .cells_at(record, record.published_edits)
            .iter()
            .flat_map(|(_, truth)| &truth.tables)
            .map(|table| QueriedTable {
                data_connection_id: self.connections[table.connection].id.clone(),
                data_connection_name: self.connections[table.connection].name.clone(),
                table_name: table.qualified(),
            })
            .collect();
        tables.into_iter().collect()
    }

    /// The project with this identifier.
    pub fn find_project(&self, id: &str) -> Option<usize> {
        let places = self.places.get_or_init(|| {
            self.projects.iter().enumerate().map(|(at, record)| (record.project.id.clone(), at)).collect()
        });
        places.get(&id.to_ascii_lowercase()).copied()
    }

    /// Deletes a project for good.
    pub fn delete_project(&mut self, at: usize) {
        self.projects.remove(at);
        self.places = OnceLock::new();
    }
}

fn users(config: &WorldConfig, count: usize) -> Vec<User> {
    let mut users: Vec<User> = (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "user", i as u64);
            let (first, last) = (pick(r, &FIRST), pick(r, &LAST));
            let ascii =
                |s: &str| s.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
            let role = match i {
                0 => "ADMIN",
                _ => pick(
                    r,
                    &[
                        "EDITOR", "EDITOR", "EDITOR", "EXPLORER", "EXPLORER", "MEMBER", "MANAGER", "GUEST",
                        "ADMIN",
                    ],
                ),
            };
            let idle = (r.random::<f64>().powi(3) * 600_000.0) as i64;
            User {
                id: rng::uuid(config.seed, "user", i as u64),
                name: chance(r, 0.97).then(|| format!("{first} {last}")),
                email: format!("{}.{}{i}@acme.example", ascii(first), ascii(last)),
                role: role.to_owned(),
                last_login_date: chance(r, 0.93).then(|| iso(config.epoch - TimeDelta::minutes(idle))),
            }
        })
        .collect();
    users[0].name = Some("Robin Admin".into());
    users
}

fn groups(config: &WorldConfig, users: usize, count: usize) -> (Vec<Group>, Vec<Vec<usize>>) {
    let teams = ["Finance", "Marketing", "Data", "Engineering", "Support", "Sales", "People", "Executives"];
    let groups = (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "group", i as u64);
            let name = match teams.get(i) {
                Some(team) => (*team).to_owned(),
                None => format!("{} {}", teams[i % teams.len()], i / teams.len()),
            };
            let created = config.epoch - TimeDelta::minutes(r.random_range(1000..900_000));
            Group { id: rng::uuid(config.seed, "group", i as u64), name, created_at: iso(created) }
        })
        .collect();
    let members = (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "members", i as u64);
            let share = match i {
                3 => 0.0,
                0..=2 => 0.6,
                _ => 0.02 + 0.2 * r.random::<f64>(),
            };
            (0..users).filter(|_| chance(r, share)).collect()
        })
        .collect();
    (groups, members)
}

fn collections(config: &WorldConfig, users: &[User], groups: &[Group], count: usize) -> Vec<Collection> {
    (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "collection", i as u64);
            let creator = &users[skewed(r, users.len())];
            let member = &users[skewed(r, users.len())];
            Collection {
                id: rng::uuid(config.seed, "collection", i as u64),
                name: format!("{} {}", pick(r, &THEMES), i + 1),
                description: chance(r, 0.5).then(|| "Kept tidy, mostly.".to_owned()),
                creator: chance(r, 0.95)
                    .then(|| Creator { email: creator.email.clone(), id: creator.id.clone() }),
                sharing: CollectionSharing {
                    users: Some(vec![IdGrant { access: "MANAGER".into(), id: member.id.clone() }]),
                    groups: chance(r, 0.5).then(|| {
                        vec![IdGrant {
                            access: "MEMBER".into(),
                            id: groups[skewed(r, groups.len())].id.clone(),
                        }]
                    }),
                    workspace: chance(r, 0.6)
                        .then(|| MembersAccess { members: Some(pick(r, &["NONE", "MEMBER"]).into()) }),
                },
            }
        })
        .collect()
}

fn connections(config: &WorldConfig, groups: &[Group], count: usize) -> (Vec<DataConnection>, Vec<Catalog>) {
    (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "connection", i as u64);
            let kind = if i < sql::KINDS.len() { sql::KINDS[i] } else { sql::KINDS[skewed(r, sql::KINDS.len())] };
            let catalog = sql::catalog(r, i, kind);
            let grants: Vec<ConnectionGroupGrant> = (0..skewed(r, 4))
                .map(|_| skewed(r, groups.len()))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|g| ConnectionGroupGrant {
                    access: pick(r, &["QUERY", "VIEW_RESULTS"]).into(),
                    group: GroupRef { name: groups[g].name.clone(), id: groups[g].id.clone() },
                })
                .collect();
            let connection = DataConnection {
                id: rng::uuid(config.seed, "connection", i as u64),
                name: format!("{} {}", pick(r, &["Warehouse", "Analytics", "Product DB", "Lake", "Legacy"]), i + 1),
                kind: kind.into(),
                description: chance(r, 0.6).then(|| format!("Main {kind} for reporting")),
                connection_details: Some(details(kind, &catalog)),
                connect_via_ssh: Some(chance(r, 0.2)),
                include_magic: Some(chance(r, 0.7)),
                allow_writeback_cells: Some(chance(r, 0.25)),
                schema_filters: chance(r, 0.3).then(|| {
                    json!({"schemas": {"include": {"matchType": "PREFIX", "values": ["core", "sales"]},
                           "exclude": {"matchType": "EXACT", "values": ["hr_private"]}}})
                }),
                schema_refresh_schedule: chance(r, 0.4).then(|| {
                    json!({"cadence": "DAILY", "enabled": true, "daily": {"timezoneString": "+00:00", "hour": 4, "minute": 30}})
                }),
                schema_refresh_access: Some(pick(r, &["ADMINS", "USERS_WITH_QUERY_ACCESS"]).into()),
                sharing: Some(ConnectionSharing {
                    workspace: Some(ConnectionWorkspaceAccess {
                        public: chance(r, 0.5).then(|| "NONE".to_owned()),
                        guests: chance(r, 0.7).then(|| pick(r, &["NONE", "VIEW_RESULTS"]).to_owned()),
                        members: Some(pick(r, &["QUERY", "VIEW_RESULTS", "NONE"]).into()),
                    }),
                    groups: Some(grants),
                }),
            };
            (connection, catalog)
        })
        .unzip()
}

fn details(kind: &str, catalog: &Catalog) -> Value {
    let database = catalog.database.clone();
    let host = format!("{kind}.acme.example");
    let inner = match kind {
        "athena" => {
            json!({"accessKeyId": "AKIAEXAMPLE", "workgroup": "primary", "catalog": database, "s3OutputPath": "s3://acme-athena/out", "port": 443, "hostname": host})
        }
        "bigquery" => json!({"projectId": database, "enableStorageApi": true, "enableDriveAccess": false}),
        "clickhouse" => json!({"username": "hex", "port": 8443, "hostname": host}),
        "databricks" => {
            json!({"jdbcUrl": format!("jdbc:databricks://{host}:443/default;ConnCatalog={}", database.unwrap_or_default())})
        }
        "postgres" => json!({"username": "hex", "database": database, "port": 5432, "hostname": host}),
        "redshift" => json!({"username": "hex", "database": database, "port": 5439, "host": host}),
        "snowflake" => {
            json!({"role": "REPORTER", "username": "HEX", "schema": catalog.schema, "database": database, "warehouse": "WH_S", "accountName": "acme-eu"})
        }
        _ => {
            json!({"sessionProperties": [{"key": "query_max_run_time", "value": "10m"}], "username": "hex", "schema": catalog.schema, "catalog": database, "port": 443, "hostname": host})
        }
    };
    json!({ kind: inner })
}

fn schedule(r: &mut ChaCha8Rng) -> Schedule {
    let timezone = pick(r, &ZONES).to_owned();
    let (hour, minute) = (r.random_range(0..24), r.random_range(0..60));
    let mut schedule = Schedule { enabled: chance(r, 0.88), ..Schedule::default() };
    match r.random_range(0..10) {
        0 | 1 => {
            schedule.cadence = "HOURLY".into();
            schedule.hourly = Some(Hourly { timezone, minute });
        }
        2..=5 => {
            schedule.cadence = "DAILY".into();
            schedule.daily = Some(Daily { timezone, minute, hour });
        }
        6 | 7 => {
            schedule.cadence = "WEEKLY".into();
            let day_of_week = pick(r, &["MONDAY", "WEDNESDAY", "SUNDAY"]).to_owned();
            schedule.weekly = Some(Weekly { timezone, minute, hour, day_of_week });
        }
        8 => {
            schedule.cadence = "MONTHLY".into();
            schedule.monthly = Some(Monthly { timezone, minute, hour, day: r.random_range(1..29) });
        }
        _ => {
            schedule.cadence = "CUSTOM".into();
            let cron = match r.random_range(0..3) {
                0 => format!("{minute} {hour} * * 1-5"),
                1 => format!("{minute} */6 * * *"),
                _ => format!("{minute} {hour} * * *"),
            };
            schedule.custom = Some(Custom { timezone, cron });
        }
    }
    schedule
}

/// The times at which a schedule was due, the latest first, from `until` back.
fn due_times(schedule: &Schedule, until: DateTime<Utc>) -> Box<dyn Iterator<Item = DateTime<Utc>>> {
    let offset = |zone: &str| -> TimeDelta {
        let (sign, rest) = zone.split_at(1);
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let minutes = hours.parse::<i64>().unwrap_or(0) * 60 + minutes.parse::<i64>().unwrap_or(0);
        TimeDelta::minutes(if sign == "-" { -minutes } else { minutes })
    };
    let daily = move |zone: String, hour: i64, minute: i64, keep: Box<dyn Fn(NaiveDate) -> bool>| {
        let shift = offset(&zone);
        let local = (until + shift).date_naive();
        let time = TimeDelta::minutes(hour * 60 + minute);
        (0..)
            .map(move |back| local - Duration::days(back))
            .filter(move |day| keep(*day))
            .map(move |day| day.and_time(chrono::NaiveTime::MIN).and_utc() + time - shift)
            .skip_while(move |at| *at > until)
    };
    let hours = move |step: u32, minute: u32, zone: String| {
        let shift = offset(&zone);
        let local = until + shift;
        let top = local
            .with_minute(minute)
            .and_then(|t| t.with_second(0))
            .and_then(|t| t.with_nanosecond(0))
            .unwrap_or(local);
        (0..)
            .map(move |back| top - TimeDelta::hours(back))
            .filter(move |at| at.hour() % step == 0)
            .map(move |at| at - shift)
            .skip_while(move |at| *at > until)
    };
    if let Some(s) = schedule.hourly.clone() {
        return Box::new(hours(1, s.minute as u32, s.timezone));
    }
    if let Some(s) = schedule.daily.clone() {
        return Box::new(daily(s.timezone, s.hour, s.minute, Box::new(|_| true)));
    }
    if let Some(s) = schedule.weekly.clone() {
        let day = match s.day_of_week.as_str() {
            "MONDAY" => Weekday::Mon,
            "WEDNESDAY" => Weekday::Wed,
            _ => Weekday::Sun,
        };
        return Box::new(daily(s.timezone, s.hour, s.minute, Box::new(move |d| d.weekday() == day)));
    }
    if let Some(s) = schedule.monthly.clone() {
        return Box::new(daily(s.timezone, s.hour, s.minute, Box::new(move |d| i64::from(d.day()) == s.day)));
    }
    if let Some(s) = schedule.custom.clone() {
        let fields: Vec<&str> = s.cron.split(' ').collect();
        let minute: i64 = fields[0].parse().unwrap_or(0);
        if fields[1].starts_with("*/") {
            return Box::new(hours(6, minute as u32, s.timezone));
        }
        let weekdays = fields[4] == "1-5";
        let keep = move |d: NaiveDate| !weekdays || d.weekday().number_from_monday() <= 5;
        return Box::new(daily(s.timezone, fields[1].parse().unwrap_or(0), minute, Box::new(keep)));
    }
    Box::new(std::iter::empty())
}

fn make_runs(config: &WorldConfig, record: &ProjectRecord) -> Vec<RunSpec> {
    let Some(published) =
        record.project.last_published_at.as_deref().and_then(|t| t.parse::<DateTime<Utc>>().ok())
    else {
        return Vec::new();
    };
    let r = &mut rng::of(config.seed, "runs", record.index);
    let spread = -(1.0 - r.random::<f64>()).ln();
    let wanted = (spread * config.runs_per_project).round() as usize;
    let frozen = [&record.project.archived_at, &record.project.trashed_at];
    let until = frozen.iter().filter_map(|t| t.as_deref()?.parse().ok()).fold(config.epoch, DateTime::min);
    let mut due: Vec<(DateTime<Utc>, &'static str)> = Vec::new();
    for schedule in record.project.schedules.iter().filter(|s| s.enabled) {
        // One slot in forty is missed, as happens.
        let times = due_times(schedule, until).take_while(|at| *at > published).take(wanted);
        due.extend(times.filter(|_| !chance(r, 0.025)).map(|at| (at, "SCHEDULED")));
    }
    let others = if due.is_empty() { wanted } else { due.len() / 12 };
    let span = (until - published).num_milliseconds().max(1);
    for _ in 0..others {
        let back = (r.random::<f64>().powi(2) * span as f64) as i64;
        due.push((until - TimeDelta::milliseconds(back), if chance(r, 0.5) { "API" } else { "APP_REFRESH" }));
    }
    due.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let total = due.len() as u32;
    let failing_lately = if chance(r, 0.06) { r.random_range(3..12) } else { 0 };
    due.into_iter()
        .enumerate()
        .map(|(at, (triggered, trigger))| {
            let young = at == 0 && (config.epoch - triggered) < TimeDelta::minutes(20);
            let status = match r.random::<f64>() {
                _ if young && chance(r, 0.5) => pick(r, &["RUNNING", "PENDING"]),
                _ if at < failing_lately => "ERRORED",
                x if x < record.failure_rate => "ERRORED",
                x if x > 0.993 => "UNABLE_TO_ALLOCATE_KERNEL",
                x if x > 0.985 => "KILLED",
                _ => "COMPLETED",
            };
            // A sum of uniforms stands in for a normal variable: durations are log-normal.
            let normal: f64 = (0..6).map(|_| r.random::<f64>()).sum::<f64>() - 3.0;
            let elapsed = (record.median_ms * (normal * 0.6).exp()).clamp(200.0, 7_200_000.0) as u32;
            let elapsed_ms = (!matches!(status, "RUNNING" | "PENDING")).then_some(elapsed);
            RunSpec {
                number: total - 1 - at as u32,
                triggered,
                elapsed_ms,
                status: intern(status),
                trigger,
                id: None,
            }
        })
        .collect()
}

fn intern(status: &str) -> &'static str {
    ["PENDING", "RUNNING", "ERRORED", "COMPLETED", "KILLED", "UNABLE_TO_ALLOCATE_KERNEL"]
        .into_iter()
        .find(|known| *known == status)
        .unwrap_or("COMPLETED")
}

trait MulF64 {
    fn mul_f64(self, by: f64) -> Self;
}

impl MulF64 for TimeDelta {
    fn mul_f64(self, by: f64) -> Self {
        TimeDelta::milliseconds((self.num_milliseconds() as f64 * by) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
