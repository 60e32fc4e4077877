//! Changes of projects' cells, as rules name them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::source::Tables;
use crate::derive::CELL_CHANGES;
use crate::snapshot::Error;
use crate::snapshot::rows;

/// Cells that are named one by one.
const NAMED: usize = 3;

/// A row of `cell_changes`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CellChange {
    /// Project.
    pub project_id: String,
    /// Cell.
    pub static_id: String,
    /// Label of the cell.
    pub label: Option<String>,
    /// added, removed or edited.
    pub change: String,
    /// When the cells were last read without the change.
    pub changed_after: DateTime<Utc>,
    /// When the change was first read.
    pub changed_before: DateTime<Utc>,
}

impl CellChange {
    fn words(&self) -> String {
        let name = self.label.as_deref().filter(|label| !label.trim().is_empty());
        format!("'{}' {}", name.unwrap_or(&self.static_id), self.change)
    }
}

/// Changes of cells, by project.
#[derive(Debug, Default)]
pub struct Moves(HashMap<String, Vec<CellChange>>);

impl Moves {
    /// Reads them.
    ///
    /// # Errors
    /// If the table can't be read.
    pub fn load(tables: &dyn Tables) -> Result<Self, Error> {
        let open = |table| tables.open(table, &[]);
        Ok(Self::of(rows::all(&open, &CELL_CHANGES)?))
    }

    /// Those.
    pub fn of(changes: Vec<CellChange>) -> Self {
        let mut moves = Self::default();
        for change in changes {
            moves.0.entry(change.project_id.clone()).or_default().push(change);
        }
        moves
    }

    /// The changes of a project.
    pub fn of_project(&self, project: &str) -> &[CellChange] {
        self.0.get(project).map_or(&[], Vec::as_slice)
    }

    /// Cells that may have changed between two times, in words; `None` if none is known to have.
    pub fn between(&self, project: &str, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<String> {
        let may_be = |change: &&CellChange| change.changed_after <= until && change.changed_before >= from;
        let changes: Vec<&CellChange> = self.of_project(project).iter().filter(may_be).collect();
        let after = changes.iter().map(|change| change.changed_after).min()?;
        let before = changes.iter().map(|change| change.changed_before).max()?;
        let mut names: Vec<String> = changes.iter().take(NAMED).map(|change| change.words()).collect();
        if changes.len() > NAMED {
            names.push(format!("{} more", changes.len() - NAMED));
        }
        let at = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC").to_string();
        Some(format!(
            "cells of the draft changed between {} and {}: {}",
            at(after),
            at(before),
            names.join(", ")
        ))
    }
}
