//! What a project's state says about what must be asked.

use std::sync::Arc;

use serde_json::Value;

use super::base::{Base, KnownRuns};
use super::{Endpoint, Scope};
use crate::client::identifier;
use crate::client::operation::LIST_PROJECTS;
use crate::schema::float;

/// What the list of projects says that decides what else is asked about a project.
#[derive(Debug, Clone)]
pub struct ProjectFacts {
    /// Identifier.
    pub id: Arc<str>,
    /// Last edit, as the API writes it.
    pub edited: Option<String>,
    /// Last publication; `None` if never published.
    pub published: Option<String>,
    /// Last refresh of the published results.
    pub refreshed: Option<String>,
    /// Views in the last 30 days: what matters most is read first when a budget is short.
    pub views: i64,
}

impl ProjectFacts {
    /// Reads them from a project of `ListProjects`; `None` for something without an identifier. Whatever else is
    /// oddly typed, the project is still asked about.
    pub fn read(item: &str) -> Option<Self> {
        let id = identifier(LIST_PROJECTS.listing.as_ref()?, item)?;
        let project: Value = serde_json::from_str(item).ok()?;
        let at = |path: &str| project.pointer(path).filter(|value| !value.is_null());
        let text = |path: &str| at(path).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        let views = at("/analytics/appViews/lastThirtyDays").and_then(float);
        Some(Self {
            id: Arc::from(id),
            edited: text("/lastEditedAt"),
            published: text("/lastPublishedAt"),
            refreshed: text("/analytics/publishedResultsUpdatedAt"),
            views: views.map_or(0, |views| views as i64),
        })
    }

    /// What moves when an endpoint's answer may have changed. Cells are the draft's: editing changes them, and
    /// publishing gives them new identifiers. Queried tables are those of published runs.
    pub fn stamp(&self, endpoint: Endpoint) -> String {
        let text = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".into());
        let (edited, published, refreshed) =
            (text(&self.edited), text(&self.published), text(&self.refreshed));
        match endpoint {
            Endpoint::Cells => format!("edited {edited} published {published}"),
            Endpoint::QueriedTables => format!("published {published} refreshed {refreshed}"),
            _ => format!("published {published}"),
        }
    }
}

/// What is done about an endpoint and project.
#[derive(Debug, Clone)]
pub enum Decision {
    /// It is read; a run history only back to what is known.
    Read(Option<Arc<KnownRuns>>),
    /// The last snapshot's rows still hold.
    Reuse,
    /// It is known to be empty.
    Skip(&'static str),
}

/// Decides what is done about an endpoint and project. Without a `base` everything that can have an answer is
/// read to its end.
pub fn decide(endpoint: Endpoint, project: &ProjectFacts, base: Option<&Base>) -> Decision {
    debug_assert_eq!(endpoint.scope(), Scope::Project);
    if matches!(endpoint, Endpoint::Runs | Endpoint::QueriedTables) && project.published.is_none() {
        return Decision::Skip("never published: it has no runs");
    }
    let known = base.and_then(|base| base.known(endpoint, Some(&project.id)));
    let Some(stamp) = known.and_then(|known| known.stamp.as_ref()) else {
        return Decision::Read(None);
    };
    if endpoint == Endpoint::Runs {
        // Runs leave no stamp on their project: a history is asked for every time.
        return Decision::Read(base.and_then(|base| base.runs(&project.id)).cloned());
    }
    if *stamp == project.stamp(endpoint) { Decision::Reuse } else { Decision::Read(None) }
}

#[cfg(test)]
mod tests {
    use super::super::base::Known;
    use super::*;

    #[test]
    fn an_oddly_typed_project_is_still_asked_about() {
        let read = ProjectFacts::read;
        for item in [
            r#"{"id": "p", "lastPublishedAt": "2026-01-01", "analytics": {"appViews": {"lastThirtyDays": 12.0}}}"#,
            r#"{"id": "p", "lastPublishedAt": 5, "lastEditedAt": [], "analytics": {"appViews": {"lastThirtyDays": "12"}}}"#,
            r#"{"id": "p", "lastPublishedAt": {}, "analytics": "x"}"#,
        ] {
            let facts = read(item).unwrap();
            assert!(&*facts.id == "p" && facts.published.is_some(), "{item}");
            assert!(facts.views == 12 || item.contains("\"x\""), "{item}");
        }
        assert_eq!(&*read(r#"{"id": 7}"#).unwrap().id, "7");
        for without in [r#"{"title": "x"}"#, r#"{"id": ""}"#, r#"{"id": {}}"#, "5", "null", "[]"] {
            assert!(read(without).is_none(), "{without}");
        }
    }

    fn project(edited: &str, published: Option<&str>) -> ProjectFacts {
        let item = serde_json::json!({"id": "p", "lastEditedAt": edited, "lastPublishedAt": published});
        ProjectFacts::read(&item.to_string()).unwrap()
    }

    fn base(endpoint: Endpoint, stamp: Option<String>) -> Base {
        Base::with(endpoint, "p", Known { last_read_at: None, stamp, rows: 3 })
    }

    #[test]
    fn what_is_known_to_be_empty_is_not_asked_for() {
        for endpoint in [Endpoint::Runs, Endpoint::QueriedTables] {
            assert!(matches!(decide(endpoint, &project("1", None), None), Decision::Skip(_)));
            assert!(matches!(decide(endpoint, &project("1", Some("1")), None), Decision::Read(None)));
        }
        assert!(matches!(decide(Endpoint::Cells, &project("1", None), None), Decision::Read(None)));
    }

    #[test]
    fn cells_are_reused_until_an_edit_or_a_publication() {
        let now = project("2", Some("1"));
        let base = base(Endpoint::Cells, Some(now.stamp(Endpoint::Cells)));
        assert!(matches!(decide(Endpoint::Cells, &now, Some(&base)), Decision::Reuse));
        assert!(matches!(
            decide(Endpoint::Cells, &project("3", Some("1")), Some(&base)),
            Decision::Read(None)
        ));
        assert!(matches!(
            decide(Endpoint::Cells, &project("2", Some("2")), Some(&base)),
            Decision::Read(None)
        ));
        assert!(matches!(decide(Endpoint::Cells, &project("2", None), Some(&base)), Decision::Read(None)));
    }

    #[test]
    fn runs_are_read_back_to_what_is_known_only_if_that_was_read_to_its_end() {
        let now = project("2", Some("1"));
        let whole = base(Endpoint::Runs, Some("x".into()));
        assert!(matches!(decide(Endpoint::Runs, &now, Some(&whole)), Decision::Read(Some(_))));
        let part = base(Endpoint::Runs, None);
        assert!(matches!(decide(Endpoint::Runs, &now, Some(&part)), Decision::Read(None)));
    }
}
