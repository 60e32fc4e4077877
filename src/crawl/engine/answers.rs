//! Interpreting answers: a page, a refusal, the end of a list, or a gap.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::ask::{Answer, Source};
use super::super::endpoint::Need;
use super::super::gate::forbidden;
use super::super::order::FIRST_LOOK;
use super::super::runs::History;
use super::super::task::Task;
use super::{Engine, Landed, group};
use crate::client::operation::{EXPORT_PROJECT, GET_RUN_STATUS};
use crate::client::project_file::is_import;
use crate::client::{ApiRequest, Next, identifier, split_page};
use crate::crawl::{Empty, Endpoint, Error, Scope, State, Workspace};

impl Engine {
    pub(super) fn land(&mut self, (mut task, answer): Landed) -> Result<(), Error> {
        self.first_looks -= usize::from(task.rank.0 <= FIRST_LOOK);
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
        if task.request.operation().listing.is_none() {
            return self.land_single(task, &answer);
        }
        task.read_at.get_or_insert(answer.fetched_at);
        self.land_page(task, &answer)
    }

    /// Takes in an answer that isn't a page of a list. One that can't be read is a gap, and what is known stays.
    fn land_single(&mut self, mut task: Task, answer: &Answer) -> Result<(), Error> {
        match (task.endpoint.spec().count)(&answer.body) {
            Ok(rows) => {
                task.rows = rows;
                task.read_at = Some(answer.fetched_at);
                self.progress.page(task.endpoint, rows, answer.replayed);
                self.next_straggler(task, true)
            }
            Err(why) => self.fail(task, format!("the response can't be read: {why}"), answer),
        }
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
        let next = match (next, &mut task.history) {
            (Next::Page(next), Some(history)) => {
                let skipped = history.skip_known(next.offset());
                Next::Page(match skipped {
                    Some(offset) => next.with_query("offset", offset.to_string()),
                    None => next,
                })
            }
            (next, _) => next,
        };
        let has_skipped = task.history.as_ref().is_some_and(History::has_skipped);
        match next {
            _ if enough => self.read_to_known(task),
            Next::End if has_skipped => self.read_to_known(task),
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
        if endpoint == Endpoint::CELLS && !task.imports {
            task.imports = is_import(item);
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
            // Of a project that it can't find, the export says so with 400 (hex-openapi.json).
            (400, Scope::Project)
                if task.endpoint.operation() == &EXPORT_PROJECT
                    && reason.to_lowercase().contains("not found") =>
            {
                self.finish(task, State::Vanished, Some(format!("still listed: {reason}")), true);
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
}
