//! Deciding from a project's state which endpoints to ask.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::base::{Base, Known, KnownRuns};
use super::freshness::{BOUND_OF_ARCHIVED, Freshness, can_have_run, is_its_turn};
use super::runs::part_of;
use super::schedule::Timetable;
use super::{Endpoint, Scope};
use crate::client::identifier;
use crate::client::operation::LIST_PROJECTS;
use crate::schema::{float, parse_timestamp};

/// Fields of the list of projects that decide what else is asked about a project.
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
    /// Views ever, and the last one: a view of an app may run it.
    pub viewed: String,
    /// Schedules that are enabled.
    pub schedules: Vec<Timetable>,
    /// Whether it is archived or in the trash.
    pub put_away: bool,
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
            viewed: format!(
                "{} {}",
                or_dash(&text("/analytics/appViews/allTime")),
                or_dash(&text("/analytics/lastViewedAt"))
            ),
            schedules: at("/schedules")
                .and_then(Value::as_array)
                .map_or(Vec::new(), |schedules| schedules.iter().filter_map(Timetable::of_api).collect()),
            put_away: at("/archivedAt").or(at("/trashedAt")).is_some(),
        })
    }

    /// Stamp that moves when a project may have run: publication, edit, refresh, views and schedules.
    pub fn activity_stamp(&self) -> String {
        let schedules: Vec<String> = self.schedules.iter().map(Timetable::stamp).collect();
        let schedules = format!("[{}]", schedules.join(", "));
        let activity = [or_dash(&self.edited), or_dash(&self.refreshed), &self.viewed, &schedules].join(" ");
        format!(
            "published {} activity {:08x}",
            or_dash(&self.published),
            crc32fast::hash(activity.as_bytes())
        )
    }

    /// Stamp that moves when cells may have changed: they are the draft's, so editing changes them, and publishing
    /// gives them new identifiers.
    pub fn draft_stamp(&self) -> String {
        format!("edited {} published {}", or_dash(&self.edited), or_dash(&self.published))
    }

    /// Stamp that moves when queried tables may have changed: they are those of published runs. API runs move neither
    /// time by default (hex-api.md); they are counted separately, see [`decide`].
    pub fn results_stamp(&self) -> String {
        format!("published {}{REFRESHED}{}", or_dash(&self.published), or_dash(&self.refreshed))
    }

    /// Whether the project has visibly not moved since `at`: an answer of then about its draft or its results
    /// still holds.
    pub fn rests_since(&self, at: DateTime<Utc>) -> bool {
        let at = at.timestamp_micros();
        let moved = [&self.edited, &self.published, &self.refreshed];
        moved.into_iter().flatten().all(|time| parse_timestamp(time).is_some_and(|time| time < at))
    }

    /// When the results were last published or refreshed, in microseconds since 1970.
    fn results_at(&self) -> Option<i64> {
        let time = |text: &Option<String>| text.as_deref().and_then(parse_timestamp);
        time(&self.published).max(time(&self.refreshed))
    }
}

fn or_dash(time: &Option<String>) -> &str {
    time.as_deref().unwrap_or("-")
}

/// When what was read before is read again.
#[derive(Debug, Clone, Copy)]
pub struct Reread {
    /// The crawl's time.
    pub now: DateTime<Utc>,
    /// Maximum age of reused rows before they are read again, for changes that no stamp shows; `None` for never.
    pub within: Option<TimeDelta>,
    /// Freshness of runs.
    pub freshness: Freshness,
}

impl Reread {
    /// Time within which reused data of a project is read again. With a bound on how late runs may be seen, archived and
    /// trashed projects have 30 days, as for their runs.
    pub fn within_of(&self, project: &ProjectFacts) -> Option<TimeDelta> {
        let within = self.within?;
        Some(match self.freshness {
            Freshness::Within(_) if project.put_away => within.max(BOUND_OF_ARCHIVED),
            _ => within,
        })
    }
}

