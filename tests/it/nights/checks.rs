//! What must hold after each night.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hexport::client::users::ActingAs;
use hexport::crawl::{Endpoint, Freshness, Quiet, Scope, Shrink, State, Stop};
use hexport::export::{Accept, Options, Outcome, Reuse, choose, rebuild};
use hexport::registry;
use hexport::snapshot::{Policy, SnapshotId};
use serde_json::Value;

use super::oracle::{History, Key, Row, Snapshot, WATCHED, endpoint_of, entity, names_of};
use super::{Nights, Plan};

impl Nights {
    pub fn check_committed(&mut self, plan: &Plan, outcome: &Outcome) {
        let snapshot = Snapshot::read(&self.lake, self.lake.latest().unwrap().expect("a snapshot"));
        self.happened("committed", snapshot.id());
        if outcome.resumed > 0 {
            self.happened("resumed", outcome.resumed);
        }
        if snapshot.manifest.complete {
            *self.counts.entry("complete".into()).or_default() += 1;
        }
        let sequence = self.newest.as_ref().and_then(|newest| newest.manifest.sequence).unwrap_or(0) + 1;
        if snapshot.manifest.sequence != Some(sequence) || snapshot.manifest != outcome.manifest {
            self.problem(format!("sequence {:?} and not {sequence}", snapshot.manifest.sequence));
        }
        let gaps = snapshot.manifest.tables.values().any(|table| table.state.unwrap().is_gap());
        if snapshot.manifest.complete == gaps || (outcome.gaps().next().is_some() != gaps) {
            let (complete, named) = (snapshot.manifest.complete, outcome.gaps().count());
            self.problem(format!("complete: {complete}, tables with gaps: {gaps}, {named} gaps named"));
        }
        let now = plan.options.fixed_time.unwrap_or_else(Utc::now);
        self.check_reuse(&snapshot, plan, now);
        self.check_rows(&snapshot, plan);
        let snapshot = Arc::new(snapshot);
        for (table, _) in WATCHED.iter().filter(|(table, _)| snapshot.manifest.holds_whole(table)) {
            self.holders.insert(table, snapshot.clone());
        }
        self.newest = Some(snapshot);
    }

    /// What is reused was read within the time allowed; runs are reused only where they may be seen late.
    fn check_reuse(&mut self, snapshot: &Snapshot, plan: &Plan, now: DateTime<Utc>) {
        // What is archived or in the trash may be read as late as its runs.
        let of_archived = match plan.options.freshness {
            Freshness::Exact => TimeDelta::zero(),
            Freshness::Within(bound) => bound.max(TimeDelta::days(30)),
        };
        for ((endpoint, id), covered) in &snapshot.coverage {
            let within = match *endpoint == Endpoint::RUNS {
                true => Some(of_archived),
                false => plan.options.revalidate.map(|within| within.max(of_archived)),
            };
            let age = covered.last_read_at.map(|at| now.timestamp_micros() - at);
            let is_late = |within: TimeDelta| age.is_none_or(|age| age > within.num_microseconds().unwrap());
            if covered.state == State::Reused && within.is_some_and(is_late) {
                self.problem(format!("{endpoint:?} {id:?} is reused after {age:?} microseconds"));
            }
        }
    }

    fn check_rows(&mut self, snapshot: &Snapshot, plan: &Plan) {
        let history = self.history.clone();
        let history = history.lock().unwrap();
        let begun = self.journals.get(snapshot.id()).map_or(history.first_of(self.night), |begun| begun.0);
        let states = begun..=history.last();
        for (table, rows) in &snapshot.tables {
            for (id, row) in rows {
                self.check_row(snapshot, &history, (*table, id.to_string()), row, states.clone());
            }
            self.check_presence(snapshot, &history, table, states.clone());
            self.check_departures(snapshot, &history, table, states.clone(), plan);
        }
        if plan.is_quiet {
            self.check_quiet(snapshot, &history, plan);
        }
    }

    /// A row was true when it says that it was read, and is true now if its table says so.
    fn check_row(
        &mut self,
        snapshot: &Snapshot,
        history: &History,
        key: Key,
        row: &Row,
        states: RangeInclusive<usize>,
    ) {
        let state = snapshot.state(key.0);
        if !history.was_ever(&key, &row.value, history.states_at(row.fetched_at)) {
            self.problem(format!("{key:?}: {row:?} wasn't true when it says it was read"));
        }
        // A run stays after Hex has forgotten it, and one that is given up isn't asked about.
        let is_past = key.0 == "runs" && (row.gone || row.given_up || !history.now.contains_key(&key));
        if state.is_current() && !is_past && !history.was_ever(&key, &row.value, states.clone()) {
            self.problem(format!("{key:?}: {row:?} isn't true, and the table is {state:?}"));
        }
        let asked = snapshot.covered(endpoint_of(key.0), Some(entity(&key.1)));
        if row.gone && asked == Some(State::Fetched) && history.was_always_there(&key, states) {
            self.problem(format!("{key:?}: {row:?} is said to be gone"));
        }
    }

