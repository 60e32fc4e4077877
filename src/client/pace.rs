//! The pace: a limiter for each group of operations that Hex counts together.
//!
//! Every request waits for its group's turn, and for the cap over all groups if there is one. What an answer
//! says about limits teaches the group that it is in. Groups whose requests turn out to be counted together
//! are merged: they share one more limiter from then on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::announced::LimitHeaders;
use super::gauge::{Gauge, Refusal, Window};
use super::limits::{self, LimitGroup};
use super::operation::Operation;

/// A pause at least so long, in which another group is refused as well, is proof enough that both are counted
/// together. Of shorter ones it takes [`STRIKES`].
const TELLING_PAUSE: Duration = Duration::from_secs(3);
/// Refusals of one group during the short pause of another, with no answer between them.
const STRIKES: u32 = 2;
/// Refusals of a group that neither proved nor disproved that it is counted with another, after which it is
/// taken for a limit of its own.
const UNDECIDED: u32 = 2;

/// Limits on sending requests: our own figures. The server's are learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Requests a minute over all groups; `None` for no cap.
    pub total: Option<f64>,
    /// Requests that may leave together after a pause. 1 spaces all of them.
    pub burst: u32,
    /// Figures of each group, by name; a group that has none is not limited by us.
    pub groups: BTreeMap<&'static str, Figures>,
}

/// Requests that a group may send.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// In a minute.
    pub minute: Option<f64>,
    /// In an hour.
    pub hour: Option<f64>,
}

impl Figures {
    fn windows(self) -> Vec<Window> {
        [self.minute.map(Window::minute), self.hour.map(Window::hour)].into_iter().flatten().collect()
    }
}

impl From<&LimitGroup> for Figures {
    fn from(group: &LimitGroup) -> Self {
        Self { minute: Some(group.per_minute.into()), hour: group.per_hour.map(f64::from) }
    }
}

impl Pace {
    /// Hex's documented limits.
    pub fn hex() -> Self {
        let groups = limits::ALL.into_iter().map(|group| (group.name, Figures::from(group))).collect();
        Self { total: None, burst: 1, groups }
    }

    /// No limit of our own; the server's is still obeyed.
    pub fn unlimited() -> Self {
        Self { total: None, burst: 1, groups: BTreeMap::new() }
    }
}

/// A group of a pacer. Which operations are in it may change while the server teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Counter(usize);

/// A change of pace, and its cause, for a log that a person reads.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceChange {
    /// Group of operations.
    pub group: String,
    /// Requests a minute from now on; `None` when nothing limits them.
    pub per_minute: Option<f64>,
    /// Time in which the group sends nothing.
    pub pause: Option<Duration>,
    /// Why.
    pub cause: String,
}

/// A group's limits as they are now.
#[derive(Debug, Clone)]
pub struct GroupPace {
    /// Name of the group.
    pub name: String,
    /// Requests a minute at the current pace; `None` when nothing limits it.
    pub per_minute: Option<f64>,
    /// Requests an hour, where that is limited.
    pub per_hour: Option<f64>,
    /// Limits that the server announced for it, as requests and seconds.
    pub announced: Vec<(f64, f64)>,
    /// Whether any request of the group was sent.
    pub used: bool,
    /// Whether it is counted together with others.
    pub merged: bool,
}

struct Group {
    name: String,
    own: usize,
    /// The gauge that it shares since it was merged.
    shared: Option<usize>,
    /// Operation whose answer announced the group's limit.
    taught_by: Option<&'static str>,
    used: bool,
    undecided: u32,
}

/// A refusal that may mean that two groups are counted together.
#[derive(Clone, Copy)]
struct Suspicion {
    group: usize,
    at: Instant,
    until: Instant,
    /// The refusal, if it was one: else the server said that nothing is left.
    refusal: Option<Refusal>,
}

