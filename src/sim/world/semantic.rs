//! Semantic projects.

use crate::sim::rng;

/// A semantic project: names of its datasets and views, each with its status.
#[derive(Debug, Clone)]
pub struct SemanticProject {
    /// Identifier (UUID).
    pub id: String,
    /// Datasets.
    pub datasets: Vec<(String, Option<String>)>,
    /// Views.
    pub views: Vec<(String, Option<String>)>,
}

pub(super) fn projects(seed: u64) -> Vec<SemanticProject> {
    let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), None)).collect();
    (0..2)
        .map(|i| SemanticProject {
            id: rng::uuid(seed, "semantic-project", i),
            datasets: named(&["orders", "customers", "subscriptions"]),
            views: named(&["revenue", "retention"]),
        })
        .collect()
}
