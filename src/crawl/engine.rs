//! The scheduler: one loop that hands out requests, most wanted first, and takes their answers in.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::{Answer, Source, ask, journalled, read_org_id};
use super::runs::History;
use super::{
    Base, Coverage, Decision, Endpoint, Error, Options, Progress, ProjectFacts, Scope, State, Stop, decide,
};
use crate::client::operation::GET_RUN_STATUS;
use crate::client::{ApiRequest, identifier, split_page};
use crate::journal::Journal;
use crate::snapshot::EndpointSummary;

/// Refusals (403) at the start of an endpoint's fan-out, with no answer between them, after which the rest is
/// not asked for: the token may not use the operation at all.
const REFUSALS: u32 = 5;
/// Time that requests under way get to be answered when the crawl is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// What a crawl found.
#[derive(Debug)]
pub struct Report {
    /// What came of each endpoint and entity.
    pub coverage: Vec<Coverage>,
    /// Sums of it by endpoint.
    pub endpoints: BTreeMap<Endpoint, EndpointSummary>,
    /// Organisation, if the API told it.
    pub org_id: Option<String>,
    /// Projects listed.
    pub projects: Vec<ProjectFacts>,
    /// Groups listed.
    pub groups: Vec<Arc<str>>,
    /// Answers that the journal had already.
    pub replayed: u64,
}