struct State {
    gauges: Vec<Gauge>,
    groups: Vec<Group>,
    /// Operations that the server taught us are in another group.
    moved: HashMap<&'static str, usize>,
    suspicion: Option<Suspicion>,
    strikes: u32,
    changes: Vec<PaceChange>,
}

/// The limiter. All workers of a crawl use one.
pub struct Pacer {
    state: Mutex<State>,
    /// Requests wait here, one queue a gauge, in the order in which they came; the first waits for its time.
    queues: Mutex<Vec<Arc<tokio::sync::Mutex<()>>>>,
    /// The cap over all groups.
    total: Option<usize>,
    burst: u32,
}

impl Pacer {
    /// A limiter that starts at `pace`.
    pub fn new(pace: &Pace) -> Self {
        let mut gauges = Vec::new();
        let mut groups = Vec::new();
        for group in limits::ALL {
            let figures = pace.groups.get(group.name).copied().unwrap_or_default();
            groups.push(Group::new(group.name.to_owned(), gauges.len()));
            gauges.push(Gauge::new(figures.windows(), pace.burst));
        }
        let total = pace.total.map(|total| {
            gauges.push(Gauge::new(vec![Window::minute(total)], pace.burst));
            gauges.len() - 1
        });
        let queues = Mutex::new(gauges.iter().map(|_| Arc::default()).collect());
        let state =
            State { gauges, groups, moved: HashMap::new(), suspicion: None, strikes: 0, changes: Vec::new() };
        Self { state: Mutex::new(state), queues, total, burst: pace.burst }
    }

    /// The group that an operation is in, by Hex's description or by what the server taught.
    pub fn group_of(&self, operation: &Operation) -> Counter {
        Counter(self.state().group_of(operation))
    }

    /// Time until a request of the group could leave if it were the next.
    pub fn ready_in(&self, group: Counter) -> Duration {
        let (state, now) = (self.state(), Instant::now());
        let gauges = state.gauges_of(group.0).chain(self.total);
        let at = gauges.map(|at| state.gauges[at].ready_at(now)).max().unwrap_or(now);
        at.saturating_duration_since(now)
    }

    /// Time until the longest pause of any group is over.
    pub fn paused_for(&self) -> Duration {
        let (state, now) = (self.state(), Instant::now());
        let until = state.gauges.iter().map(|gauge| gauge.paused_until).max().unwrap_or(now);
        until.saturating_duration_since(now)
    }

    /// Waits for this request's turn. Nothing is used up if the wait is given up.
    pub async fn turn(&self, operation: &Operation) {
        let group = self.group_of(operation).0;
        let own = self.state().groups[group].own;
        let queue = self.queue(own);
        let _first = queue.lock().await;
        let own_slot = self.wait_for(own).await;
        // Only when its own group lets it go does it queue for what is shared: first come, first served, so
        // that the group with the lower limit gets its share.
        let mut held = Vec::new();
        let mut slots = vec![(own, own_slot)];
        let shared: Vec<usize> =
            self.state().gauges_of(group).filter(|at| *at != own).chain(self.total).collect();
        for at in shared {
            held.push(self.queue(at).lock_owned().await);
            slots.push((at, self.wait_for(at).await));
        }
        loop {
            let pause = {
                let mut state = self.state();
                let now = Instant::now();
                let pause = slots.iter().map(|(at, _)| state.gauges[*at].paused_until).max();
                match pause.filter(|until| *until > now) {
                    // A pause that was called while this request slept holds it too.
                    Some(until) => until,
                    None => {
                        slots.iter().for_each(|(at, slot)| state.gauges[*at].depart(*slot, now));
                        state.groups[group].used = true;
                        return;
                    }
                }
            };
            tokio::time::sleep_until(pause).await;
            let now = Instant::now();
            let state = self.state();
            for (at, slot) in &mut slots {
                *slot = (*slot).max(state.gauges[*at].slot(now));
            }
        }
    }

