//! Changes of a workspace while it is looked at.

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::rng::{self, chance, pick};
use crate::client::projects::QueriedTable;

use super::world::{ApiRun, RunSpec, World, iso};

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
    /// A published project has run over the API: moves no stamp of the project.
    Run,
    /// A run has queried a table that no cell names: moves no stamp either.
    RunNewTable,
    /// A project gets another title.
    Retitle,
    /// A project goes to the trash, or comes back.
    Trash,
    /// A user joins.
    CreateUser,
    /// A user (`at` among the users) gets another role.
    EditUser,
    /// A user (`at` among the users) is deactivated.
    RemoveUser,
    /// A group is made.
    CreateGroup,
    /// A group (`at` among the groups) is renamed, and its first user joins or leaves.
    EditGroup,
    /// A group (`at` among the groups) is deleted.
    RemoveGroup,
    /// A collection is made.
    CreateCollection,
    /// A collection (`at` among the collections) is deleted.
    RemoveCollection,
}

impl Change {
    /// Every change.
    pub const ALL: [Self; 18] = [
        Self::Create,
        Self::Edit,
        Self::Publish,
        Self::Refresh,
        Self::Archive,
        Self::Delete,
        Self::Run,
        Self::RunNewTable,
        Self::Retitle,
        Self::Trash,
        Self::CreateUser,
        Self::EditUser,
        Self::RemoveUser,
        Self::CreateGroup,
        Self::EditGroup,
        Self::RemoveGroup,
        Self::CreateCollection,
        Self::RemoveCollection,
    ];
}

impl World {
    /// Makes a change to what stands at place `at`: a project, or a user, group or collection where the change
    /// is one of those. Gives its identifier; `None` if there is no such thing, or the change doesn't fit it.
    pub fn change(&mut self, change: Change, at: usize, now: DateTime<Utc>) -> Option<String> {
        match change {
            Change::Create => {
                let title = format!("Made while looking {}", self.projects.len());
                let at = self.create_project(now, title, None);
                Some(self.projects[at].project.id.to_string())
            }
            Change::Delete => {
                let id = self.projects.get(at)?.project.id.to_string();
                self.delete_project(at);
                Some(id)
            }
            Change::CreateUser | Change::EditUser | Change::RemoveUser => self.change_users(change, at, now),
            Change::CreateGroup | Change::EditGroup | Change::RemoveGroup => {
                self.change_groups(change, at, now)
            }
            Change::CreateCollection => {
                let name = format!("Shelf {}", self.serial());
                let at = self.create_collection(now, name);
                Some(self.collections[at].id.to_string())
            }
            Change::RemoveCollection => {
                (at < self.collections.len()).then(|| self.remove_collection(at).id.into())
            }
            _ => self.change_project(change, at, now),
        }
    }

    fn change_users(&mut self, change: Change, at: usize, now: DateTime<Utc>) -> Option<String> {
        match change {
            Change::CreateUser => {
                let email = format!("new.{}@acme.example", self.serial());
                let at = self.create_user(now, email, "EDITOR");
                Some(self.users[at].id.to_string())
            }
            Change::EditUser => {
                let user = self.users.get_mut(at)?;
                user.role = if user.role == "EDITOR" { "EXPLORER" } else { "EDITOR" }.to_owned();
                Some(user.id.to_string())
            }
            _ => (at < self.users.len()).then(|| self.remove_user(at).id.into()),
        }
    }

    fn change_groups(&mut self, change: Change, at: usize, now: DateTime<Utc>) -> Option<String> {
        match change {
            Change::CreateGroup => {
                let name = format!("Team {}", self.serial());
                let members = (0..self.users.len().min(2)).collect();
                let at = self.create_group(now, name, members);
                Some(self.groups[at].id.to_string())
            }
            Change::EditGroup => {
                let id = self.groups.get(at)?.id.to_string();
                let name = format!("Team {}", self.serial());
                self.rename_group(at, &name);
                if !self.users.is_empty() {
                    self.toggle_member(at, 0);
                }
                Some(id)
            }
            _ => (at < self.groups.len()).then(|| self.remove_group(at).id.into()),
        }
    }

    fn change_project(&mut self, change: Change, at: usize, now: DateTime<Utc>) -> Option<String> {
        // The history so far was made from the stamps so far.
        World::runs_mut(&self.config, self.projects.get_mut(at)?);
        let record = self.projects.get_mut(at)?;
        let project = &mut record.project;
        let id = project.id.to_string();
        match change {
            Change::Edit => {
                record.edits += 1;
                project.last_edited_at = iso(now);
            }
            Change::Retitle => {
                project.title = format!("{} (renamed)", project.title);
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
            Change::Trash => project.trashed_at = project.trashed_at.is_none().then(|| iso(now)),
            Change::Run | Change::RunNewTable => {
                project.last_published_at.as_ref()?;
                if change == Change::RunNewTable {
                    let connection = self.connections.first()?;
                    record.run_tables.push(QueriedTable {
                        data_connection_id: connection.id.clone(),
                        data_connection_name: connection.name.clone(),
                        table_name: format!("made.by_runs.t{}", record.run_tables.len()),
                    });
                }
                self.add_run(at, now);
            }
            _ => return None,
        }
        Some(id)
    }

    /// A run over the API that has just ended.
    fn add_run(&mut self, at: usize, now: DateTime<Utc>) {
        let config = self.config.clone();
        let record = &mut self.projects[at];
        let (index, version) = (record.index, record.version);
        let runs = World::runs_mut(&config, record);
        let number = runs.len() as u32;
        let serial = index.wrapping_mul(1 << 24) + u64::from(number);
        let elapsed_ms = 1_000 + number;
        let api = ApiRun {
            id: rng::uuid7(config.seed, "changed-run", serial, now),
            started: Some(now),
            ended: Some(now + TimeDelta::milliseconds(i64::from(elapsed_ms))),
            trace: format!("{serial:032x}"),
            version,
            ..ApiRun::default()
        };
        let spec = RunSpec {
            number,
            triggered: now,
            elapsed_ms: Some(elapsed_ms),
            status: "COMPLETED",
            trigger: "API",
            api: Some(Box::new(api)),
        };
        runs.insert(0, spec);
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
