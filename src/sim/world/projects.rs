//! Projects: what the API lists of them, their schedules and sharing.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::cells::Authored;
use super::runs::RunSpec;
use super::{STATUSES, THEMES, World, iso};
use crate::client::projects::{
    Access, Analytics, AppViews, Category, CollectionGrant, Custom, Daily, GroupGrant, Hourly, Monthly,
    Named, Person, Project, QueriedTable, Reviews, Schedule, Sharing, Status, UserGrant, Weekly,
};
use crate::sim::rng::{self, chance, pick, skewed};

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

/// A project with what the API doesn't list.
#[derive(Debug)]
pub struct ProjectRecord {
    /// Number, from 0: the seed of everything in it.
    pub index: u64,
    /// The project; its sharing is always set here.
    pub project: Project,
    /// Published versions so far.
    pub version: i64,
    /// Edits over the API or by the moving workspace; each changes its cells' ids.
    pub edits: u32,
    /// Edits that the published version has.
    pub published_edits: u32,
    /// Indexes of its collections.
    pub collections: Vec<usize>,
    /// Edits of its cells over the API.
    pub authored: Authored,
    /// Tables that its runs have queried and that no cell names, as Python and dynamic SQL do.
    pub run_tables: Vec<QueriedTable>,
    /// Inputs of its app: name and type (`string`, `number`).
    pub inputs: Vec<(String, &'static str)>,
    pub(super) runs: OnceLock<Vec<RunSpec>>,
    pub(super) failure_rate: f64,
    pub(super) median_ms: f64,
}

impl World {
    pub(super) fn make_project(&self, index: u64, gone: &[String]) -> ProjectRecord {
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
        in_collections.retain(|collection| *collection < self.collections.len());
        let sharing = self.sharing(r, &owner, &in_collections);
        let project = Project {
            id: rng::uuid(config.seed, "project", index).into(),
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
            authored: Authored::default(),
            run_tables: Vec::new(),
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
        let index = self.serial();
        let mut record = self.make_project(index, &[]);
        let at = iso(now);
        let project = &mut record.project;
        project.id = rng::uuid7(self.config.seed, "project", index, now).into();
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

    pub(super) fn sharing(&self, r: &mut ChaCha8Rng, owner: &str, collections: &BTreeSet<usize>) -> Sharing {
        let levels = ["APP_ONLY", "CAN_VIEW", "CAN_EDIT", "FULL_ACCESS"];
        let mut users =
            vec![UserGrant { access: "FULL_ACCESS".into(), user: Person { email: owner.into() } }];
        for _ in 0..skewed(r, 5) {
            let email = self.user_email(r, &[], 0.0);
            if users.iter().all(|grant| grant.user.email != email) {
                users.push(UserGrant { access: pick(r, &levels).into(), user: Person { email } });
            }
        }
        let chosen = (0..skewed(r, 4)).map(|_| skewed(r, self.groups.len()));
        let chosen: BTreeSet<usize> = chosen.filter(|group| *group < self.groups.len()).collect();
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

    /// The project with this identifier.
    pub fn find_project(&self, id: &str) -> Option<usize> {
        let places = self.places.get_or_init(|| {
            self.projects.iter().enumerate().map(|(at, record)| (record.project.id.to_string(), at)).collect()
        });
        places.get(&id.to_ascii_lowercase()).copied()
    }

    /// A project's draft was edited.
    pub(in crate::sim) fn touch(&mut self, at: usize, now: DateTime<Utc>) {
        self.projects[at].project.last_edited_at = iso(now);
    }

    /// Deletes a project for good.
    pub fn delete_project(&mut self, at: usize) {
        self.projects.remove(at);
        self.places = OnceLock::new();
    }
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

trait MulF64 {
    fn mul_f64(self, by: f64) -> Self;
}

impl MulF64 for TimeDelta {
    fn mul_f64(self, by: f64) -> Self {
        TimeDelta::milliseconds((self.num_milliseconds() as f64 * by) as i64)
    }
}