    /// Waits until a gauge lets a request go.
    async fn wait_for(&self, at: usize) -> Instant {
        loop {
            let now = Instant::now();
            let (slot, paused_until) = {
                let state = self.state();
                (state.gauges[at].slot(now), state.gauges[at].paused_until)
            };
            // Requests that a pause held leave from its end on; a burst is not made up for.
            let slot = if paused_until > now { slot.max(paused_until) } else { slot };
            if slot > now {
                tokio::time::sleep_until(slot).await;
            }
            if self.state().gauges[at].paused_until <= Instant::now() {
                return slot;
            }
        }
    }

    /// Takes note of an answer that is no refusal.
    pub fn accepted(&self, operation: &'static Operation, headers: &LimitHeaders, sent_at: Instant) {
        let mut state = self.state();
        state.learn(operation, headers, self.burst);
        self.make_queues(&state);
        let group = state.group_of(operation);
        state.weigh_answer(group, sent_at);
        let most_specific = state.gauges_of(group).last();
        let gauges: Vec<usize> = state.gauges_of(group).chain(self.total).collect();
        for at in gauges {
            let of_the_limit =
                if Some(at) == most_specific { headers.clone() } else { LimitHeaders::default() };
            let pause = state.gauges[at].accept(&of_the_limit);
            if let Some(pause) = pause {
                state.suspect(group, pause);
            }
        }
    }

    /// Takes note of a refusal (429). Returns how long nothing of the group will be sent.
    pub fn refused(
        &self,
        operation: &'static Operation,
        headers: &LimitHeaders,
        retry_after: Option<Duration>,
        sent_at: Instant,
    ) -> Duration {
        let mut state = self.state();
        state.learn(operation, headers, self.burst);
        self.make_queues(&state);
        let group = state.group_of(operation);
        // Merged groups are paused together, since they are counted together.
        let at = state.groups[group].shared.unwrap_or(state.groups[group].own);
        let refusal = state.gauges[at].refuse(headers, retry_after, sent_at);
        if refusal.is_news {
            state.judge(group, at, refusal, operation, sent_at);
        }
        drop(state);
        self.make_queues(&self.state());
        refusal.wait
    }

    /// Changes of pace since the last call.
    pub fn changes(&self) -> Vec<PaceChange> {
        std::mem::take(&mut self.state().changes)
    }

    /// Requests a minute at the current pace of an operation; `None` when nothing limits it.
    pub fn per_minute(&self, operation: &Operation) -> Option<f64> {
        let state = self.state();
        state.per_minute(state.group_of(operation), self.total)
    }

    /// Every group with its limits.
    pub fn groups(&self) -> Vec<GroupPace> {
        let state = self.state();
        let pace_of = |(at, group): (usize, &Group)| {
            let windows = || state.gauges_of(at).flat_map(|gauge| state.gauges[gauge].windows());
            let hours = windows().filter(|w| w.length > Duration::from_secs(60));
            GroupPace {
                name: group.name.clone(),
                per_minute: state.per_minute(at, self.total),
                per_hour: hours.map(|w| w.per_second() * 3600.0).min_by(f64::total_cmp),
                announced: announced(&state.gauges[group.own]),
                used: group.used,
                merged: group.shared.is_some(),
            }
        };
        state.groups.iter().enumerate().map(pace_of).collect()
    }

    /// Requests a minute that `--rate` caps all groups at.
    pub fn total(&self) -> Option<f64> {
        self.total.and_then(|at| self.state().gauges[at].per_minute())
    }

    fn queue(&self, at: usize) -> Arc<tokio::sync::Mutex<()>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)[at].clone()
    }

    fn make_queues(&self, state: &State) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = state.gauges.len().max(queues.len());
        queues.resize_with(wanted, Arc::default);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn announced(gauge: &Gauge) -> Vec<(f64, f64)> {
    gauge.announced().iter().map(|w| (w.requests, w.length.as_secs_f64())).collect()
}

impl Group {
    fn new(name: String, own: usize) -> Self {
        Self { name, own, shared: None, taught_by: None, used: false, undecided: 0 }
    }
}

