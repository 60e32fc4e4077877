//! Grants on projects, as the page has them.

use serde::Deserialize;

use super::{Places, Texts};
use crate::snapshot::Error;
use crate::snapshot::rows::{self, Open};
use crate::tables::PROJECT_SHARING;

#[derive(Deserialize)]
struct GrantRow {
    project_id: String,
    principal_type: String,
    #[serde(default)]
    principal: Option<String>,
    #[serde(default)]
    access: Option<String>,
}

/// Grants on projects, as they are given.
pub(super) fn grants(
    open: &Open<'_>,
    places: &Places,
    texts: &mut Texts,
) -> Result<Vec<(usize, usize, usize, usize)>, Error> {
    let is_grant = |row: &GrantRow| row.access.as_deref() != Some("NONE");
    let mut grants = Vec::new();
    for row in rows::some(open, &PROJECT_SHARING, is_grant)? {
        let Some(project) = places.get(&*row.project_id) else { continue };
        let kind = texts.place(&row.principal_type.to_lowercase());
        let principal = texts.place(row.principal.as_deref().unwrap_or(""));
        grants.push((*project, kind, principal, texts.place(row.access.as_deref().unwrap_or("unknown"))));
    }
    Ok(grants)
}
