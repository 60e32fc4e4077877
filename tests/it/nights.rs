//! Random nights of a workspace, against an oracle that keeps the workspace's whole history.
//!
//! By day the workspace changes, the token may become another one's, old snapshots are pruned or rebuilt. By night an
//! export runs, with other options, against a server that refuses some requests or leads pages astray, and may be
//! killed. After each night the newest snapshot must say nothing but what was true when it says it read it, and leave
//! nothing out without a word. `HEXPORT_NIGHTS=3000 HEXPORT_SEED=7` runs more nights, of another seed.

mod checks;
mod oracle;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{SubsecRound, TimeDelta, Utc};
use futures::future::BoxFuture;
use hexport::client::{
    ApiRequest, BaseUrl, Client, ClientConfig, Pace, RetryPolicy, Token, Transport, WireAnswer, WireFailure,
};
use hexport::crawl::{self, Budget, Freshness, Quiet, Source, Stop};
use hexport::export::{Accept, Error, JournalFate, Options, Outcome, Reuse, Unfinished, choose, export};
use hexport::sim::{
    Change, Faults, InProcess, PageFault, Refusal, Refused, SimConfig, SimServer, SimToken, World,
    WorldConfig,
};
use hexport::snapshot::Lake;
use hexport::tables::ENTITIES;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use checks::fingerprint;
use oracle::{History, Snapshot, WATCHED, truth};

/// Operations that are refused, but for the two that everything depends on.
const FAN_OUTS_AND_LISTS: [&str; 9] = [
    "ListUsers",
    "ListGroups",
    "ListCollections",
    "ListDataConnections",
    "GetQueriedTables",
    "GetProjectRuns",
    "ListCells",
    "GetRunStatus",
    "ExportProject",
];

/// What happens on one night.
struct Plan {
    options: Options,
    faults: Faults,
    /// Before which request the export is killed.
    kill: Option<u64>,
    /// Before which request the world changes once more, and how.
    midway: Option<(u64, Change, usize)>,
    /// No faults, everything read and believed: afterwards the snapshot is the truth.
    is_quiet: bool,
}

impl Plan {
    fn strikes(&self, operation: &str) -> bool {
        let refused =
            |r: &Refusal| r.entity.is_none() && r.operation.as_deref().is_none_or(|of| of == operation);
        let astray = |(of, fault): &(String, PageFault)| of == operation && *fault != PageFault::Empty;
        self.faults.refusals.iter().any(refused) || self.faults.paging.iter().any(astray)
    }

    /// Whether nothing needed to be committed, for this reason.
    fn explains(&self, error: &Error, visible: usize) -> bool {
        use crawl::Error as E;
        let Error::Crawl(error) = error else { return false };
        match error {
            E::Interrupted => self.kill.is_some(),
            E::List { .. } | E::Forbidden { .. } | E::Refused(_) | E::Api(_) => self.strikes("ListProjects"),
            E::NoProjects { .. } => visible == 0,
            E::OtherProjects { known, shared } => self.strikes("Me") && shared * 2 < *known,
            E::OutOfTime { .. } | E::Journal(_) => false,
        }
    }
}

/// Carries requests to the simulator, and lets something happen before each.
struct Carrier {
    inner: InProcess,
    asked: AtomicU64,
    before: Box<dyn Fn(u64) + Send + Sync>,
}

impl Transport for Carrier {
    fn exchange<'a>(&'a self, request: &'a ApiRequest) -> BoxFuture<'a, Result<WireAnswer, WireFailure>> {
        (self.before)(self.asked.fetch_add(1, Ordering::SeqCst));
        self.inner.exchange(request)
    }
}

struct Nights {
    seed: u64,
    night: u32,
    rng: ChaCha8Rng,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    lake: Lake,
    server: Arc<SimServer>,
    token: SimToken,
    history: Arc<Mutex<History>>,
    /// Journals by snapshot: the state in which each was begun, and its fixed time.
    journals: BTreeMap<String, (usize, Option<i64>)>,
    newest: Option<Arc<Snapshot>>,
    /// The newest snapshot that holds each table.
    holders: BTreeMap<&'static str, Arc<Snapshot>>,
    log: Vec<String>,
    counts: BTreeMap<String, u32>,
    problems: Vec<String>,
}

#[test]
fn nights_say_nothing_but_the_truth_and_leave_nothing_out() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let (count, seed) = (number("HEXPORT_NIGHTS").unwrap_or(300), number("HEXPORT_SEED").unwrap_or(13));
    let mut nights = Nights::new(seed);
    for _ in 0..count {
        nights.pass();
    }
    println!("{count} nights of seed {seed}: {:#?}", nights.counts);
    for event in ["committed", "not committed", "resumed", "rebuilt", "pruned", "another token", "complete"] {
        assert!(nights.counts.get(event).is_some_and(|n| *n > 0) || count < 200, "no night was '{event}'");
    }
}

