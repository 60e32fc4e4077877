//! `draft_guides`: drafts of guides for Hex's agents.

use crate::client::operation::LIST_DRAFT_GUIDES;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, itself};

/// One row a draft.
pub static DRAFT_GUIDES: Table = Table {
    name: "draft_guides",
    doc: "Drafts of guides for Hex's agents",
    origin: Origin::Api(&LIST_DRAFT_GUIDES),
    key: &["guide_id"],
    columns: &[
        text("guide_id", "id", "Identifier (UUID)").required(),
        text("file_path", "filePath", "Path of the guide's file"),
    ],
    elsewhere: &[],
    explode: itself,
};
