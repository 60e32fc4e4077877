//! Fanning out: the requests about each project and group that a list names.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::super::decide::{stamp, still_holds};
use super::super::order;
use super::super::runs::part_of;
use super::super::task::{Intent, Rank};
use super::Engine;
use crate::crawl::{Coverage, Decision, Endpoint, Known, ProjectFacts, State, decide};

impl Engine {
    pub(super) fn found_project(&mut self, item: &str) {
        let Some(facts) = ProjectFacts::read(item).map(Arc::new) else {
            return;
        };
        if !self.met.insert(facts.id.clone()) {
            return;
        }
        // What is imported waits for the cells, which may be settled at once.
        let waiting = [Endpoint::COMPONENT_IMPORTS];
        let others = Endpoint::PROJECTS.names().filter(|endpoint| !waiting.contains(endpoint));
        for endpoint in waiting.into_iter().chain(others) {
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
        let is_whole = |known: &&Known| known.stamp.as_deref().is_some_and(|s| part_of(s).is_none());
        let whole = known.filter(is_whole);
        let rank = self.rank(endpoint, facts.views, whole);
        let mut intent = self.intent(endpoint, Some(id.clone()), rank);
        intent.facts = Some(facts.clone());
        let reusable = (!self.options.full).then_some(&*self.base);
        let decision = decide(endpoint, facts, reusable, &self.options.reread);
        self.progress.expect(endpoint, 1);
        let runs_come =
            endpoint == Endpoint::QUERIED_TABLES && self.options.endpoints.contains(&Endpoint::RUNS);
        match decision {
            Decision::Skip(why) => self.finish(intent.begin(), State::Skipped, Some(why.into()), false),
            // With a budget, what is to be read doesn't wait for runs that may be read last; unless there may be no run.
            Decision::Read(_)
                if runs_come
                    && self.options.budget.is_limited()
                    && (facts.refreshed.is_some() || self.has_run(&id)) =>
            {
                let latest = self.base.runs(&id).and_then(|runs| runs.latest_api_run);
                self.carry_out(intent, Decision::Read(None), latest);
            }
            decision if runs_come => drop(self.awaiting_runs.insert(id, (intent, decision))),
            decision
                if endpoint == Endpoint::COMPONENT_IMPORTS
                    && self.options.endpoints.contains(&Endpoint::CELLS) =>
            {
                self.awaiting_cells.insert(id, (intent, decision));
            }
            decision => {
                let latest = self.base.runs(&id).and_then(|runs| runs.latest_api_run);
                self.carry_out(intent, decision, latest);
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
    fn carry_out(&mut self, mut intent: Intent, decision: Decision, latest_api_run: Option<i64>) {
        let known = self.base.known(intent.endpoint, intent.entity.as_ref());
        let facts = intent.facts.as_ref().expect("a fan-out over projects has their facts");
        let then = known.and_then(|known| known.stamp.as_deref());
        let now = stamp(intent.endpoint, facts, then, latest_api_run);
        let holds = |known: &Known| still_holds(facts, known, now.as_ref(), &self.options.reread);
        match (decision, known) {
            (Decision::Reuse, Some(known)) if holds(known) => {
                let mut task = intent.begin();
                task.rows = known.rows;
                task.read_at = known.last_read_at;
                task.stamp = known.stamp.clone();
                self.finish(task, State::Reused, None, false);
            }
            (decision, _) => {
                intent.stamp = now.map(|now| now.text);
                if intent.endpoint == Endpoint::RUNS {
                    let known = if let Decision::Read(known) = decision { known } else { None };
                    intent.history = Some((known, then.and_then(part_of)));
                }
                self.enqueue(intent);
            }
        }
    }

    /// The runs of a project are read as far as they will be: its queried tables are next.
    pub(super) fn settle_queried_tables(&mut self, project: &Arc<str>, latest_api_run: Option<i64>) {
        if let Some((intent, decision)) = self.awaiting_runs.remove(project) {
            self.carry_out(intent, decision, latest_api_run);
        }
    }

    /// Whether a run of a project is known from before.
    fn has_run(&self, project: &str) -> bool {
        self.base.runs(project).is_some_and(|known| known.runs > 0)
    }

    /// The project never ran, so it has queried nothing (hex-api.md): no run is listed, and its results were never
    /// refreshed, which a run whose listing has aged out would have done. What is known from before only an answer can
    /// end.
    pub(super) fn skip_queried_tables(
        &mut self,
        project: &Arc<str>,
        latest_api_run: Option<i64>,
        (runs, runs_read_at): (State, Option<DateTime<Utc>>),
    ) {
        let tables = self.base.known(Endpoint::QUERIED_TABLES, Some(project));
        let is_refreshed = |(intent, _): &(Intent, Decision)| {
            intent.facts.as_ref().is_none_or(|facts| facts.refreshed.is_some())
        };
        let has_results = self.awaiting_runs.get(project).is_some_and(is_refreshed);
        if has_results || self.has_run(project) || tables.is_some_and(|known| known.rows > 0) {
            return self.settle_queried_tables(project, latest_api_run);
        }
        if let Some((intent, _)) = self.awaiting_runs.remove(project) {
            let mut task = intent.begin();
            task.read_at = runs_read_at;
            // A history that is taken over says how it was.
            let (state, why) = match runs {
                State::Reused => (State::Reused, "it had never run when its runs were last read"),
                _ => (State::Skipped, "it never ran: it has queried nothing"),
            };
            self.finish(task, state, Some(why.into()), false);
        }
    }

    /// The cells of a project are read, or won't be: whether the project has a cell that imports a component, and so
    /// whether there is anything to ask its file for.
    pub(super) fn settle_imports(&mut self, cells: &Coverage, found: bool) {
        let Some(project) = &cells.entity else { return };
        let Some((intent, decision)) = self.awaiting_cells.remove(project) else { return };
        let imports = match cells.state {
            State::Fetched => Some(found),
            State::Reused => self.base.imports_components(project),
            _ => None,
        };
        match (imports, &decision) {
            (Some(true), _) | (None, Decision::Reuse) => self.carry_out(intent, decision, None),
            (Some(false), _) => {
                let mut task = intent.begin();
                task.read_at = cells.last_read_at;
                self.finish(task, State::Skipped, Some("no cell of it imports a component".into()), false);
            }
            (None, _) => {
                let why = "its cells were not read, so what they import isn't known";
                let why = cells.reason.as_ref().map_or(why.to_owned(), |reason| format!("{why}: {reason}"));
                self.finish(intent.begin(), cells.state, Some(why), cells.refused);
            }
        }
    }

    pub(super) fn found_group(&mut self, id: Arc<str>) {
        if !self.met.insert(id.clone()) {
            return;
        }
        for endpoint in Endpoint::GROUPS.names() {
            if self.options.endpoints.contains(&endpoint) {
                self.progress.expect(endpoint, 1);
                let rank = self.rank(endpoint, 0, self.base.known(endpoint, Some(&id)));
                let intent = self.intent(endpoint, Some(id.clone()), rank);
                self.enqueue(intent);
            }
        }
        self.report.groups.push(id);
    }

    fn enqueue(&mut self, intent: Intent) {
        if self.options.budget.is_limited() && self.lists_open > 0 {
            self.held.push(intent.into());
        } else {
            self.queue(intent);
        }
    }
}
