//! Priorities under a budget: the requests that promise most news come first.

use chrono::{DateTime, Utc};

use super::task::Rank;
use super::{Endpoint, Known};

/// Items of a page that nothing is known of yet, by what is usual: a project has some runs, a few cells, fewer
/// tables.
const EXPECTED: [(Endpoint, f64); 5] = [
    (Endpoint::RUNS, 50.0),
    (Endpoint::CELLS, 15.0),
    (Endpoint::QUERIED_TABLES, 5.0),
    (Endpoint::GROUP_MEMBERS, 15.0),
    (Endpoint::COMPONENT_IMPORTS, 2.0),
];

/// First part of the rank of what was never read; what is greater was.
pub(super) const FIRST_LOOK: u8 = 1;

/// Place of a fan-out's first request. What was never read comes before what was: of that, the lake has something.
/// Within each, expected new rows x value x age, per request; the value of a project is its views.
pub(super) fn rank(endpoint: Endpoint, views: i64, known: Option<&Known>, now: DateTime<Utc>) -> Rank {
    let usual = EXPECTED.iter().find(|(of, _)| *of == endpoint).map_or(1.0, |(_, rows)| *rows);
    let value = 1.0 + views.max(0) as f64;
    let Some((known, read)) = known.and_then(|known| Some((known, known.last_read_at?))) else {
        return (FIRST_LOOK, -((usual * value * 1e3) as i64), 0);
    };
    let page = endpoint.operation().listing.map_or(u64::MAX, |listing| u64::from(listing.max_page));
    // A history is read back to what is known, which takes one page whatever its length.
    let pages = if endpoint == Endpoint::RUNS { 1 } else { known.rows.div_ceil(page).max(1) };
    let rows = known.rows.clamp(1, pages * page) as f64;
    let hours = ((now - read).num_minutes() as f64 / 60.0).max(1.0);
    (FIRST_LOOK + 1, -((rows * value * hours / pages as f64 * 1e3) as i64), 0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-02-01T02:00:00Z".parse().unwrap()
    }

    fn known(hours: i64, rows: u64) -> Option<Known> {
        let last_read_at = Some(now() - TimeDelta::hours(hours));
        Some(Known { last_read_at, stamp: None, rows })
    }

    #[test]
    fn the_most_news_per_request_comes_first() {
        let of = |endpoint, views, known: Option<Known>| rank(endpoint, views, known.as_ref(), now());
        let runs = |views, known| of(Endpoint::RUNS, views, known);
        for (what, first, second) in [
            ("never read before read", runs(0, None), runs(1000, known(24, 100))),
            ("viewed", runs(500, None), runs(3, None)),
            ("viewed, also after the first night", runs(500, known(24, 10)), runs(3, known(24, 10))),
            // A few milliseconds between two looks of one night don't decide.
            ("viewed before microseconds", runs(50, known(24, 10)), runs(40, known(25, 10))),
            ("longest ago", runs(3, known(96, 10)), runs(3, known(24, 10))),
            ("much news", runs(3, known(24, 100)), runs(3, known(24, 1))),
            ("a viewed project before a group", runs(9, None), of(Endpoint::GROUP_MEMBERS, 0, None)),
            (
                "a group before a project that nobody views",
                of(Endpoint::GROUP_MEMBERS, 0, known(48, 60)),
                of(Endpoint::CELLS, 0, known(24, 5)),
            ),
            (
                "one page before ten",
                of(Endpoint::CELLS, 0, known(24, 90)),
                of(Endpoint::CELLS, 0, known(24, 130)),
            ),
        ] {
            assert!(first < second, "{what}: {first:?} {second:?}");
        }
    }
}
