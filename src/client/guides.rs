//! Draft guides for Hex's agents.

use serde::{Deserialize, Serialize};

use super::operation::LIST_DRAFT_GUIDES;
use super::{ApiRequest, List};

/// A draft guide.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DraftGuide {
    /// Identifier (UUID).
    pub id: String,
    /// Path of its file.
    pub file_path: String,
}

/// Parameters of `ListDraftGuides`: all of them.
#[derive(Debug, Clone, Default)]
pub struct ListDraftGuides;

impl List for ListDraftGuides {
    type Item = DraftGuide;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_DRAFT_GUIDES, &[]).query("limit", 100)
    }
}