impl State {
    fn group_of(&self, operation: &Operation) -> usize {
        let documented = || limits::ALL.into_iter().position(|group| group.name == operation.group.name);
        self.moved.get(operation.id).copied().or_else(documented).unwrap_or(0)
    }

    /// The gauges that a request of the group waits for; the one that counts the server's limit comes last.
    fn gauges_of(&self, group: usize) -> impl Iterator<Item = usize> + use<> {
        let group = &self.groups[group];
        std::iter::once(group.own).chain(group.shared)
    }

    fn per_minute(&self, group: usize, total: Option<usize>) -> Option<f64> {
        let rates = self.gauges_of(group).chain(total).filter_map(|at| self.gauges[at].per_minute());
        rates.min_by(f64::total_cmp)
    }

    fn report(&mut self, group: usize, pause: Option<Duration>, cause: String) {
        let per_minute = self.per_minute(group, None);
        let group = self.groups[group].name.clone();
        self.changes.push(PaceChange { group, per_minute, pause, cause });
    }

    /// Takes an announced limit to the operation's own group, or the operation to the group whose limit it is.
    fn learn(&mut self, operation: &'static Operation, headers: &LimitHeaders, burst: u32) {
        let windows: Vec<Window> =
            headers.policies.iter().map(|p| Window { requests: p.requests, length: p.window }).collect();
        if windows.is_empty() {
            return;
        }
        let mut group = self.group_of(operation);
        let named = headers.policies.iter().filter_map(|policy| policy.name.as_deref());
        let named = named.filter_map(|name| self.groups.iter().position(|g| g.name == name)).next();
        let elsewhere = match named {
            Some(named) => (named != group).then_some(named),
            None if self.contradicts(group, operation, &windows) => {
                Some(self.group_with(&windows, operation, burst))
            }
            None => None,
        };
        if let Some(other) = elsewhere.filter(|other| *other != group) {
            self.moved.insert(operation.id, other);
            let cause =
                format!("the server counts {} in that group, by the limit that it announces", operation.id);
            self.report(other, None, cause);
            group = other;
        }
        self.groups[group].taught_by.get_or_insert(operation.id);
        let own = self.groups[group].own;
        if self.gauges[own].announce(&windows).is_some() {
            let limits: Vec<String> =
                windows.iter().map(|w| format!("{} in {} s", w.requests, w.length.as_secs_f64())).collect();
            self.report(
                group,
                None,
                format!("the server announces {} for {}", limits.join(" and "), operation.id),
            );
        }
    }

    /// Whether the limit is another one than that which another operation of the group announced.
    fn contradicts(&self, group: usize, operation: &Operation, windows: &[Window]) -> bool {
        let known = self.gauges[self.groups[group].own].announced();
        let other = self.groups[group].taught_by.is_some_and(|by| by != operation.id);
        let differs = |a: &Window| known.iter().any(|b| a.length == b.length && a.requests != b.requests);
        other && windows.iter().any(differs)
    }

    /// The group that has these limits, or a new one.
    fn group_with(&mut self, windows: &[Window], operation: &Operation, burst: u32) -> usize {
        let has = |group: &Group| {
            let gauge = &self.gauges[group.own];
            let known = if gauge.announced().is_empty() {
                gauge.windows().copied().collect()
            } else {
                gauge.announced().to_vec()
            };
            !known.is_empty() && windows.iter().all(|w| known.contains(w))
        };
        if let Some(at) = self.groups.iter().position(has) {
            return at;
        }
        self.groups.push(Group::new(format!("{}'s own", operation.id), self.gauges.len()));
        self.gauges.push(Gauge::new(windows.to_vec(), burst));
        self.groups.len() - 1
    }

