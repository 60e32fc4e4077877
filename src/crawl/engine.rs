//! The scheduler: one loop that hands out requests, highest priority first, and takes in their answers.

mod answers;
mod projects;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::{Answer, Source, ask, journalled};
use super::gate::{Gates, Passage};
use super::order::FIRST_LOOK;
use super::runs::History;
use super::task::{Intent, Queued, Rank, Task};
use super::{Base, Coverage, Decision, Endpoint, Error, Options, Progress, ProjectFacts, Scope, State, Stop};
use crate::client::operation::GET_RUN_STATUS;
use crate::journal::Journal;
use crate::snapshot::EndpointSummary;

/// Grace period for requests in flight when the crawl is stopped.
const GRACE: Duration = Duration::from_secs(3);
/// The API's silence is looked at this often.
const WATCH: Duration = Duration::from_secs(10);
/// Lists of the workspace are read on after the budget's time, as long as each answer comes within this.
const LIST_GRACE: Duration = Duration::from_secs(10);
/// An answer that an interrupted crawl left is used for so long; then the world may have moved on.
const FRESH: TimeDelta = TimeDelta::hours(24);
/// Maximum time that an answer may seem to lie in the future: beyond it, a clock was wrong.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// Result of a crawl.
#[derive(Debug, Default)]
pub struct Report {
    /// Outcome for each endpoint and entity.
    pub coverage: Vec<Coverage>,
    /// Sums of it by endpoint.
    pub endpoints: BTreeMap<Endpoint, EndpointSummary>,
    /// Projects listed.
    pub projects: Vec<Arc<ProjectFacts>>,
    /// Groups listed.
    pub groups: Vec<Arc<str>>,
    /// Identifiers that each list of the workspace named, as far as it was read.
    pub listed: BTreeMap<Endpoint, HashSet<Arc<str>>>,
    /// Answers that the journal had already.
    pub replayed: u64,
}

impl Report {
    /// Adds what came of an endpoint and entity.
    pub fn add(&mut self, coverage: Coverage) {
        let summary = self.endpoints.entry(coverage.endpoint).or_default();
        summary.requests += coverage.requests;
        summary.rows += if coverage.state == State::Reused { 0 } else { coverage.rows };
        *summary.states.entry(coverage.state.name().into()).or_default() += 1;
        self.coverage.push(coverage);
    }

    /// Lets go of what is in the tables by now: all but the sums, and the entities that were not read.
    pub fn let_go(&mut self) {
        let is_read = |state| matches!(state, State::Fetched | State::Skipped | State::Reused);
        let coverage = std::mem::take(&mut self.coverage);
        let endpoints = std::mem::take(&mut self.endpoints);
        let coverage = coverage.into_iter().filter(|of| !is_read(of.state)).collect();
        *self = Self { coverage, endpoints, replayed: self.replayed, ..Self::default() };
    }

    /// Whether a list of the workspace was read to its end.
    pub fn is_whole(&self, list: Endpoint) -> bool {
        let of = |c: &&Coverage| c.endpoint == list && c.entity.is_none();
        self.coverage.iter().find(of).is_some_and(|c| c.state == State::Fetched)
    }
}

