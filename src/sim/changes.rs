//! What people do to a workspace while it is looked at.

use chrono::{DateTime, Utc};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::rng::{self, chance, pick};
use super::world::{RunSpec, World, iso};

/// A change of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A project is made.
    Create,
    /// A draft is edited: its cells are others.
    Edit,
    /// A draft is published.
    Publish,
    /// Published results are refreshed.
    Refresh,
    /// A project is archived, or taken out of the archive.
    Archive,
    /// A project is deleted for good.
    Delete,
    /// A published project has run.
    Run,
}

impl World {
    /// Makes a change to the project at `at` (to the workspace, for [`Change::Create`]). Gives the
    /// identifier of the project that it happened to; `None` if the change doesn't fit the project.
    pub fn change(&mut self, change: Change, at: usize, now: DateTime<Utc>) -> Option<String> {
        if change == Change::Create {
            let title = format!("Made while looking {}", self.projects.len());
            let at = self.create_project(now, title, None);
            return Some(self.projects[at].project.id.clone());
        }
        if change == Change::Delete {
            let id = self.projects.get(at)?.project.id.clone();
            self.delete_project(at);
            return Some(id);
        }
        // The history so far was made from the stamps so far.
        World::runs_mut(&self.config, self.projects.get_mut(at)?);
        let seed = self.config.seed;
        let record = self.projects.get_mut(at)?;
        let project = &mut record.project;
        let id = project.id.clone();
        match change {
            Change::Create | Change::Delete => {}
            Change::Edit => {
                record.edits += 1;
                project.last_edited_at = iso(now);
            }
            Change::Publish => {
                record.published_edits = record.edits;
                record.version += 1;
                project.last_published_at = Some(iso(now));
            }
            Change::Refresh => {
                project.last_published_at.as_ref()?;
                project.analytics.published_results_updated_at = Some(iso(now));
            }
            Change::Archive => project.archived_at = project.archived_at.is_none().then(|| iso(now)),
            Change::Run => {
                project.last_published_at.as_ref()?;
                let (index, config) = (record.index, self.config.clone());
                let runs = World::runs_mut(&config, record);
                let number = runs.len() as u32;
                let run_id = rng::uuid(seed, "changed-run", index.wrapping_mul(1 << 24) + u64::from(number));
                let spec = RunSpec {
                    number,
                    triggered: now,
                    elapsed_ms: Some(1_000 + number),
                    status: "COMPLETED",
                    trigger: "API",
                    id: Some(run_id),
                };
                runs.insert(0, spec);
            }
        }
        Some(id)
    }

    /// Makes a random change. Gives the identifier of the project that it happened to.
    pub(super) fn churn(&mut self, r: &mut ChaCha8Rng, now: DateTime<Utc>) -> Option<String> {
        if self.projects.is_empty() || chance(r, 0.15) {
            return self.change(Change::Create, 0, now);
        }
        let at = r.random_range(0..self.projects.len());
        let change = match pick(r, &["edit", "edit", "publish", "refresh", "archive", "delete", "run", "run"])
        {
            "edit" => Change::Edit,
            "publish" => Change::Publish,
            "refresh" => Change::Refresh,
            "archive" => Change::Archive,
            "delete" => Change::Delete,
            _ => Change::Run,
        };
        self.change(change, at, now)
    }
}
