//! Addresses of pages in Hex.

use crate::snapshot::Manifest;

/// Builds addresses of projects' pages.
#[derive(Debug, Clone)]
pub struct Pages {
    origin: String,
    org: Option<String>,
}

impl Pages {
    /// The pages of a snapshot's workspace.
    pub fn new(manifest: &Manifest) -> Self {
        let workspace = &manifest.workspace;
        let origin = workspace.base_url.split("/api").next().unwrap_or("").trim_end_matches('/');
        Self { origin: origin.to_owned(), org: workspace.org_id.clone() }
    }

    /// Host of the workspace, and its organisation where the API told it.
    pub fn workspace(&self) -> String {
        let host = self.origin.split_once("://").map_or(self.origin.as_str(), |(_, host)| host);
        [Some(host), self.org.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/")
    }

    /// Page of a project's draft; `None` if the organisation isn't known.
    pub fn draft(&self, project_id: &str) -> Option<String> {
        self.page("hex", project_id)
    }

    /// Page of a project's published app, which people can open who can't edit; `None` if the organisation isn't
    /// known.
    pub fn app(&self, project_id: &str) -> Option<String> {
        self.page("app", project_id)
    }

    fn page(&self, kind: &str, project_id: &str) -> Option<String> {
        let org = self.org.as_ref().filter(|_| self.origin.starts_with("http"))?;
        Some(format!("{}/{org}/{kind}/{project_id}", self.origin))
    }
}