    /// After a night without faults on which everything is believed, the snapshot is the truth.
    fn check_quiet(&mut self, snapshot: &Snapshot, history: &History, plan: &Plan) {
        for table in snapshot.tables.keys().filter(|table| !snapshot.state(table).is_current()) {
            self.problem(format!("{table} is {:?} after a quiet night", snapshot.state(table)));
        }
        for (key, value) in &history.now {
            let Some(rows) = snapshot.tables.get(key.0) else { continue };
            let no_stamp = plan.options.reuse == Reuse::Unchanged && key.1.contains("made.by_runs");
            match rows.get(&key.1) {
                Some(row) if row.value == *value || row.given_up => {}
                None if no_stamp => {}
                row => self.problem(format!("{key:?}: {row:?} and not {value} after a quiet night")),
            }
        }
    }

    /// Nothing that the token could see all the time is left out, unless coverage says so.
    fn check_presence(
        &mut self,
        snapshot: &Snapshot,
        history: &History,
        table: &'static str,
        states: RangeInclusive<usize>,
    ) {
        let endpoint = endpoint_of(table);
        let list = endpoint.named_by().unwrap_or(endpoint);
        let state = snapshot.state(table);
        for key in history.now.keys().filter(|key| key.0 == table) {
            if snapshot.tables[table].contains_key(&key.1) || !history.was_always_there(key, states.clone()) {
                continue;
            }
            let of_entity =
                endpoint.named_by().and_then(|_| snapshot.covered(endpoint, Some(entity(&key.1))));
            let of_list = snapshot.covered(list, None);
            let is_gap = |state: State| !matches!(state, State::Fetched | State::Reused | State::Skipped);
            let is_said = of_entity.is_some_and(is_gap) || of_list.is_none_or(is_gap);
            // API runs move no stamp: what they queried is found within the time of revalidation. Runs are reused
            // where they may be seen late, and with them what the first run queried.
            let of_runs = snapshot.covered(Endpoint::RUNS, Some(entity(&key.1)));
            let is_late = of_runs == Some(State::Reused) || key.1.contains("made.by_runs");
            let is_unseen = of_entity == Some(State::Reused)
                && (table == "runs" || (table == "queried_tables" && is_late));
            if !is_unseen && (!is_said || state.is_current()) {
                self.problem(format!(
                    "{key:?} is left out: {table} {state:?}, entity {of_entity:?}, runs {of_runs:?}, list {of_list:?}"
                ));
            }
        }
    }

    /// Rows leave only when a list that was read to its end leaves them out, or what they are of.
    fn check_departures(
        &mut self,
        snapshot: &Snapshot,
        history: &History,
        table: &'static str,
        states: RangeInclusive<usize>,
        plan: &Plan,
    ) {
        let Some(before) = self.holders.get(table).cloned() else { return };
        let endpoint = endpoint_of(table);
        let list = endpoint.named_by().unwrap_or(endpoint);
        let was_absent = |key: &Key| !history.was_always_there(key, states.clone());
        let left = before.tables[table].keys().filter(|id| !snapshot.tables[table].contains_key(*id));
        let left: Vec<&String> = left.collect();
        for id in &left {
            let named = (names_of(table), entity(id).to_owned());
            let list_says = snapshot.covered(list, None) == Some(State::Fetched) && was_absent(&named);
            let read =
                matches!(snapshot.covered(endpoint, Some(entity(id))), Some(State::Fetched | State::Skipped));
            let may_leave = list_says || (read && was_absent(&(table, (*id).clone())));
            if table == "runs" || !may_leave {
                let asked = (snapshot.covered(list, None), snapshot.covered(endpoint, Some(entity(id))));
                self.problem(format!("{table} {id} has left without a list that leaves it out: {asked:?}"));
            }
        }
        if left.is_empty()
            || plan.options.accept_shrink != Accept::Nothing
            || endpoint.scope() != Scope::Workspace
        {
            return;
        }
        let (then, now) = (before.seen_by(table), snapshot.seen_by(table));
        if then != ActingAs::Unknown && then != now {
            self.problem(format!(
                "{table}: {left:?} have left, and only another user says so ({then}, {now})"
            ));
        }
        let is_doubted = |id: &&String| before.missing.contains(&(endpoint, (*id).clone()));
        let newly = left.iter().filter(|id| !is_doubted(id)).count();
        let known = before.tables[table].keys().filter(|id| !is_doubted(id)).count();
        let is_sudden = newly > 0 && (newly == known || (newly >= 10 && newly * 5 > known));
        if is_sudden && endpoint.spec().shrink == Shrink::Guarded {
            self.problem(format!("{table}: {newly} of {known} have left at once"));
        }
    }