impl Nights {
    fn new(seed: u64) -> Self {
        let world = WorldConfig {
            seed,
            projects: 11,
            runs_per_project: 5.0,
            cells_per_project: 4.0,
            ..WorldConfig::default()
        };
        let server = SimServer::unbound(SimConfig { world, record: false, ..SimConfig::default() });
        let dir = tempfile::tempdir().unwrap();
        // Waits for a server that is down cost nothing: the clock of timers jumps over them.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            seed,
            night: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            runtime: runtime.enable_all().start_paused(true).build().unwrap(),
            lake: Lake::new(dir.path()),
            dir,
            server: Arc::new(server),
            token: SimToken::default(),
            history: Arc::default(),
            journals: BTreeMap::new(),
            newest: None,
            holders: BTreeMap::new(),
            log: Vec::new(),
            counts: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        self.rng.random_bool(share)
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n.max(1))
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn happened(&mut self, event: &str, details: impl std::fmt::Display) {
        *self.counts.entry(event.to_owned()).or_default() += 1;
        self.log.push(format!("night {}: {event} {details}", self.night));
    }

    fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// A day and its night.
    fn pass(&mut self) {
        self.night += 1;
        let is_quiet = self.night.is_multiple_of(10);
        self.change_workspace();
        self.change_token(is_quiet);
        let rows = truth(&self.server.world(), &self.token);
        self.history.lock().unwrap().record(self.night, rows);
        let plan = self.plan(is_quiet);
        self.server.set_token(self.token.clone());
        let before = fingerprint(self.dir.path());
        let result = self.export(&plan);
        self.note_journals(&plan);
        match result {
            Ok(outcome) => self.check_committed(&plan, &outcome),
            Err(error) => {
                self.happened("not committed", &error);
                let visible =
                    self.history.lock().unwrap().now.keys().filter(|key| key.0 == "projects").count();
                if !plan.explains(&error, visible) {
                    self.problem(format!("the night committed nothing: {error}"));
                }
                if fingerprint(self.dir.path()) != before {
                    self.problem("a night that committed nothing changed the newest snapshot".into());
                }
            }
        }
        if self.chance(0.15) {
            self.prune();
        }
        if self.chance(0.15) {
            self.rebuild();
        }
        self.tell();
    }

    /// What happened from the night on which a snapshot was begun until it was committed.
    fn story(&self, id: &str) -> String {
        let night = self
            .journals
            .get(id)
            .map_or(self.night, |(begun, _)| self.history.lock().unwrap().states[*begun].1);
        let first =
            self.log.iter().position(|event| event.starts_with(&format!("night {night}:"))).unwrap_or(0);
        let last =
            self.log.iter().position(|event| event.ends_with(&format!("committed {id}"))).unwrap_or(first);
        self.log[first..=last.max(first)].join("\n    ")
    }

    /// Fails with what is needed to see why.
    fn tell(&self) {
        if self.problems.is_empty() {
            return;
        }
        let (seed, night) = (self.seed, self.night);
        let events = self.log[self.log.len().saturating_sub(60)..].join("\n  ");
        let problems = self.problems[..self.problems.len().min(12)].join("\n  ");
        panic!(
            "seed {seed}, night {night}: {} problems\n  {problems}\nafter\n  {events}",
            self.problems.len()
        );
    }

    fn random_change(&mut self) -> (Change, usize) {
        let world = self.server.world();
        let (projects, people, groups) = (world.projects.len(), world.users.len(), world.groups.len());
        drop(world);
        let change = match self.pick(&Change::ALL) {
            Change::Delete if projects < 9 => Change::Create,
            Change::Create if projects > 13 => Change::Delete,
            Change::RemoveUser if people < 8 => Change::CreateUser,
            Change::CreateUser if people > 16 => Change::RemoveUser,
            Change::CreateGroup if groups > 5 => Change::RemoveGroup,
            change => change,
        };
        let at = match change {
            Change::EditUser | Change::RemoveUser => self.below(people),
            Change::EditGroup | Change::RemoveGroup => self.below(groups),
            Change::RemoveCollection => self.below(4),
            _ => self.below(projects),
        };
        (change, at)
    }

    fn change_workspace(&mut self) {
        let days = self.pick(&[0, 0, 1, 1, 1, 5, 10]);
        self.server.set_now(self.server.now() + TimeDelta::days(days));
        for _ in 0..self.below(5) {
            self.server.set_now(self.server.now() + TimeDelta::seconds(7));
            let (change, at) = self.random_change();
            if let Some(id) = self.server.change(change, at) {
                self.happened(&format!("{change:?}"), id);
            }
        }
        let at = self.below(8);
        match self.below(12) {
            0 => self.end_runs(at),
            1 => self.drop_runs(at),
            _ => {}
        }
    }

