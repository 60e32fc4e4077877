//! Cells.

use super::Route;
use crate::client::operation as op;
use crate::sim::call::Style::Newer;
use crate::sim::call::{Answer, Call, found};
use crate::sim::page::cursor_page;
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] =
    &[Route::of(&op::LIST_CELLS, Newer, Sim::list_cells), Route::of(&op::GET_CELL, Newer, Sim::get_cell)];

impl Sim {
    fn list_cells(&self, call: &Call<'_>) -> Answer {
        let id = call.get("projectId").ok_or_else(|| call.bad("projectId", "is required"))?;
        let world = self.world();
        let at = call.project(&world, id)?;
        let cells = world.cells(&world.projects[at]);
        let items: Vec<_> = cells
            .iter()
            .enumerate()
            .map(|(i, (cell, _))| ((format!("{i:08}"), cell.static_id.clone()), cell))
            .collect();
        cursor_page(call, items, "values", 25, 100)
    }

    fn get_cell(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("cellId");
        let world = self.world();
        let cell =
            world.projects.iter().filter(|record| call.token.sees(&record.project.id)).find_map(|record| {
                world
                    .cells(record)
                    .into_iter()
                    .map(|(cell, _)| cell)
                    .find(|c| c.id == id || c.static_id == id)
            });
        found(cell.as_ref(), "cell")
    }
}