/// Decision about an endpoint and project.
#[derive(Debug, Clone)]
pub enum Decision {
    /// It is read; a run history only back to what is known.
    Read(Option<Arc<KnownRuns>>),
    /// The last known rows still hold.
    Reuse,
    /// It is known to be empty.
    Skip(&'static str),
}

/// Decides what is done about an endpoint and project. Without a `base` everything that can have an answer is
/// read to its end.
pub fn decide(endpoint: Endpoint, project: &ProjectFacts, base: Option<&Base>, reread: &Reread) -> Decision {
    debug_assert_eq!(endpoint.scope(), Scope::Project);
    if let Some(why) = (endpoint.spec().known_empty)(project) {
        return Decision::Skip(why);
    }
    let known = base.and_then(|base| base.known(endpoint, Some(&project.id)));
    let Some((known, then)) = known.and_then(|known| Some((known, known.stamp.as_ref()?))) else {
        return Decision::Read(None);
    };
    if endpoint == Endpoint::RUNS {
        let runs = base.and_then(|base| base.runs(&project.id));
        return match reread.freshness {
            Freshness::Within(bound)
                if part_of(then).is_none()
                    && !can_have_run(project, known, runs.map(|runs| &**runs), reread.now, bound) =>
            {
                Decision::Reuse
            }
            // Runs leave no stamp on their project that is sure: an exact history is asked for every time.
            _ => Decision::Read(runs.cloned()),
        };
    }
    let api_run = base.and_then(|base| base.runs(&project.id)).and_then(|runs| runs.latest_api_run);
    let now = stamp(endpoint, project, Some(then), api_run);
    match !still_holds(project, known, now.as_ref(), reread) || is_due(project, known, reread) {
        true => Decision::Read(None),
        false => Decision::Reuse,
    }
}

/// Whether what is known may be taken over at the state that a project is in `now`.
///
/// A scheduled run refreshes the results each night, and queries the same tables as the night before unless the project
/// was published again. With a bound on how late runs may be seen, a refresh alone has the tables read again within
/// that bound. A project that had no tables is read at once.
pub fn still_holds(project: &ProjectFacts, known: &Known, now: Option<&Stamp>, reread: &Reread) -> bool {
    match (now.map(|now| now.moved), reread.freshness, known.last_read_at) {
        (Some(Moved::No), ..) => true,
        (Some(Moved::Refreshed), Freshness::Within(bound), Some(read)) => {
            known.rows > 0 && read <= reread.now && !is_its_turn(project, read, reread.now, bound)
        }
        _ => false,
    }
}

/// Time that a re-read because of an API run keeps later runs from causing another: an API that runs a project every
/// minute must not have its tables read every night.
const API_RUN_COUNTS_FOR: i64 = 7 * 86_400_000_000;
const API_RUN: &str = " api-run ";
const REFRESHED: &str = " refreshed ";

/// State of a project that an endpoint's answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Text to note if the endpoint is read now.
    pub text: String,
    /// Movement since it was last read.
    pub moved: Moved,
}

/// Movement of a project since an endpoint was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Not at all.
    No,
    /// The published version has run again.
    Refreshed,
    /// It is not what it was.
    Changed,
}

impl Moved {
    fn since(then: Option<&str>, now: &str) -> Self {
        let published = |stamp: &str| stamp.split_once(REFRESHED).map(|(published, _)| published.to_owned());
        match then {
            Some(then) if then == now => Self::No,
            Some(then) if published(then).is_some() && published(then) == published(now) => Self::Refreshed,
            _ => Self::Changed,
        }
    }
}

/// State of a project that an endpoint's answer depends on; `then` is what was noted when it was last read,
/// `api_run` the start of the latest API run that is known.
///
/// Queried tables depend on API runs too, which move no time of the project. Two of them are noted: the latest
/// when the tables were last read, and the latest that had them read.
pub fn stamp(
    endpoint: Endpoint,
    project: &ProjectFacts,
    then: Option<&str>,
    api_run: Option<i64>,
) -> Option<Stamp> {
    let rest = (endpoint.spec().stamp?)(project);
    if endpoint != Endpoint::QUERIED_TABLES {
        return Some(Stamp { moved: Moved::since(then, &rest), text: rest });
    }
    let (rest_then, runs) = match then.map(|then| then.split_once(API_RUN).unwrap_or((then, ""))) {
        Some((rest, runs)) => (Some(rest), runs),
        None => (None, ""),
    };
    let mut runs = runs.split(" counted ").map(|at| at.parse::<i64>().ok());
    let (seen, counted) = (runs.next().flatten(), runs.next().flatten());
    let later = api_run.filter(|at| Some(*at) > project.results_at() && Some(*at) > seen);
    let counts = later.filter(|at| counted.is_none_or(|counted| *at >= counted + API_RUN_COUNTS_FOR));
    let moved = Moved::since(rest_then, &rest);
    let counted = if moved == Moved::No { counts.or(counted) } else { counted };
    let text = match (api_run.max(seen), counted) {
        (Some(seen), Some(counted)) => format!("{rest}{API_RUN}{seen} counted {counted}"),
        (Some(seen), None) => format!("{rest}{API_RUN}{seen}"),
        (None, _) => rest,
    };
    Some(Stamp { text, moved: if counts.is_some() { Moved::Changed } else { moved } })
}