    /// Runs of a project that go on, end.
    fn end_runs(&mut self, at: usize) {
        let mut world = self.server.world_mut();
        let config = world.config.clone();
        let runs = World::runs_mut(&config, &mut world.projects[at]);
        for run in runs.iter_mut().filter(|run| matches!(run.status, "RUNNING" | "PENDING")) {
            (run.status, run.elapsed_ms) = ("COMPLETED", Some(5_000));
        }
        drop(world);
        self.happened("runs end", at);
    }

    /// Hex no longer lists the oldest runs of a project.
    fn drop_runs(&mut self, at: usize) {
        let mut world = self.server.world_mut();
        let config = world.config.clone();
        let runs = World::runs_mut(&config, &mut world.projects[at]);
        // One stays, or it would be a project that never ran.
        let kept = runs.len().saturating_sub(2).max(1);
        runs.truncate(kept);
        drop(world);
        self.happened("runs age out", at);
    }

    fn change_token(&mut self, is_quiet: bool) {
        let projects: Vec<String> =
            self.server.world().projects.iter().map(|r| r.project.id.to_string()).collect();
        let emails: Vec<String> = self.server.world().users.iter().map(|user| user.email.clone()).collect();
        let gone = self.token.user.as_ref().is_some_and(|email| !emails.contains(email));
        if gone || self.chance(0.12) {
            let user = emails[self.below(3.min(emails.len()))].clone();
            self.token = SimToken { user: Some(user), workspace: self.chance(0.2), ..SimToken::default() };
            self.happened("another token", format!("{:?} {}", self.token.user, self.token.workspace));
        }
        if self.chance(0.12) {
            let most = self.pick(&[0, 1, 2, 3, projects.len() - 1]);
            self.token.hidden = (0..most).map(|_| projects[self.below(projects.len())].clone()).collect();
            self.happened("projects hidden", format!("{:?}", self.token.hidden));
        }
        let forbidden = if !is_quiet && self.chance(0.08) { self.pick(&FAN_OUTS_AND_LISTS) } else { "" };
        self.token.forbidden = vec![forbidden.to_owned()];
        if !forbidden.is_empty() {
            self.happened("out of scope", forbidden);
        }
    }

    fn plan(&mut self, is_quiet: bool) -> Plan {
        let names: Vec<String> = match self.below(if is_quiet { 8 } else { 10 }) {
            0 => Vec::new(),
            1..3 => ENTITIES.iter().map(|table| table.name.to_owned()).collect(),
            3..8 => WATCHED.iter().map(|(name, _)| (*name).to_owned()).collect(),
            _ => WATCHED.iter().map(|(name, _)| (*name).to_owned()).filter(|_| self.chance(0.4)).collect(),
        };
        let mut options = Options {
            tables: choose(&names).unwrap(),
            base_url: "http://127.0.0.1:1".into(),
            concurrency: self.pick(&[1, 4, 8]),
            reuse: if self.chance(0.15) { Reuse::Nothing } else { Reuse::Unchanged },
            journal: if self.chance(0.3) { JournalFate::Kept } else { JournalFate::Removed },
            ..Options::default()
        };
        if is_quiet {
            (options.unfinished, options.accept_shrink) = (Unfinished::Discard, Accept::Everything);
            self.happened("quiet", format!("{:?} {} tables", options.reuse, options.tables.len()));
            return Plan { options, faults: Faults::default(), kill: None, midway: None, is_quiet };
        }
        options.revalidate =
            self.pick(&[options.revalidate, options.revalidate, None, Some(TimeDelta::zero())]);
        if self.chance(0.2) {
            options.freshness = Freshness::Within(TimeDelta::days(7));
            self.happened("runs may be seen late", "");
        }
        options.budget = Budget { requests: self.chance(0.1).then(|| self.below(60) as u64), until: None };
        options.accept_shrink = if self.chance(0.1) { Accept::Everything } else { Accept::Nothing };
        options.unfinished = if self.chance(0.1) { Unfinished::Discard } else { Unfinished::Resume };
        if self.chance(0.12) {
            let days = self.below(40) as i64 - 20;
            options.fixed_time = Some((Utc::now() + TimeDelta::days(days)).trunc_subsecs(6));
            self.happened("the clock is off", format!("by {days} days"));
        }
        let faults = self.faults();
        let kill = self.chance(0.15).then(|| self.below(50) as u64);
        let midway = self.chance(0.2).then(|| self.random_change());
        let midway = midway.map(|(change, at)| (self.below(40) as u64, change, at));
        let Options { reuse, budget, journal, accept_shrink, unfinished, revalidate, .. } = &options;
        let Faults { refusals, paging, page_cap, .. } = &faults;
        self.log.push(format!(
            "night {}: {} tables, {reuse:?}, at most {:?}, journal {journal:?}, {unfinished:?}, accept {accept_shrink:?}, \
             revalidate {:?} days, {refusals:?}, {paging:?}, pages of {page_cap:?}, killed at {kill:?}, {midway:?} meanwhile",
            self.night,
            options.tables.len(),
            budget.requests,
            revalidate.map(|within| within.num_days()),
        ));
        Plan { options, faults, kill, midway, is_quiet }
    }