/// Reads everything that `options` name. What is in the journal is not asked for again.
///
/// # Errors
/// Any of [`Error`]; all answers that came are in the journal.
pub async fn crawl(
    source: Source,
    journal: Arc<Journal>,
    base: Option<Arc<Base>>,
    options: Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Report, Error> {
    let spent = journal.entries().iter().map(|entry| u64::from(entry.attempts)).sum();
    let mut engine = Engine {
        source,
        journal,
        base,
        options,
        progress,
        heap: BinaryHeap::new(),
        held: Vec::new(),
        tasks: JoinSet::new(),
        gates: HashMap::new(),
        lists_open: 0,
        met: HashSet::new(),
        serial: 0,
        spent,
        report: Report {
            coverage: Vec::new(),
            endpoints: BTreeMap::new(),
            org_id: None,
            projects: Vec::new(),
            groups: Vec::new(),
            replayed: 0,
        },
    };
    engine.run(&stop).await?;
    Ok(engine.report)
}

/// One question of a row of questions about an endpoint and entity.
#[derive(Debug)]
struct Task {
    endpoint: Endpoint,
    entity: Option<Arc<str>>,
    request: ApiRequest,
    /// Most wanted first: lists and further pages, then what was read longest ago, then what is viewed most.
    rank: (u8, i64, i64),
    serial: u64,
    stamp: Option<String>,
    history: Option<History>,
    /// Keys of the pages read: a server whose cursors go round in a circle is not followed.
    visited: HashSet<String>,
    requests: u64,
    rows: u64,
    read_at: Option<DateTime<Utc>>,
    /// Single runs that are asked for after the pages.
    stragglers: Vec<String>,
    in_stragglers: bool,
}

impl PartialEq for Task {
    fn eq(&self, other: &Self) -> bool {
        (self.rank, self.serial) == (other.rank, other.serial)
    }
}

impl Eq for Task {}

impl PartialOrd for Task {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Task {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives its greatest, and the least rank is wanted most.
        (other.rank, other.serial).cmp(&(self.rank, self.serial))
    }
}

/// Whether an endpoint's fan-out may be asked for.
#[derive(Debug)]
enum Gate {
    /// The first answer is awaited: it tells whether the workspace's plan has the operation.
    Probing { waiting: Vec<Task> },
    /// Refused so often so far, and never answered.
    Unproven { refusals: u32 },
    /// It was answered.
    Open,
    /// It is refused.
    Closed { reason: String },
}

type Landed = (Task, Result<Answer, Error>);

struct Engine {
    source: Source,
    journal: Arc<Journal>,
    base: Option<Arc<Base>>,
    options: Options,
    progress: Arc<dyn Progress>,
    heap: BinaryHeap<Task>,
    /// With a budget, the fan-out waits until all projects are known and can be ranked.
    held: Vec<Task>,
    tasks: JoinSet<Landed>,
    gates: HashMap<Endpoint, Gate>,
    /// Lists of projects and groups that are not read to their end.
    lists_open: u32,
    /// Projects and groups met so far: one that is listed twice, since pages shift while a workspace changes, is
    /// asked about once.
    met: HashSet<Arc<str>>,
    serial: u64,
    spent: u64,
    report: Report,
}

impl Engine {
    async fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        for endpoint in self.options.endpoints.clone() {
            if endpoint.scope() == Scope::Workspace {
                self.lists_open += u32::from(matches!(endpoint, Endpoint::Projects | Endpoint::Groups));
                self.progress.expect(endpoint, 1);
                let task = self.task(endpoint, None, (0, 0, 0));
                self.heap.push(task);
            }
        }
        loop {
            self.launch();
            let landed = tokio::select! {
                biased;
                () = stop.stopped() => return self.wind_down(Error::Interrupted).await,
                landed = self.tasks.join_next() => landed,
            };
            let Some(landed) = landed else { break };
            if let Err(error) = self.land(landed.expect("a request's task doesn't panic and isn't cancelled"))
            {
                return self.wind_down(error).await;
            }
        }
        debug_assert!(self.heap.is_empty() && self.held.is_empty());
        Ok(())
    }

    /// Gives the requests under way a little time to be answered and journalled.
    async fn wind_down(&mut self, error: Error) -> Result<(), Error> {
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, rest).await;
        self.tasks.abort_all();
        Err(error)
    }

    fn task(&mut self, endpoint: Endpoint, entity: Option<Arc<str>>, rank: (u8, i64, i64)) -> Task {
        self.serial += 1;
        Task {
            endpoint,
            request: endpoint.first_request(entity.as_deref()),
            entity,
            rank,
            serial: self.serial,
            stamp: None,
            history: None,
            visited: HashSet::new(),
            requests: 0,
            rows: 0,
            read_at: None,
            stragglers: Vec::new(),
            in_stragglers: false,
        }
    }

    /// Starts as many requests as may be under way.
    fn launch(&mut self) {
        while self.tasks.len() < self.options.concurrency.max(1) {
            let Some(task) = self.heap.pop() else { return };
            let Some(task) = self.pass_gate(task) else {
                continue;
            };
            if self.is_spent(&task) {
                self.defer(task);
                continue;
            }
            let (source, journal) = (self.source.clone(), self.journal.clone());
            self.tasks.spawn(async move {
                let answer = ask(&source, &journal, &task.request, task.entity.as_ref()).await;
                (task, answer)
            });
        }
    }

    /// Holds a task back while its endpoint is probed, and drops it where the endpoint is refused.
    fn pass_gate(&mut self, task: Task) -> Option<Task> {
        if task.endpoint.scope() == Scope::Workspace || !task.visited.is_empty() {
            return Some(task);
        }
        match self.gates.get_mut(&task.endpoint) {
            None if task.endpoint == Endpoint::QueriedTables => {
                self.gates.insert(task.endpoint, Gate::Probing { waiting: Vec::new() });
            }
            None => drop(self.gates.insert(task.endpoint, Gate::Unproven { refusals: 0 })),
            Some(Gate::Probing { waiting }) => {
                waiting.push(task);
                return None;
            }
            Some(Gate::Unproven { .. } | Gate::Open) => {}
            Some(Gate::Closed { reason }) => {
                let reason = reason.clone();
                self.finish(task, State::Forbidden, Some(reason));
                return None;
            }
        }
        Some(task)
    }

    fn is_spent(&self, task: &Task) -> bool {
        let budget = self.options.budget;
        if task.endpoint.scope() == Scope::Workspace || !budget.is_limited() {
            return false;
        }
        let over = budget.until.is_some_and(|until| Instant::now() >= until)
            || budget.requests.is_some_and(|most| self.spent + self.tasks.len() as u64 >= most);
        over && journalled(&self.journal, &self.source, &task.request.key()).is_none()
    }

    fn defer(&mut self, task: Task) {
        if let Some(Gate::Probing { waiting }) = self.gates.get_mut(&task.endpoint)
            && task.visited.is_empty()
        {
            // The probe itself is not sent: nobody waits for it any more.
            let waiting = std::mem::take(waiting);
            self.gates.remove(&task.endpoint);
            self.heap.extend(waiting);
        }
        let reason = match task.requests {
            0 => "the budget ended first; the next export reads it".to_owned(),
            sent => format!("the budget ended after {sent} requests; the next export reads it anew"),
        };
        self.finish(task, State::Deferred, Some(reason));
    }

    fn land(&mut self, (mut task, answer): Landed) -> Result<(), Error> {
        let answer = answer?;
        task.requests += u64::from(answer.attempts);
        self.report.endpoints.entry(task.endpoint).or_default().retries +=
            u64::from(answer.attempts.saturating_sub(1));
        if answer.replayed {
            self.report.replayed += 1;
        } else {
            self.spent += u64::from(answer.attempts);
        }
        let first = task.visited.is_empty();
        if first {
            self.settle_gate(task.endpoint, &answer);
        }
        if task.in_stragglers {
            return self.land_straggler(task, &answer);
        }
        if !answer.is_ok() {
            return self.land_refusal(task, &answer);
        }
        task.read_at.get_or_insert(answer.fetched_at);
        let Some(listing) = task.request.operation().listing else {
            self.report.org_id = read_org_id(&answer.body);
            self.progress.page(task.endpoint, 1, answer.replayed);
            task.rows = 1;
            self.finish(task, State::Fetched, None);
            return Ok(());
        };
        let page = match split_page(&listing, &answer.body) {
            Ok(page) => page,
            Err(why) => return self.fail(task, format!("the answer is not a page: {why}")),
        };
        task.rows += page.items.len() as u64;
        self.progress.page(task.endpoint, page.items.len() as u64, answer.replayed);
        match task.endpoint {
            Endpoint::Projects => page.items.iter().for_each(|item| self.found_project(item.get())),
            Endpoint::Groups => page.items.iter().for_each(|item| self.found_group(item.get())),
            Endpoint::Runs => {
                if let Some(history) = &mut task.history {
                    page.items.iter().for_each(|item| history.see(item.get()));
                }
            }
            _ => {}
        }
        if let Some(why) = &page.end.unreadable {
            return self.fail(task, why.clone());
        }
        let key = task.request.key();
        let next = task.request.next(&page.end).filter(|next| !task.visited.contains(&next.key()));
        task.visited.insert(key);
        let enough = task.history.as_ref().is_some_and(History::is_enough);
        match next {
            Some(next) if !enough => {
                task.request = next;
                task.rank.0 = 0;
                self.heap.push(task);
            }
            more => {
                let whole = more.is_none();
                // A run that had not ended, and that a history read to its end doesn't have, is gone.
                if !whole && let Some(history) = &task.history {
                    task.stragglers = history.unseen_open();
                }
                self.next_straggler(task, whole);
            }
        }
        Ok(())
    }

    fn next_straggler(&mut self, mut task: Task, whole: bool) {
        match task.stragglers.pop() {
            Some(run) => {
                let project = task.entity.clone().expect("runs are of a project");
                task.request = ApiRequest::new(&GET_RUN_STATUS, &[&project, &run]);
                task.in_stragglers = true;
                task.rank.0 = 0;
                self.heap.push(task);
            }
            None => self.finish_as(task, State::Fetched, None, whole),
        }
    }

    fn land_straggler(&mut self, mut task: Task, answer: &Answer) -> Result<(), Error> {
        match answer.status {
            404 => {}
            _ if answer.is_ok() => task.rows += 1,
            _ => return self.fail(task, answer.reason()),
        }
        self.next_straggler(task, false);
        Ok(())
    }

    fn land_refusal(&mut self, task: Task, answer: &Answer) -> Result<(), Error> {
        let reason = answer.reason();
        let needed = matches!(task.endpoint, Endpoint::Projects);
        match (answer.status, task.endpoint.scope()) {
            (403, _) if needed => {
                return Err(Error::Forbidden { operation: task.endpoint.operation().id, reason });
            }
            (403, _) => self.finish(task, State::Forbidden, Some(forbidden(reason))),
            (404, Scope::Workspace) if !needed => {
                self.finish(
                    task,
                    State::Skipped,
                    Some(format!("this server doesn't have the operation: {reason}")),
                );
            }
            (404, Scope::Group | Scope::Project) => self.finish(task, State::Vanished, Some(reason)),
            _ => return self.fail(task, reason),
        }
        Ok(())
    }

    /// A gap, or for a list of the workspace the end of the crawl: a snapshot without half the projects would
    /// say that they are gone.
    fn fail(&mut self, task: Task, reason: String) -> Result<(), Error> {
        if task.endpoint.scope() == Scope::Workspace {
            return Err(Error::List { operation: task.endpoint.operation().id, reason });
        }
        self.finish(task, State::Failed, Some(reason));
        Ok(())
    }

    fn settle_gate(&mut self, endpoint: Endpoint, answer: &Answer) {
        let Some(gate) = self.gates.get_mut(&endpoint) else {
            return;
        };
        let refused = answer.status == 403;
        let mut waiting = Vec::new();
        let next = match gate {
            Gate::Probing { waiting: held } => {
                waiting = std::mem::take(held);
                match refused {
                    true => Gate::Closed { reason: forbidden(answer.reason()) },
                    // Neither refused nor answered: the next one probes.
                    false if !answer.is_ok() && answer.status != 404 => Gate::Probing { waiting: Vec::new() },
                    false => Gate::Open,
                }
            }
            Gate::Unproven { refusals } if refused && *refusals + 1 >= REFUSALS => {
                let reason = forbidden(answer.reason());
                Gate::Closed { reason: format!("the first {REFUSALS} were all refused: {reason}") }
            }
            Gate::Unproven { refusals } if refused => Gate::Unproven { refusals: *refusals + 1 },
            Gate::Unproven { .. } if answer.is_ok() => Gate::Open,
            _ => return,
        };
        if matches!(next, Gate::Probing { .. }) {
            self.gates.remove(&endpoint);
        } else {
            *gate = next;
        }
        self.heap.extend(waiting);
    }

    fn found_project(&mut self, item: &str) {
        let Some(facts) = ProjectFacts::read(item) else {
            return;
        };
        if !self.met.insert(facts.id.clone()) {
            return;
        }
        for endpoint in [Endpoint::QueriedTables, Endpoint::Runs, Endpoint::Cells] {
            if self.options.endpoints.contains(&endpoint) {
                self.plan_project(endpoint, &facts);
            }
        }
        self.report.projects.push(facts);
    }

    fn plan_project(&mut self, endpoint: Endpoint, facts: &ProjectFacts) {
        let id = facts.id.clone();
        let known = self.base.as_ref().and_then(|base| base.known(endpoint, Some(&id))).cloned();
        let read_before =
            known.as_ref().and_then(|known| known.last_read_at).map_or(i64::MIN, |at| at.timestamp_micros());
        let rank = match self.options.budget.is_limited() {
            true => (1, read_before, -facts.views),
            false => (1, 0, 0),
        };
        let mut task = self.task(endpoint, Some(id), rank);
        task.stamp = Some(facts.stamp(endpoint));
        let decision = decide(endpoint, facts, self.base.as_deref());
        self.progress.expect(endpoint, 1);
        match decision {
            Decision::Skip(why) => self.finish(task, State::Skipped, Some(why.into())),
            Decision::Reuse => {
                let known = known.expect("what is reused is known");
                task.rows = known.rows;
                task.read_at = known.last_read_at;
                self.finish(task, State::Reused, None);
            }
            Decision::Read(known_runs) => {
                if endpoint == Endpoint::Runs {
                    task.history = Some(History::new(known_runs));
                }
                self.enqueue(task);
            }
        }
    }

    fn found_group(&mut self, item: &str) {
        let listing = Endpoint::Groups.operation().listing;
        let Some(id) = listing.and_then(|listing| identifier(&listing, item)) else { return };
        let id: Arc<str> = Arc::from(id);
        if !self.met.insert(id.clone()) {
            return;
        }
        if self.options.endpoints.contains(&Endpoint::GroupMembers) {
            self.progress.expect(Endpoint::GroupMembers, 1);
            // Groups are few, and who may see what matters: they come before all projects.
            let task = self.task(Endpoint::GroupMembers, Some(id.clone()), (1, i64::MIN, i64::MIN));
            self.enqueue(task);
        }
        self.report.groups.push(id);
    }

    fn enqueue(&mut self, task: Task) {
        if self.options.budget.is_limited() && self.lists_open > 0 {
            self.held.push(task);
        } else {
            self.heap.push(task);
        }
    }

    fn finish(&mut self, task: Task, state: State, reason: Option<String>) {
        let whole = state == State::Fetched;
        self.finish_as(task, state, reason, whole);
    }

    fn finish_as(&mut self, task: Task, state: State, reason: Option<String>, whole: bool) {
        let known = self.base.as_ref().and_then(|base| base.known(task.endpoint, task.entity.as_ref()));
        let untouched = task.read_at.is_none();
        let coverage = Coverage {
            endpoint: task.endpoint,
            state,
            reason,
            requests: task.requests,
            rows: task.rows,
            // What was not read now is as old, and as whole, as it was. What was read in part is not whole:
            // between its new rows and the known ones there may be others.
            last_read_at: task.read_at.or_else(|| known.and_then(|k| k.last_read_at)),
            stamp: match state {
                State::Fetched | State::Reused => task.stamp,
                State::Deferred | State::Failed if untouched => known.and_then(|k| k.stamp.clone()),
                _ => None,
            },
            entity: task.entity,
            whole,
        };
        let summary = self.report.endpoints.entry(coverage.endpoint).or_default();
        summary.requests += coverage.requests;
        summary.rows += if state == State::Reused { 0 } else { coverage.rows };
        *summary.states.entry(state.name().into()).or_default() += 1;
        self.progress.done(&coverage);
        let list_ended = matches!(coverage.endpoint, Endpoint::Projects | Endpoint::Groups);
        self.report.coverage.push(coverage);
        if list_ended {
            self.lists_open = self.lists_open.saturating_sub(1);
            if self.lists_open == 0 {
                self.heap.extend(std::mem::take(&mut self.held));
            }
        }
    }
}

fn forbidden(reason: String) -> String {
    format!("{reason}; ask a workspace admin for a token or plan that has it")
}
