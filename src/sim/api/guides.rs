//! Guides.

use super::Route;
use crate::client::operation as op;
use crate::sim::call::Style::Newer;
use crate::sim::call::{Answer, Call};
use crate::sim::page::cursor_page;
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[Route::of(&op::LIST_DRAFT_GUIDES, Newer, Sim::list_guides)];

impl Sim {
    fn list_guides(&self, call: &Call<'_>) -> Answer {
        let world = self.world();
        let items = world.guides.iter().map(|g| ((g.file_path.clone(), g.id.clone()), g)).collect();
        cursor_page(call, items, "values", 100, 100)
    }
}