    fn faults(&mut self) -> Faults {
        let mut faults = Faults::default();
        if self.chance(0.5) {
            faults.page_cap = Some(1 + self.below(6));
        }
        while self.chance(0.35) {
            faults.refusals.push(self.refusal());
        }
        if self.chance(0.1) {
            let operation = self.pick(&FAN_OUTS_AND_LISTS).to_owned();
            let fault =
                self.pick(&[PageFault::Empty, PageFault::Repeat, PageFault::Circle, PageFault::Endless]);
            faults.paging.push((operation, fault));
        }
        for refusal in &faults.refusals {
            *self.counts.entry(format!("refused {:?}", refusal.answer)).or_default() += 1;
        }
        faults
    }

    fn refusal(&mut self) -> Refusal {
        let statuses = [401, 403, 404, 422, 500].map(Refused::Status);
        let answer = self.pick(&[&statuses[..], &[Refused::BareUnauthorized, Refused::Html]].concat());
        let operation = match self.below(20) {
            0 => "ListProjects",
            1 => "Me",
            _ => self.pick(&FAN_OUTS_AND_LISTS),
        };
        let mut refusal = Refusal::of(operation, answer);
        let entity = {
            let world = self.server.world();
            let (project, group) = (world.projects.len(), world.groups.len());
            drop(world);
            let (project, group) = (self.below(project), self.below(group));
            let world = self.server.world();
            match operation {
                "ListUsers" => world.groups.get(group).map(|group| group.id.to_string()),
                "ExportProject" | "ListCells" | "GetProjectRuns" | "GetQueriedTables" | "GetRunStatus" => {
                    Some(world.projects[project].project.id.to_string())
                }
                _ => None,
            }
        };
        if let (Some(id), true) = (entity, self.chance(0.7)) {
            refusal = refusal.about(id);
        }
        refusal.later_pages = self.chance(0.25);
        refusal.times = self.chance(0.2).then(|| 1 + self.below(3) as u32);
        refusal
    }

    fn export(&mut self, plan: &Plan) -> Result<Outcome, Error> {
        self.server.set_faults(plan.faults.clone());
        let stop = Stop::default();
        let url = BaseUrl::new(&plan.options.base_url).unwrap();
        let mut config = ClientConfig::new(url, Token::new("nightly").unwrap());
        config.pace = Pace::unlimited();
        config.retry = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
        let (kill, midway, told) = (plan.kill, plan.midway, stop.clone());
        let (server, history, token, night) =
            (self.server.clone(), self.history.clone(), self.token.clone(), self.night);
        let before = move |request| {
            if kill == Some(request) {
                told.stop();
            }
            if let Some((_, change, at)) = midway.filter(|(when, ..)| *when == request) {
                server.set_now(server.now() + TimeDelta::seconds(7));
                server.change(change, at);
                history.lock().unwrap().record(night, truth(&server.world(), &token));
            }
        };
        let inner = InProcess::to(&self.server);
        config.transport =
            Some(Arc::new(Carrier { inner, asked: AtomicU64::new(0), before: Box::new(before) }));
        let source = Source::Api(Client::new(config).unwrap());
        self.runtime.block_on(export(source, &self.lake, plan.options.clone(), Arc::new(Quiet), stop))
    }

    /// Notes when new journals were begun. Answers at a fixed time may be of any night on which the journal was open.
    fn note_journals(&mut self, plan: &Plan) {
        let committed = self.lake.snapshots().unwrap();
        let found = self.lake.journals().unwrap().into_iter().map(|(id, _)| id);
        let mut history = self.history.lock().unwrap();
        let (first, last) = (history.first_of(self.night), history.last());
        let newest = self.lake.latest().unwrap().map(|manifest| manifest.snapshot_id);
        let fixed = plan.options.fixed_time.map(|at| at.timestamp_micros());
        for id in found.chain(newest.clone()) {
            let (_, fixed) = *self.journals.entry(id.to_string()).or_insert((first, fixed));
            let is_open = !committed.contains(&id);
            if let Some(fixed) =
                fixed.filter(|_| is_open || self.newest.as_ref().is_none_or(|n| n.id() != &*id))
            {
                let states = history.fixed.entry(fixed).or_insert((first, last));
                if is_open || newest.as_ref() == Some(&id) {
                    states.1 = last;
                }
            }
        }
    }
}