/// Whether what is reused is read again all the same. The moment differs from project to project, in the second
/// half of the time allowed, so that the nights share the requests.
fn is_due(project: &ProjectFacts, known: &Known, reread: &Reread) -> bool {
    let Some(within) = reread.within_of(project) else { return false };
    let Some(read) = known.last_read_at else { return true };
    let share = f64::from(crc32fast::hash(project.id.as_bytes())) / f64::from(u32::MAX);
    let allowed = within.num_milliseconds() as f64 * (0.5 + 0.45 * share);
    let age = (reread.now - read).num_milliseconds();
    // A read in the future is of a clock that was wrong.
    age < -3_600_000 || age as f64 >= allowed
}

#[cfg(test)]
mod tests {
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
        let day = |day: &str| format!("2026-01-0{day}T00:00:00Z");
        let item = serde_json::json!({"id": "p", "lastEditedAt": day(edited), "lastPublishedAt": published.map(day)});
        ProjectFacts::read(&item.to_string()).unwrap()
    }

    fn at(day: &str) -> DateTime<Utc> {
        format!("2026-{day}T00:00:00Z").parse().unwrap()
    }

    fn never() -> Reread {
        Reread { now: at("02-01"), within: None, freshness: Freshness::Exact }
    }

    fn decide(endpoint: Endpoint, project: &ProjectFacts, base: Option<&Base>) -> Decision {
        super::decide(endpoint, project, base, &never())
    }

    fn stamp(endpoint: Endpoint, project: &ProjectFacts) -> Option<String> {
        super::stamp(endpoint, project, None, None).map(|stamp| stamp.text)
    }

    fn base(endpoint: Endpoint, stamp: Option<String>) -> Base {
        Base::with(endpoint, "p", Known { last_read_at: None, stamp, rows: 3 })
    }

    #[test]
    fn what_is_known_to_be_empty_is_not_asked_for() {
        for endpoint in [Endpoint::RUNS, Endpoint::QUERIED_TABLES] {
            assert!(matches!(decide(endpoint, &project("1", None), None), Decision::Skip(_)));
            assert!(matches!(decide(endpoint, &project("1", Some("1")), None), Decision::Read(None)));
        }
        assert!(matches!(decide(Endpoint::CELLS, &project("1", None), None), Decision::Read(None)));
    }

    #[test]
    fn cells_are_reused_until_an_edit_or_a_publication() {
        let now = project("2", Some("1"));
        let base = base(Endpoint::CELLS, stamp(Endpoint::CELLS, &now));
        assert!(matches!(decide(Endpoint::CELLS, &now, Some(&base)), Decision::Reuse));
        assert!(matches!(
            decide(Endpoint::CELLS, &project("3", Some("1")), Some(&base)),
            Decision::Read(None)
        ));
        assert!(matches!(
            decide(Endpoint::CELLS, &project("2", Some("2")), Some(&base)),
            Decision::Read(None)
        ));
        assert!(matches!(decide(Endpoint::CELLS, &project("2", None), Some(&base)), Decision::Read(None)));
    }

    #[test]
    fn runs_are_read_back_to_what_is_known_only_if_that_was_read_to_its_end() {
        let now = project("2", Some("1"));
        let whole = base(Endpoint::RUNS, Some("x".into()));
        assert!(matches!(decide(Endpoint::RUNS, &now, Some(&whole)), Decision::Read(Some(_))));
        let part = base(Endpoint::RUNS, None);
        assert!(matches!(decide(Endpoint::RUNS, &now, Some(&part)), Decision::Read(None)));
    }

    #[test]
    fn what_a_scheduled_run_queried_is_read_within_the_bound_and_a_publication_at_once() {
        let refreshed = |day: &str| {
            let item = serde_json::json!({"id": "p", "lastPublishedAt": "2026-01-01T00:00:00Z",
                "analytics": {"publishedResultsUpdatedAt": format!("2026-{day}T00:00:00Z")}});
            ProjectFacts::read(&item.to_string()).unwrap()
        };
        let endpoint = Endpoint::QUERIED_TABLES;
        let asked = |now: &ProjectFacts, freshness, rows, day: i64| {
            let known =
                Known { last_read_at: Some(at("01-02")), stamp: stamp(endpoint, &refreshed("01-01")), rows };
            let reread = Reread { now: at("01-02") + TimeDelta::days(day), within: None, freshness };
            let base = Base::with(endpoint, "p", known);
            matches!(super::decide(endpoint, now, Some(&base), &reread), Decision::Read(None))
        };
        let late = Freshness::Within(TimeDelta::days(7));
        let ran = refreshed("01-03");
        assert!(asked(&ran, Freshness::Exact, 3, 1));
        let nights: Vec<bool> = (1..=7).map(|day| asked(&ran, late, 3, day)).collect();
        assert!(!nights[0] || !nights[1], "{nights:?}");
        assert!(nights[6] && nights.is_sorted(), "{nights:?}");
        assert!(asked(&ran, late, 0, 1) && asked(&ran, late, 0, 2), "its first tables");
        let published = ProjectFacts { published: Some("2026-01-03T00:00:00Z".into()), ..ran };
        assert!((1..=7).all(|day| asked(&published, late, 3, day)));
        assert!((1..=7).all(|day| !asked(&refreshed("01-01"), late, 3, day)), "nothing moved");
    }

    #[test]
    fn an_api_run_has_the_queried_tables_read_again_at_most_once_a_week() {
        let now = project("2", Some("1"));
        let endpoint = Endpoint::QUERIED_TABLES;
        let run = |day: &str| at(day).timestamp_micros();
        let read_at = |stamp: Option<String>, api_run: i64| base(endpoint, stamp).with_api_run("p", api_run);
        let first = super::stamp(endpoint, &now, None, Some(run("01-18"))).unwrap().text;
        let decide = |stamp: &str, day: &str| {
            let base = read_at(Some(stamp.to_owned()), run(day));
            matches!(decide(endpoint, &now, Some(&base)), Decision::Read(None))
        };
        assert!(!decide(&first, "01-18"), "a run that was known when the tables were read");
        assert!(decide(&first, "01-20"));
        let counted = super::stamp(endpoint, &now, Some(&first), Some(run("01-20"))).unwrap().text;
        for (day, is_read) in [("01-20", false), ("01-26", false), ("01-27", true), ("01-30", true)] {
            assert_eq!(decide(&counted, day), is_read, "{day}");
        }
        let without_runs = stamp(endpoint, &now).unwrap();
        assert!(!decide(&without_runs, "01-01"), "a run before the publication");
    }

    #[test]
    fn what_is_reused_is_read_again_within_the_time_allowed_and_not_all_at_once() {
        let within = Some(TimeDelta::days(14));
        let read = |id: &str, put_away: bool, freshness: Freshness, days: i64| {
            let known = Known { last_read_at: Some(at("01-01")), stamp: None, rows: 1 };
            let project = ProjectFacts { id: id.into(), put_away, ..project("1", None) };
            is_due(&project, &known, &Reread { now: at("01-01") + TimeDelta::days(days), within, freshness })
        };
        let ids: Vec<String> = (0..1000).map(|i| format!("project {i}")).collect();
        let due_of =
            |put_away, freshness, days| ids.iter().filter(|id| read(id, put_away, freshness, days)).count();
        let due = |days| due_of(false, Freshness::Exact, days);
        assert_eq!((due(0), due(6), due(14)), (0, 0, 1000));
        let late = Freshness::Within(TimeDelta::days(7));
        assert_eq!((due_of(false, late, 14), due_of(true, Freshness::Exact, 14)), (1000, 1000));
        assert_eq!((due_of(true, late, 14), due_of(true, late, 30)), (0, 1000), "in the archive");
        let nights: Vec<usize> = (7..14).map(|day| due(day + 1) - due(day)).collect();
        assert!(nights.iter().all(|n| *n < 250), "{nights:?}");
    }
}
