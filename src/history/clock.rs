//! Times in query histories: with a zone, or in the zone that the user names.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use crate::schema::timestamp;

/// A parsed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Microseconds since 1970, UTC.
    pub micros: i64,
    /// Whether the text names its zone.
    pub has_zone: bool,
}

/// Parses a time; one without a zone is in `zone`. `None` if it isn't a time, or names an unknown zone.
///
/// ```text
/// 2026-11-01T02:00:00Z   2026-11-01 02:00:00.123 -0800   2026-11-01 02:00:00 UTC
/// 2026-11-01 02:00:00 Europe/Berlin   2026-11-01 02:00:00   1793498400000
/// ```
pub fn parse(text: &str, zone: Tz) -> Option<Read> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'e' | b'E' | b'+')) {
        if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return local(date.and_time(NaiveTime::MIN), zone);
        }
        let number: Value = serde_json::from_str(text).ok()?;
        return Some(Read { micros: timestamp(&number)?, has_zone: true });
    }
    if let Some(micros) = zoned(text) {
        return Some(Read { micros, has_zone: true });
    }
    if let Some(naive) = naive(text) {
        return local(naive, zone);
    }
    let (rest, name) = text.rsplit_once(' ')?;
    let named: Tz = name.parse().ok()?;
    Some(Read { has_zone: true, ..local(naive(rest)?, named)? })
}

/// A time without a zone, in microseconds since 1970 as its clock shows them, in a zone.
pub fn in_zone(micros: i64, zone: Tz) -> Option<i64> {
    Some(local(DateTime::from_timestamp_micros(micros)?.naive_utc(), zone)?.micros)
}

fn zoned(text: &str) -> Option<i64> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    [
        "%Y-%m-%d %H:%M:%S%.f %#z",
        "%Y-%m-%d %H:%M:%S%.f%#z",
        "%Y-%m-%dT%H:%M:%S%.f%#z",
        "%a, %d %b %Y %H:%M:%S %z",
    ]
    .iter()
    .find_map(|format| DateTime::parse_from_str(text, format).ok())
    .map(|at| at.timestamp_micros())
}

fn naive(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}

/// A local time in a zone: the first of the two if clocks show it twice in autumn. A time that clocks skip in spring
/// uses the offset before the change.
fn local(naive: NaiveDateTime, zone: Tz) -> Option<Read> {
    let at = match zone.from_local_datetime(&naive) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.with_timezone(&Utc),
        LocalResult::None => {
            let before = zone.from_local_datetime(&(naive - chrono::TimeDelta::hours(3))).earliest()?;
            before.with_timezone(&Utc) + chrono::TimeDelta::hours(3)
        }
    };
    Some(Read { micros: at.timestamp_micros(), has_zone: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{Europe, UTC};

    #[test]
    fn times_are_read_in_their_own_zone_or_the_one_given() {
        let expected: DateTime<Utc> = "2026-11-01T02:00:00.5Z".parse().unwrap();
        for (text, zone, has_zone) in [
            ("2026-11-01T02:00:00.500Z", Europe::Berlin, true),
            ("2026-11-01T03:00:00.5+01:00", UTC, true),
            ("2026-10-31 18:00:00.500 -0800", UTC, true),
            ("2026-10-31 18:00:00.5-08", UTC, true),
            ("2026-11-01 02:00:00.500000 UTC", Europe::Berlin, true),
            ("2026-11-01 03:00:00.5 Europe/Berlin", UTC, true),
            ("1793498400500", Europe::Berlin, true),
            ("1793498400.5", Europe::Berlin, true),
            ("2026-11-01 02:00:00.5", UTC, false),
            ("2026-11-01T03:00:00.5", Europe::Berlin, false),
        ] {
            let read = Read { micros: expected.timestamp_micros(), has_zone };
            assert_eq!(parse(text, zone), Some(read), "{text}");
        }
        for text in ["", "soon", "2026-13-01 02:00:00", "2026-11-01 02:00:00 XYZT", "12:00", "1e400"] {
            assert_eq!(parse(text, UTC), None, "{text}");
        }
    }

    #[test]
    fn clocks_that_change_are_read_once() {
        let at = |text: &str| parse(text, Europe::Berlin).unwrap().micros;
        let utc = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_micros();
        assert_eq!(at("2026-10-25 02:30:00"), utc("2026-10-25T00:30:00Z"));
        assert_eq!(at("2026-03-29 02:30:00"), utc("2026-03-29T01:30:00Z"));
    }
}