    pub fn prune(&mut self) {
        let policy = Policy { last: 1 + self.below(4) as u32, ..Policy::default() };
        let lock = self.lake.lock().unwrap();
        let plan = self.lake.prune_plan(&policy, registry::all()).unwrap();
        let gone: Vec<&SnapshotId> =
            plan.iter().filter(|(_, why)| why.is_empty()).map(|(id, _)| id).collect();
        self.lake.carry_out(&plan).unwrap();
        self.lake.repair().unwrap();
        self.lake.tidy(lock);
        self.happened("pruned", gone.len());
        for (table, holder) in &self.holders {
            if self.lake.manifest(&holder.manifest.snapshot_id).is_err() {
                self.problems.push(format!("prune took {}, the newest that holds {table}", holder.id()));
            }
        }
    }

    /// What is rebuilt from the journal of a committed snapshot is that snapshot.
    pub fn rebuild(&mut self) {
        let committed = self.lake.snapshots().unwrap();
        let kept: Vec<SnapshotId> = self.lake.journals().unwrap().into_iter().map(|(id, _)| id).collect();
        let kept: Vec<SnapshotId> = kept.into_iter().filter(|id| committed.contains(id)).collect();
        if kept.is_empty() {
            return;
        }
        let id = kept[self.below(kept.len())].clone();
        let before = Snapshot::read(&self.lake, self.lake.manifest(&id).unwrap());
        let options = Options { tables: choose(&[]).unwrap(), ..Options::default() };
        let newest = fingerprint(self.dir.path());
        let done = rebuild(&self.lake, Some(&id), options, Arc::new(Quiet), Stop::default());
        let done = self.runtime.block_on(done);
        self.happened("rebuilt", &id);
        // A rebuild that would know less is refused: what is there stays, which is all that it owes.
        if let Err(hexport::export::Error::Worse { .. }) = &done {
            assert_eq!(fingerprint(self.dir.path()), newest, "a refused rebuild changes nothing");
            return self.happened("rebuild refused", &id);
        }
        if let Err(error) = done {
            return self.problem(format!("{id} can't be rebuilt: {error}\n{}", self.story(&id)));
        }
        let after = Snapshot::read(&self.lake, self.lake.manifest(&id).unwrap());
        if before.manifest.sequence != after.manifest.sequence {
            self.problem(format!("{id} was rebuilt with the sequence {:?}", after.manifest.sequence));
        }
        let is_newest = self.newest.as_ref().is_some_and(|newest| newest.id() == &*id);
        if !is_newest && fingerprint(self.dir.path()) != newest {
            self.problem(format!("the newest snapshot changed when {id} was rebuilt"));
        }
        for (table, rows) in &before.tables {
            let now = &after.tables[table];
            let (state, is) = (before.state(table), after.state(table));
            let differs: Vec<_> =
                rows.iter().filter(|(key, row)| now.get(*key) != Some(*row)).take(2).collect();
            if !differs.is_empty() || now.len() != rows.len() || is.rank() > state.rank() {
                self.problem(format!(
                    "{table} of {id} was {state:?} with {} rows and is {is:?} with {} when rebuilt: {differs:?}\n{}",
                    rows.len(),
                    now.len(),
                    self.story(&id),
                ));
            }
        }
    }
}

/// The newest snapshot's files and the pointer at it, byte for byte.
pub fn fingerprint(lake: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(pointer) = std::fs::read(lake.join("latest.json")) else { return BTreeMap::new() };
    let latest: Value = serde_json::from_slice(&pointer).unwrap();
    let folder = lake.join(latest["path"].as_str().unwrap());
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files = files.map(|path| (name(&path), std::fs::read(&path).unwrap()));
    files.chain([("latest.json".to_owned(), pointer)]).collect()
}