    /// Decides what a refusal means: that the group is counted with another one, or that its limit is lower.
    fn judge(&mut self, group: usize, at: usize, refusal: Refusal, operation: &Operation, sent_at: Instant) {
        let now = Instant::now();
        let cause = |what: &str| format!("{} was refused (429){what}", operation.id);
        if self.groups[group].shared.is_some() || !self.may_be_shared(group, now) {
            self.gauges[at].slow_down(refusal);
            return self.report(group, Some(refusal.wait), cause(""));
        }
        let told = self.suspicion.filter(|s| s.group != group && sent_at > s.at && now <= s.until);
        if let Some(other) = told {
            self.strikes += 1;
            if self.strikes >= STRIKES || other.until.duration_since(other.at) >= TELLING_PAUSE {
                return self.merge(group, other.group, refusal);
            }
        }
        self.groups[group].undecided += 1;
        if self.groups[group].undecided > UNDECIDED {
            self.gauges[at].slow_down(refusal);
        }
        let until = now + refusal.wait;
        self.suspicion = Some(Suspicion { group, at: now, until, refusal: Some(refusal) });
        self.report(group, Some(refusal.wait), cause(" although its own limit is kept"));
    }

    /// Nothing is left in a window of which the group itself has used less: others use it as well.
    fn suspect(&mut self, group: usize, pause: Duration) {
        let now = Instant::now();
        let gauge = &self.gauges[self.groups[group].own];
        let minute = gauge.windows().map(|w| w.per_second() * 60.0).min_by(f64::total_cmp).unwrap_or(0.0);
        let unused = (gauge.lately(now) as f64) < 0.9 * minute;
        if self.suspicion.is_none_or(|s| s.until < now)
            && self.groups[group].shared.is_none()
            && unused
            && self.may_be_shared(group, now)
        {
            self.suspicion = Some(Suspicion { group, at: now, until: now + pause, refusal: None });
        }
    }

    /// Whether another group was busy enough to have used up a limit that both share.
    fn may_be_shared(&self, group: usize, now: Instant) -> bool {
        let keeps_figures = |g: &Group| self.gauges[g.own].has_figures();
        let busy = |(at, g): (usize, &Group)| {
            at != group && g.shared.is_none() && keeps_figures(g) && self.gauges[g.own].lately(now) > 0
        };
        keeps_figures(&self.groups[group]) && self.groups.iter().enumerate().any(busy)
    }

    /// An answer to one group in the pause of another: they are not counted together, so the limit of the
    /// other is a lower one of its own.
    fn weigh_answer(&mut self, group: usize, sent_at: Instant) {
        let now = Instant::now();
        let Some(told) = self.suspicion.filter(|s| s.group != group && sent_at > s.at && now <= s.until)
        else {
            return;
        };
        self.suspicion = None;
        self.strikes = 0;
        self.groups[told.group].undecided = 0;
        let Some(refusal) = told.refusal else { return };
        let own = self.groups[told.group].own;
        self.gauges[own].slow_down(refusal);
        self.report(
            told.group,
            None,
            "other groups still get responses: the limit is the group's own".into(),
        );
    }

    fn merge(&mut self, group: usize, other: usize, refusal: Refusal) {
        let now = Instant::now();
        let members = [group, other];
        let figures = members.iter().flat_map(|at| self.gauges[self.groups[*at].own].windows());
        let minute = figures.filter(|w| w.length <= Duration::from_secs(60)).map(|w| w.per_second() * 60.0);
        let minute = minute.max_by(f64::total_cmp);
        let shared = self.gauges.len();
        let mut gauge = Gauge::new(minute.map(Window::minute).into_iter().collect(), 1);
        gauge.paused_until = now + refusal.wait;
        self.gauges.push(gauge);
        for at in members {
            self.groups[at].shared = Some(shared);
            let own = self.groups[at].own;
            self.gauges[own].forget_measures();
        }
        self.suspicion = None;
        self.strikes = 0;
        let names = format!("{} and {}", self.groups[group].name, self.groups[other].name);
        self.report(
            group,
            Some(refusal.wait),
            format!("the server counts {names} together: both were refused while each kept its limit"),
        );
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests;
