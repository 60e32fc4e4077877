//! The scheduler: one loop that hands out requests, most wanted first, and takes their answers in.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::{Answer, Source, ask, journalled};
use super::decide::stamp;
use super::endpoint::Need;
use super::gate::{Gates, Passage, forbidden};
use super::order;
use super::runs::History;
use super::task::{Rank, Task};
use super::{
    Base, Coverage, Decision, Empty, Endpoint, Error, Known, Options, Progress, ProjectFacts, Scope, State,
    Stop, Workspace, decide,
};
use crate::client::operation::GET_RUN_STATUS;
use crate::client::{ApiRequest, Next, identifier, split_page};
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
/// How far in the future an answer may seem to be: beyond it, a clock was wrong.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// What a crawl found.
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
        gates: Gates::default(),
        lists_open: 0,
        met: HashSet::new(),
        awaiting_runs: HashMap::new(),
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
    queues: BTreeMap<Group, BinaryHeap<Task>>,
    /// With a budget, the fan-out waits until all projects are known and can be ranked.
    held: Vec<Task>,
    tasks: JoinSet<Landed>,
    under_way: HashMap<Group, usize>,
    gates: Gates,
    /// Lists of projects and groups that are not read to their end.
    lists_open: u32,
    /// Projects and groups met so far: one that is listed twice, since pages shift while a workspace changes, is
    /// asked about once.
    met: HashSet<Arc<str>>,
    /// Queried tables wait for their project's runs: API runs may have them read that would be reused, and the
    /// latest that is known when they are read is noted.
    awaiting_runs: HashMap<Arc<str>, (Task, Decision)>,
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
                let task = self.task(endpoint, None, (0, 0, 0));
                self.queue(task);
            }
        }
        self.work(stop).await?;
        if self.list_again() {
            self.work(stop).await?;
            self.drop_unlisted();
        }
        debug_assert!(self.queues.values().all(BinaryHeap::is_empty) && self.held.is_empty());
        debug_assert!(self.awaiting_runs.is_empty());
        Ok(())
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
            let task = self.task(*list, None, (0, 0, 0));
            self.queue(task);
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

    fn task(&mut self, endpoint: Endpoint, entity: Option<Arc<str>>, rank: Rank) -> Task {
        self.serial += 1;
        Task::new(endpoint, entity, rank, self.serial)
    }

    fn queue(&mut self, task: Task) {
        self.queues.entry(group(&task)).or_default().push(task);
    }

    /// Starts as many requests as may be under way, in each group.
    fn launch(&mut self) {
        let groups: Vec<Group> = self.queues.keys().copied().collect();
        for group in groups {
            while self.under_way.get(group).copied().unwrap_or(0) < self.options.concurrency.max(1) {
                let Some(task) = self.queues.get_mut(group).and_then(BinaryHeap::pop) else { break };
                match self.gates.pass(task) {
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
    }

    fn start(&mut self, task: Task, group: Group) {
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
        let reason = match task.requests {
            0 => "the budget ran out first; the next export reads it".to_owned(),
            sent => format!("the budget ran out after {sent} requests; the next export re-reads it"),
        };
        self.finish(task, State::Deferred, Some(reason), false);
    }

    fn land(&mut self, (mut task, answer): Landed) -> Result<(), Error> {
        if let Some(under_way) = self.under_way.get_mut(group(&task)) {
            *under_way -= 1;
        }
        let answer = match answer {
            Err(Error::OutOfTime { .. }) if task.endpoint.spec().need != Need::Required => {
                task.requests += 1;
                return self.out_of_time(task);
            }
            answer => answer?,
        };
        task.requests += u64::from(answer.attempts);
        self.report.endpoints.entry(task.endpoint).or_default().retries +=
            u64::from(answer.attempts.saturating_sub(1));
        if answer.replayed {
            self.report.replayed += 1;
        } else {
            self.spent += u64::from(answer.attempts);
        }
        if task.visited.is_empty() {
            for waiting in self.gates.settle(task.endpoint, &answer) {
                self.queue(waiting);
            }
        }
        if task.in_stragglers {
            return self.land_straggler(task, &answer);
        }
        if !answer.accepted {
            return self.land_refusal(task, &answer);
        }
        task.read_at.get_or_insert(answer.fetched_at);
        self.land_page(task, &answer)
    }

    fn out_of_time(&mut self, task: Task) -> Result<(), Error> {
        match self.first_lists.contains_key(&task.endpoint) {
            true => self.keep_first_list(task.endpoint),
            false => self.defer(task),
        }
        Ok(())
    }

    fn land_page(&mut self, mut task: Task, answer: &Answer) -> Result<(), Error> {
        let listing = task.request.operation().listing.expect("endpoints are lists");
        let page = match split_page(&listing, &answer.body) {
            Ok(page) => page,
            Err(why) => return self.fail(task, format!("the response is not a page: {why}"), answer),
        };
        task.rows += page.items.len() as u64;
        task.see(page.items.iter().map(|item| item.get()));
        self.progress.page(task.endpoint, page.items.len() as u64, answer.replayed);
        for item in &page.items {
            self.found(&mut task, item.get());
        }
        if let Some(why) = &page.end.unreadable {
            return self.fail(task, why.clone(), answer);
        }
        let next = task.request.next(&page.end);
        task.visited.insert(task.request.key());
        let most = u64::from(listing.max_page);
        let enough = task.history.as_ref().is_some_and(|history| history.is_enough(most));
        match next {
            _ if enough => self.read_to_known(task),
            Next::End => {
                self.check_projects(&task)?;
                self.next_straggler(task, true)
            }
            Next::Page(next) if !task.is_barren() && !task.visited.contains(&next.key()) => {
                task.request = next;
                task.rank.0 = 0;
                self.queue(task);
                Ok(())
            }
            Next::Page(_) if task.is_barren() => {
                self.fail(task, "endless list: page after page brought nothing new".into(), answer)
            }
            Next::Page(_) | Next::Repeats => {
                self.fail(task, "endless list: its cursors go in a circle".into(), answer)
            }
        }
    }

    /// Takes in what a page's item says about other requests.
    fn found(&mut self, task: &mut Task, item: &str) {
        let endpoint = task.endpoint;
        if let Some(history) = &mut task.history {
            history.see(item);
        }
        if endpoint.scope() != Scope::Workspace {
            return;
        }
        let listing = endpoint.operation().listing;
        if let Some(id) = listing.and_then(|listing| identifier(&listing, item)) {
            let id: Arc<str> = Arc::from(id);
            self.report.listed.entry(endpoint).or_default().insert(id.clone());
            if endpoint == Endpoint::GROUPS {
                self.found_group(id);
            }
        }
        if endpoint == Endpoint::PROJECTS {
            self.found_project(item);
        }
    }

    /// Once the list of projects is read to its end: whether it can be the workspace that the lake is of, before
    /// anything is spent on its projects.
    fn check_projects(&self, task: &Task) -> Result<(), Error> {
        let known = self.base.listed(Endpoint::PROJECTS).map_or(0, HashSet::len);
        if task.endpoint != Endpoint::PROJECTS || known == 0 {
            return Ok(());
        }
        let listed = self.report.listed.get(&Endpoint::PROJECTS).map_or(0, HashSet::len);
        if listed == 0 && self.options.empty == Empty::Refused {
            return Err(Error::NoProjects { known });
        }
        let both = |(known, listed): (&HashSet<_>, &HashSet<_>)| known.intersection(listed).count();
        let sets = self.base.listed(Endpoint::PROJECTS).zip(self.report.listed.get(&Endpoint::PROJECTS));
        let shared = sets.map_or(0, both);
        if self.options.workspace == Workspace::ByItsProjects && shared * 2 < known {
            return Err(Error::OtherProjects { known, shared });
        }
        Ok(())
    }

    fn read_to_known(&mut self, mut task: Task) -> Result<(), Error> {
        if let Some(history) = &task.history {
            task.stragglers = history.unseen_open();
        }
        self.next_straggler(task, false)
    }

    fn next_straggler(&mut self, mut task: Task, whole: bool) -> Result<(), Error> {
        match task.stragglers.pop() {
            Some(run) => {
                let project = task.entity.clone().expect("runs are of a project");
                task.request = ApiRequest::new(&GET_RUN_STATUS, &[&project, &run]);
                task.in_stragglers = true;
                task.rank.0 = 0;
                self.queue(task);
                Ok(())
            }
            None => {
                if matches!(self.source, Source::Api(_)) {
                    self.journal.mark_whole(task.endpoint.operation(), task.entity.as_ref())?;
                }
                self.finish_as(task, State::Fetched, None, false, whole);
                Ok(())
            }
        }
    }

    fn land_straggler(&mut self, mut task: Task, answer: &Answer) -> Result<(), Error> {
        match answer.status {
            404 => {}
            _ if answer.accepted => task.rows += 1,
            _ => return self.fail(task, answer.reason(), answer),
        }
        self.next_straggler(task, false)
    }

    fn land_refusal(&mut self, task: Task, answer: &Answer) -> Result<(), Error> {
        if self.first_lists.contains_key(&task.endpoint) {
            self.keep_first_list(task.endpoint);
            return Ok(());
        }
        let reason = answer.reason();
        let is_required = task.endpoint.spec().need == Need::Required;
        match (answer.status, task.endpoint.scope()) {
            (403, _) if is_required => {
                Err(Error::Forbidden { operation: task.endpoint.operation().id, reason })
            }
            (401 | 403, _) => {
                self.finish(task, State::Forbidden, Some(forbidden(reason)), true);
                Ok(())
            }
            (404, Scope::Group | Scope::Project) => {
                let reason = format!("not found, although still listed: {reason}");
                self.finish(task, State::Vanished, Some(reason), true);
                Ok(())
            }
            (404, Scope::Workspace) => {
                self.fail(task, format!("this server doesn't have the operation: {reason}"), answer)
            }
            _ => self.fail(task, reason, answer),
        }
    }

    /// A gap; or, for the list that everything depends on, the end of the crawl: a snapshot without half the
    /// projects would say that they are gone.
    fn fail(&mut self, task: Task, reason: String, answer: &Answer) -> Result<(), Error> {
        if self.first_lists.contains_key(&task.endpoint) {
            self.keep_first_list(task.endpoint);
            return Ok(());
        }
        if task.endpoint.spec().need == Need::Required {
            return Err(Error::List { operation: task.endpoint.operation().id, reason });
        }
        // Lists may be refused with any status, 500 among them (hex-api.md); a fan-out that is down is a gap.
        let refused = task.endpoint.scope() == Scope::Workspace || answer.is_refusal();
        if matches!(self.source, Source::Api(_)) && !answer.replayed {
            for waiting in self.gates.fail(task.endpoint, &reason) {
                self.queue(waiting);
            }
        }
        self.finish(task, State::Failed, Some(reason), refused);
        Ok(())
    }

    fn found_project(&mut self, item: &str) {
        let Some(facts) = ProjectFacts::read(item).map(Arc::new) else {
            return;
        };
        if !self.met.insert(facts.id.clone()) {
            return;
        }
        for endpoint in Endpoint::PROJECTS.names() {
            if self.options.endpoints.contains(&endpoint) {
                self.plan_project(endpoint, &facts);
            }
        }
        self.report.projects.push(facts);
    }

    fn plan_project(&mut self, endpoint: Endpoint, facts: &Arc<ProjectFacts>) {
        let id = facts.id.clone();
        let known = self.base.known(endpoint, Some(&id));
        // What was read in part is as good as unread.
        let whole = known.filter(|known| known.stamp.is_some());
        let rank = self.rank(endpoint, facts.views, whole);
        let mut task = self.task(endpoint, Some(id.clone()), rank);
        task.facts = Some(facts.clone());
        let reusable = (!self.options.full).then_some(&*self.base);
        let decision = decide(endpoint, facts, reusable, &self.options.reread);
        self.progress.expect(endpoint, 1);
        let runs_come =
            endpoint == Endpoint::QUERIED_TABLES && self.options.endpoints.contains(&Endpoint::RUNS);
        match decision {
            Decision::Skip(why) => self.finish(task, State::Skipped, Some(why.into()), false),
            // With a budget, what was never read doesn't wait for runs that may be read last.
            Decision::Read(_) if runs_come && self.options.budget.is_limited() => {
                let latest = self.base.runs(&id).and_then(|runs| runs.latest_api_run);
                self.carry_out(task, Decision::Read(None), latest);
            }
            decision if runs_come => drop(self.awaiting_runs.insert(id, (task, decision))),
            decision => {
                let latest = self.base.runs(&id).and_then(|runs| runs.latest_api_run);
                self.carry_out(task, decision, latest);
            }
        }
    }

    /// With a budget, what is worth most per request comes first; without one, all is read in the order found.
    fn rank(&self, endpoint: Endpoint, views: i64, known: Option<&Known>) -> Rank {
        match self.options.budget.is_limited() {
            true => order::rank(endpoint, views, known, self.options.reread.now),
            false => (1, 0, 0),
        }
    }

    /// Reuses what is known of a project, or reads it.
    fn carry_out(&mut self, mut task: Task, decision: Decision, latest_api_run: Option<i64>) {
        let known = self.base.known(task.endpoint, task.entity.as_ref());
        let facts = task.facts.as_ref().expect("a fan-out over projects has their facts");
        let then = known.and_then(|known| known.stamp.as_deref());
        let now = stamp(task.endpoint, facts, then, latest_api_run);
        let has_moved = now.as_ref().is_none_or(|now| now.moved);
        match (decision, known) {
            (Decision::Reuse, Some(known)) if !has_moved => {
                task.rows = known.rows;
                task.read_at = known.last_read_at;
                task.stamp = known.stamp.clone();
                self.finish(task, State::Reused, None, false);
            }
            (decision, _) => {
                task.stamp = now.map(|now| now.text);
                if task.endpoint == Endpoint::RUNS {
                    let known = if let Decision::Read(known) = decision { known } else { None };
                    task.history = Some(History::new(known));
                }
                self.enqueue(task);
            }
        }
    }

    /// The runs of a project are read as far as they will be: its queried tables are next.
    fn settle_queried_tables(&mut self, project: &Arc<str>, latest_api_run: Option<i64>) {
        if let Some((task, decision)) = self.awaiting_runs.remove(project) {
            self.carry_out(task, decision, latest_api_run);
        }
    }

    fn found_group(&mut self, id: Arc<str>) {
        if !self.met.insert(id.clone()) {
            return;
        }
        for endpoint in Endpoint::GROUPS.names() {
            if self.options.endpoints.contains(&endpoint) {
                self.progress.expect(endpoint, 1);
                let rank = self.rank(endpoint, 0, self.base.known(endpoint, Some(&id)));
                let task = self.task(endpoint, Some(id.clone()), rank);
                self.enqueue(task);
            }
        }
        self.report.groups.push(id);
    }

    fn enqueue(&mut self, task: Task) {
        if self.options.budget.is_limited() && self.lists_open > 0 {
            self.held.push(task);
        } else {
            self.queue(task);
        }
    }

    fn finish(&mut self, task: Task, state: State, reason: Option<String>, refused: bool) {
        let whole = state == State::Fetched;
        self.finish_as(task, state, reason, refused, whole);
    }

    fn finish_as(&mut self, task: Task, state: State, reason: Option<String>, refused: bool, whole: bool) {
        let known = self.base.known(task.endpoint, task.entity.as_ref());
        let read_before: Option<DateTime<Utc>> = known.and_then(|known| known.last_read_at);
        let untouched = task.read_at.is_none();
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
                _ => None,
            },
            entity: task.entity,
            whole,
            known: read_before.is_some(),
            refused,
        };
        self.progress.done(&coverage);
        let list_ended = coverage.endpoint.names().next().is_some();
        let runs_of = (coverage.endpoint == Endpoint::RUNS).then(|| coverage.entity.clone()).flatten();
        self.report.add(coverage);
        if let Some(project) = runs_of {
            self.settle_queried_tables(&project, latest_api_run);
        }
        if list_ended {
            self.list_ended();
        }
    }

    fn list_ended(&mut self) {
        self.lists_open = self.lists_open.saturating_sub(1);
        if self.lists_open == 0 {
            for task in std::mem::take(&mut self.held) {
                self.queue(task);
            }
        }
    }
}