/// Reads everything that `options` name. What is in the journal is not asked for again.
///
/// # Errors
/// Any of [`Error`]; all answers that came are in the journal.
pub async fn crawl(
    source: Source,
    journal: Arc<Journal>,
    base: Arc<Base>,
    options: Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Report, Error> {
    let spent = journal.attempts() + options.spent;
    let mut engine = Engine {
        source,
        journal,
        base,
        options,
        progress,
        queues: BTreeMap::new(),
        held: Vec::new(),
        tasks: JoinSet::new(),
        under_way: HashMap::new(),
        first_looks: 0,
        gates: Gates::default(),
        lists_open: 0,
        met: HashSet::new(),
        awaiting_runs: HashMap::new(),
        awaiting_cells: HashMap::new(),
        first_lists: BTreeMap::new(),
        serial: 0,
        spent,
        report: Report::default(),
    };
    engine.run(&stop).await?;
    Ok(engine.report)
}

type Landed = (Task, Result<Answer, Error>);
/// Name of a group of operations that the server counts together.
type Group = &'static str;

struct Engine {
    source: Source,
    journal: Arc<Journal>,
    base: Arc<Base>,
    options: Options,
    progress: Arc<dyn Progress>,
    /// One queue per limit group: a group that must wait holds no other one up.
    queues: BTreeMap<Group, BinaryHeap<Queued>>,
    /// With a budget, the fan-out waits until all projects are known and can be ranked.
    held: Vec<Queued>,
    tasks: JoinSet<Landed>,
    under_way: HashMap<Group, usize>,
    /// Of those under way, what was never read before, lists and further pages among them.
    first_looks: usize,
    gates: Gates,
    /// Lists of projects and groups that are not read to their end.
    lists_open: u32,
    /// Projects and groups met so far: one that is listed twice, since pages shift while a workspace changes, is
    /// asked about once.
    met: HashSet<Arc<str>>,
    /// Queried tables wait for their project's runs: API runs may have them read that would be reused, and the
    /// latest that is known when they are read is noted.
    awaiting_runs: HashMap<Arc<str>, (Intent, Decision)>,
    /// Imported components wait for their project's cells, which tell whether there are any.
    awaiting_cells: HashMap<Arc<str>, (Intent, Decision)>,
    /// Lists that are being read once more, and what they said the first time.
    first_lists: BTreeMap<Endpoint, (Coverage, HashSet<Arc<str>>)>,
    serial: u64,
    spent: u64,
    report: Report,
}

fn group(task: &Task) -> Group {
    task.request.operation().group.name
}

impl Engine {
    async fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        for endpoint in self.options.endpoints.clone() {
            if endpoint.scope() == Scope::Workspace {
                self.lists_open += u32::from(endpoint.names().next().is_some());
                self.progress.expect(endpoint, 1);
                let list = self.intent(endpoint, None, (0, 0, 0));
                self.queue(list);
            }
        }
        self.work(stop).await?;
        if self.list_again() {
            self.work(stop).await?;
            self.drop_unlisted();
        }
        self.own_up();
        Ok(())
    }

    /// Reports requests that a bug of the scheduler left unsent as failed: without a row in coverage, their projects
    /// would pass for ones that have nothing.
    fn own_up(&mut self) {
        let awaiting = std::mem::take(&mut self.awaiting_runs).into_values();
        let awaiting = awaiting.chain(std::mem::take(&mut self.awaiting_cells).into_values());
        let queued = std::mem::take(&mut self.queues).into_values().flatten();
        let left =
            queued.chain(std::mem::take(&mut self.held)).chain(awaiting.map(|(intent, _)| intent.into()));
        let left: Vec<Task> = left.map(Queued::begin).collect();
        debug_assert!(left.is_empty(), "never asked for: {left:?}");
        for task in left {
            self.finish(
                task,
                State::Failed,
                Some("it was never asked for: please report this".into()),
                false,
            );
        }
    }

    /// Sends what is queued, and what its answers lead to, until nothing is left.
    async fn work(&mut self, stop: &Stop) -> Result<(), Error> {
        loop {
            self.launch();
            let landed = tokio::select! {
                biased;
                () = stop.stopped() => return self.wind_down(Error::Interrupted).await,
                landed = self.tasks.join_next() => landed,
                () = tokio::time::sleep(WATCH) => match self.check_alive() {
                    Ok(()) => continue,
                    Err(error) => return self.wind_down(error).await,
                },
            };
            let Some(landed) = landed else { break };
            if let Err(error) = self.land(landed.expect("a request's task doesn't panic and isn't cancelled"))
            {
                return self.wind_down(error).await;
            }
        }
        Ok(())
    }

    /// Ends the crawl when the API is silent for too long, also while everything waits for its turn.
    fn check_alive(&self) -> Result<(), Error> {
        match &self.source {
            Source::Api(client) => client.check_alive().map_err(Error::Api),
            Source::JournalOnly => Ok(()),
        }
    }

    /// After a 404 for something that a list named: reads the list once more, since only the list can tell a project
    /// that was deleted while the crawl ran from one that the token can't reach. Whether there was need to.
    fn list_again(&mut self) -> bool {
        let vanished = self.report.coverage.iter().filter(|c| c.state == State::Vanished);
        let lists: BTreeSet<Endpoint> = vanished.filter_map(|c| c.endpoint.named_by()).collect();
        let lists = lists.into_iter().filter(|list| self.report.is_whole(*list)).collect::<Vec<_>>();
        if matches!(self.source, Source::JournalOnly) {
            return false;
        }
        for list in &lists {
            self.journal.begin_again(list.operation(), None);
            let before = self.report.coverage.iter().position(|c| c.endpoint == *list && c.entity.is_none());
            let before =
                before.map(|at| self.report.coverage.swap_remove(at)).expect("a whole list is covered");
            let ids = self.report.listed.remove(list).unwrap_or_default();
            self.first_lists.insert(*list, (before, ids));
            self.lists_open += 1;
            self.progress.expect(*list, 1);
            let list = self.intent(*list, None, (0, 0, 0));
            self.queue(list);
        }
        !lists.is_empty()
    }

    /// Forgets what is no longer listed: it was deleted while the crawl ran.
    fn drop_unlisted(&mut self) {
        for list in std::mem::take(&mut self.first_lists).into_keys() {
            let listed = self.report.listed.get(&list).cloned().unwrap_or_default();
            let is_there = |id: &Arc<str>| listed.contains(id);
            self.report.projects.retain(|facts| list != Endpoint::PROJECTS || is_there(&facts.id));
            self.report.groups.retain(|id| list != Endpoint::GROUPS || is_there(id));
            let named = |c: &Coverage| c.endpoint.named_by() == Some(list);
            self.report.coverage.retain(|c| !named(c) || c.entity.as_ref().is_none_or(is_there));
        }
    }

    /// The list couldn't be read once more: what it said the first time stands.
    fn keep_first_list(&mut self, list: Endpoint) {
        let Some((before, ids)) = self.first_lists.remove(&list) else { return };
        self.journal.prefer_whole_of(list.operation(), None);
        self.report.listed.insert(list, ids);
        self.report.coverage.push(before);
        self.list_ended();
    }

    /// Gives the requests under way a little time to be answered and journalled.
    async fn wind_down(&mut self, error: Error) -> Result<(), Error> {
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, rest).await;
        self.tasks.abort_all();
        Err(error)
    }

    fn intent(&mut self, endpoint: Endpoint, entity: Option<Arc<str>>, rank: Rank) -> Intent {
        self.serial += 1;
        Intent { endpoint, entity, rank, serial: self.serial, stamp: None, facts: None, history: None }
    }

    fn queue(&mut self, queued: impl Into<Queued>) {
        let queued = queued.into();
        self.queues.entry(queued.operation().group.name).or_default().push(queued);
    }

    /// Starts as many requests as may be under way, in each group.
    fn launch(&mut self) {
        // What is taken from one group's queue and never sent may be what another group has waited for.
        while self.launch_in_each_group() {}
    }

    /// Whether anything was taken from a queue.
    fn launch_in_each_group(&mut self) -> bool {
        let mut any = false;
        let groups: Vec<Group> = self.queues.keys().copied().collect();
        for group in groups {
            while self.under_way.get(group).copied().unwrap_or(0) < self.options.concurrency.max(1) {
                if self.has_to_wait(group) {
                    break;
                }
                let Some(queued) = self.queues.get_mut(group).and_then(BinaryHeap::pop) else { break };
                any = true;
                match self.gates.pass(queued.begin()) {
                    Passage::Wait => {}
                    Passage::Refused(task, reason) => {
                        self.finish(*task, State::Forbidden, Some(reason), true);
                    }
                    Passage::Down(task, reason) if self.is_answered(&task) => {
                        drop(reason);
                        self.start(*task, group);
                    }
                    Passage::Down(task, reason) => {
                        self.finish(*task, State::Failed, Some(reason), false);
                    }
                    Passage::Pass(task) if self.is_spent(&task) => self.defer(*task),
                    Passage::Pass(task) => self.start(*task, group),
                }
            }
        }
        any
    }

    /// Whether a group's next task is a second look that might take a request which a first look needs: with a
    /// budget of requests, nothing is read again before everything unread, and what it leads to, has been asked for.
    fn has_to_wait(&self, group: Group) -> bool {
        let is_second_look = |queued: &Queued| queued.rank().0 > FIRST_LOOK;
        self.options.budget.requests.is_some()
            && self.queues.get(group).and_then(BinaryHeap::peek).is_some_and(is_second_look)
            && (self.first_looks > 0
                || self.queues.values().filter_map(BinaryHeap::peek).any(|queued| !is_second_look(queued)))
    }

    fn start(&mut self, task: Task, group: Group) {
        self.first_looks += usize::from(task.rank.0 <= FIRST_LOOK);
        if task.visited.is_empty() && !task.in_stragglers {
            self.forget_if_old(&task);
        }
        *self.under_way.entry(group).or_default() += 1;
        let (source, journal) = (self.source.clone(), self.journal.clone());
        let deadline = self.deadline(&task);
        self.tasks.spawn(async move {
            let asking = ask(&source, &journal, &task.request, task.entity.as_ref());
            let answer = match deadline {
                // What is in the journal comes at once, and so in time.
                Some(at) => tokio::time::timeout_at(at, asking)
                    .await
                    .unwrap_or_else(|_| Err(Error::OutOfTime { operation: task.request.operation().id })),
                None => asking.await,
            };
            (task, answer)
        });
    }

    /// Whether a resumed crawl must ask again, since what the journal has is too old to be a picture of today.
    /// Cells and queried tables of a project that has not moved since are as good as new.
    fn forget_if_old(&self, task: &Task) {
        if matches!(self.source, Source::JournalOnly) || self.journal.header().fixed_time.is_some() {
            return;
        }
        let (operation, entity) = (task.endpoint.operation(), task.entity.as_ref());
        let Some(at) = self.journal.first_answer_at(operation, entity, &task.request.key()) else { return };
        let age = Utc::now() - at;
        let is_list = task.endpoint.scope() == Scope::Workspace;
        let is_old =
            age > FRESH || age < -SKEW || (is_list && self.options.doubted_before.is_some_and(|d| at < d));
        let rests = task.endpoint != Endpoint::RUNS
            && age >= -SKEW
            && task.facts.as_ref().is_some_and(|facts| facts.rests_since(at));
        if is_old && !rests {
            self.journal.begin_again(operation, entity);
            if task.endpoint == Endpoint::RUNS {
                self.journal.begin_again(&GET_RUN_STATUS, entity);
            }
        }
    }

    /// When a request is given up, whatever it waits for. Lists come first and are short: they may take a little
    /// longer than the budget, but nobody waits an hour for one.
    fn deadline(&self, task: &Task) -> Option<Instant> {
        let until = self.options.budget.until?;
        Some(match task.endpoint.scope() {
            Scope::Workspace => until.max(Instant::now()) + LIST_GRACE,
            Scope::Group | Scope::Project => until,
        })
    }

    fn is_answered(&self, task: &Task) -> bool {
        journalled(&self.journal, &self.source, &task.request, task.entity.as_ref()).is_some()
    }

    fn is_spent(&self, task: &Task) -> bool {
        let budget = self.options.budget;
        if task.endpoint.scope() == Scope::Workspace || !budget.is_limited() {
            return false;
        }
        let over = budget.until.is_some_and(|until| Instant::now() >= until)
            || budget.requests.is_some_and(|most| self.spent + self.tasks.len() as u64 >= most);
        over && !self.is_answered(task)
    }

    fn defer(&mut self, task: Task) {
        if task.visited.is_empty() {
            // The probe itself is not sent: nobody needs it now.
            for waiting in self.gates.give_up_probe(task.endpoint) {
                self.queue(waiting);
            }
        }
        let then = if task.endpoint == Endpoint::RUNS { "continues there" } else { "re-reads it" };
        let reason = match task.requests {
            0 => "the budget ran out first; the next export reads it".to_owned(),
            sent => format!("the budget ran out after {sent} requests; the next export {then}"),
        };
        self.finish(task, State::Deferred, Some(reason), false);
    }

    fn finish(&mut self, task: Task, state: State, reason: Option<String>, refused: bool) {
        let whole = state == State::Fetched;
        self.finish_as(task, state, reason, refused, whole);
    }

    fn finish_as(&mut self, task: Task, state: State, reason: Option<String>, refused: bool, whole: bool) {
        let known = self.base.known(task.endpoint, task.entity.as_ref());
        let read_before: Option<DateTime<Utc>> = known.and_then(|known| known.last_read_at);
        let untouched = task.read_at.is_none();
        let imports = task.imports;
        let latest_api_run =
            task.history.as_ref().and_then(History::latest_api_run).max(
                task.entity.as_ref().and_then(|id| self.base.runs(id)).and_then(|runs| runs.latest_api_run),
            );
        let coverage = Coverage {
            endpoint: task.endpoint,
            state,
            reason,
            requests: task.requests,
            rows: task.rows,
            // What was not read now is as old, and as whole, as it was. What was read in part is not whole:
            // between its new rows and the known ones there may be others.
            last_read_at: task.read_at.or(read_before),
            stamp: match state {
                State::Fetched | State::Reused => task.stamp,
                State::Skipped => None,
                _ if untouched => known.and_then(|k| k.stamp.clone()),
                // The request that was not answered is the first that is missing.
                _ => task
                    .history
                    .as_ref()
                    .filter(|_| !task.in_stragglers)
                    .and_then(|history| history.stamp_at(task.request.offset())),
            },
            entity: task.entity,
            whole,
            known: read_before.is_some(),
            refused,
        };
        self.progress.done(&coverage);
        let list_ended = coverage.endpoint.names().next().is_some();
        let runs_of = (coverage.endpoint == Endpoint::RUNS).then(|| coverage.entity.clone()).flatten();
        let has_none = coverage.rows == 0
            && (coverage.state == State::Reused || (coverage.state == State::Fetched && coverage.whole));
        let (runs_state, read_at) = (coverage.state, coverage.last_read_at);
        let cells = (coverage.endpoint == Endpoint::CELLS).then(|| coverage.clone());
        self.report.add(coverage);
        if let Some(cells) = cells {
            self.settle_imports(&cells, imports);
        }
        if let Some(project) = runs_of {
            match has_none {
                true => self.skip_queried_tables(&project, latest_api_run, (runs_state, read_at)),
                false => self.settle_queried_tables(&project, latest_api_run),
            }
        }
        if list_ended {
            self.list_ended();
        }
    }

    fn list_ended(&mut self) {
        self.lists_open = self.lists_open.saturating_sub(1);
        if self.lists_open == 0 {
            for held in std::mem::take(&mut self.held) {
                self.queue(held);
            }
        }
    }
}
