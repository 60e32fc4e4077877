//! The server's limits as an answer's headers announce them: `Retry-After`, `X-RateLimit-*`, and the IETF's `RateLimit`
//! fields in their older and newer drafts.
//!
//! Hex's header names are unconfirmed, so every form that servers use is read, and nothing that can't be read
//! is guessed: a header that says nothing intelligible teaches nothing.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Hex counts in minutes: the window of a limit that names none, unless its reset is further away.
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// One limit: so many requests in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Name, in the newer draft's form.
    pub name: Option<String>,
    /// Requests allowed in a window.
    pub requests: f64,
    /// Length of the window.
    pub window: Duration,
}

/// The server's limits, from an answer's headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LimitHeaders {
    /// Every limit announced.
    pub policies: Vec<Policy>,
    /// Requests left in the window that is nearest to its end.
    pub remaining: Option<f64>,
    /// Time until that window starts again.
    pub reset: Option<Duration>,
}

impl LimitHeaders {
    /// Reads the headers of an answer.
    pub fn read(headers: &HeaderMap) -> Self {
        let fields = Fields { headers, now: server_time(headers) };
        let (remaining, reset) = fields.standing();
        Self { policies: fields.policies(reset), remaining, reset }
    }
}

/// Wait that the server asks for: seconds, whole or not, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<f64>() {
        Ok(seconds) => seconds_of(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            Some(at.duration_since(server_time(headers)).unwrap_or_default().min(DAY))
        }
    }
}

/// The server's clock where it shows it: dates are then right even if ours is not.
fn server_time(headers: &HeaderMap) -> SystemTime {
    let date = headers.get(DATE).and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    date.unwrap_or_else(SystemTime::now)
}

fn seconds_of(seconds: f64) -> Option<Duration> {
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(DAY.as_secs_f64())))
}

/// A member of a structured field: a bare value and its parameters.
struct Member<'a> {
    value: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Member<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = split(text, ';').into_iter().map(str::trim);
        let value = parts.next().unwrap_or_default().trim_matches('"');
        let params = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
            .collect();
        Self { value, params }
    }

    fn param(&self, names: &[&str]) -> Option<&'a str> {
        let wanted = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.params.iter().find(|(name, _)| wanted(name)).map(|(_, value)| *value)
    }

    fn number(&self, names: &[&str]) -> Option<f64> {
        number(self.param(names)?)
    }

    fn window(&self) -> Option<Duration> {
        seconds_of(self.number(&["w", "window"])?).filter(|window| !window.is_zero())
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0)
}

/// Splits at a separator that is not inside quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    let parts = text.split(|c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    });
    parts.collect()
}

/// Units of a window that some gateways put at the end of a header's name.
const UNITS: [(&str, Duration); 4] =
    [("-second", Duration::from_secs(1)), ("-minute", MINUTE), ("-hour", HOUR), ("-day", DAY)];
const PREFIXES: [&str; 3] = ["ratelimit-", "x-ratelimit-", "x-rate-limit-"];

struct Fields<'a> {
    headers: &'a HeaderMap,
    now: SystemTime,
}

impl<'a> Fields<'a> {
    /// The members of a field, over all lines of it.
    fn members(&self, name: &str) -> Vec<Member<'a>> {
        let lines = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        lines.flat_map(|line| split(line, ',')).map(Member::read).filter(|m| !m.value.is_empty()).collect()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.members(name).iter().filter_map(|member| number(member.value)).collect()
    }

    /// A value of the older draft's one field: `RateLimit: limit=100, remaining=50, reset=50`.
    fn of_one_field(&self, name: &str) -> Option<f64> {
        self.members("ratelimit").iter().find_map(|member| {
            let (key, value) = member.value.split_once('=')?;
            (key.trim() == name).then(|| number(value))?
        })
    }

    fn policies(&self, reset: Option<Duration>) -> Vec<Policy> {
        let mut policies: Vec<Policy> = self.members("ratelimit-policy").iter().filter_map(policy).collect();
        for prefix in PREFIXES {
            if policies.is_empty() {
                policies = self.members(&format!("{prefix}limit")).iter().filter_map(policy).collect();
            }
        }
        if policies.is_empty() {
            policies =
                self.by_unit("limit").into_iter().map(|(requests, window)| plain(requests, window)).collect();
        }
        if policies.is_empty() {
            let mut plain_limits = PREFIXES
                .iter()
                .flat_map(|prefix| self.numbers(&format!("{prefix}limit")))
                .chain(self.of_one_field("limit"));
            policies.extend(plain_limits.next().map(|requests| plain(requests, window_of(reset))));
        }
        policies.retain(|policy| policy.requests > 0.0);
        policies
    }

    fn by_unit(&self, what: &str) -> Vec<(f64, Duration)> {
        let of = |prefix: &str| -> Vec<(f64, Duration)> {
            let value = |unit: &str| self.numbers(&format!("{prefix}{what}{unit}")).first().copied();
            UNITS.iter().filter_map(|(unit, window)| Some((value(unit)?, *window))).collect()
        };
        PREFIXES.iter().map(|prefix| of(prefix)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Requests left and time to the reset, of the window that has the fewest left.
    fn standing(&self) -> (Option<f64>, Option<Duration>) {
        // The newer draft: `RateLimit: "hex-api";r=29;t=50, "hourly";r=1700;t=3000`.
        let newer = self.members("ratelimit");
        let newer =
            newer.iter().filter_map(|m| Some((m.number(&["r"])?, m.number(&["t"]).and_then(seconds_of))));
        if let Some((remaining, reset)) = newer.min_by(|a, b| a.0.total_cmp(&b.0)) {
            return (Some(remaining), reset);
        }
        for prefix in PREFIXES {
            let remaining = self.numbers(&format!("{prefix}remaining"));
            let resets = self.resets(&format!("{prefix}reset"));
            let least = (0..remaining.len()).min_by(|a, b| remaining[*a].total_cmp(&remaining[*b]));
            let reset = least.and_then(|at| resets.get(at)).or(resets.first()).copied();
            if least.is_some() || reset.is_some() {
                return (least.map(|at| remaining[at]), reset);
            }
        }
        if let Some((remaining, _)) = self.by_unit("remaining").into_iter().min_by(|a, b| a.0.total_cmp(&b.0))
        {
            return (Some(remaining), None);
        }
        (self.of_one_field("remaining"), self.of_one_field("reset").and_then(seconds_of))
    }

    /// Seconds from now, seconds or milliseconds since 1970, or a date.
    fn resets(&self, name: &str) -> Vec<Duration> {
        let now = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let dated = |text: &str| {
            let at = httpdate::parse_http_date(text)
                .ok()
                .or_else(|| chrono::DateTime::parse_from_rfc3339(text).ok().map(SystemTime::from))?;
            Some(at.duration_since(self.now).unwrap_or_default().min(DAY))
        };
        let whole =
            self.headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| dated(text.trim()));
        if let Some(reset) = whole {
            return vec![reset];
        }
        let from_now = |reset: f64| match reset {
            r if r > 1e11 => r / 1000.0 - now,
            r if r > 1e9 => r - now,
            r => r,
        };
        self.numbers(name).into_iter().filter_map(|reset| seconds_of(from_now(reset).max(0.0))).collect()
    }
}

fn plain(requests: f64, window: Duration) -> Policy {
    Policy { name: None, requests, window }
}

/// A limit with its window: `30;w=60` of the older draft, or `"hex-api";q=30;w=60` of the newer one, where
/// only what is counted in requests concerns us.
fn policy(member: &Member<'_>) -> Option<Policy> {
    let window = member.window()?;
    match number(member.value) {
        Some(requests) => Some(plain(requests, window)),
        None => {
            let counted = member.param(&["qu"]).is_none_or(|unit| unit == "requests");
            let requests = member.number(&["q"]).filter(|_| counted)?;
            Some(Policy { name: Some(member.value.to_owned()), requests, window })
        }
    }
}

/// The shortest usual window that a reset so far away can belong to.
fn window_of(reset: Option<Duration>) -> Duration {
    match reset {
        Some(reset) if reset > HOUR => DAY,
        Some(reset) if reset > MINUTE => HOUR,
        _ => MINUTE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(reqwest::header::HeaderName::from_static(name), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let now = "Wed, 25 Nov 2026 07:28:00 GMT";
        for (text, seconds) in [
            ("7", Some(7.0)),
            ("0", Some(0.0)),
            ("1.5", Some(1.5)),
            (" 12 ", Some(12.0)),
            ("3900", Some(3900.0)),
            ("1e9", Some(86_400.0)),
            ("Wed, 25 Nov 2026 07:28:30 GMT", Some(30.0)),
            ("Wednesday, 25-Nov-26 07:28:30 GMT", Some(30.0)),
            ("Wed Nov 25 07:28:30 2026", Some(30.0)),
            ("Wed, 25 Nov 2026 07:00:00 GMT", Some(0.0)),
            ("soon", None),
            ("", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
        ] {
            // The date is measured by the server's clock, however wrong ours is.
            let wait = retry_after(&headers(&[("retry-after", text), ("date", now)]));
            assert_eq!(wait, seconds.map(Duration::from_secs_f64), "{text:?}");
        }
        let at = SystemTime::now() + Duration::from_secs(30);
        let wait = retry_after(&headers(&[("retry-after", &httpdate::fmt_http_date(at))])).unwrap();
        assert!((28..=30).contains(&wait.as_secs()), "{wait:?}");
    }

    type Given = [(&'static str, &'static str)];
    type Limit = (f64, u64);

    #[test]
    fn every_form_of_a_limit_is_read() {
        let minute_and_hour: &[(f64, u64)] = &[(30.0, 60), (1800.0, 3600)];
        let cases: &[(&Given, &[Limit])] = &[
            (&[("ratelimit-policy", "30;w=60, 1800;w=3600")], minute_and_hour),
            (&[("ratelimit-policy", "30;w=60"), ("ratelimit-policy", "1800;w=3600")], minute_and_hour),
            (&[("ratelimit-policy", "30; w=60 ;burst=5,1800;w=3600;comment=\"a, b; w=1\"")], minute_and_hour),
            (&[("ratelimit-limit", "30, 30;w=60, 1800;w=3600")], minute_and_hour),
            (&[("ratelimit-limit", "1800"), ("ratelimit-policy", "30;w=60, 1800;w=3600")], minute_and_hour),
            (&[("x-ratelimit-limit", "30;window=60, 1800;window=3600")], minute_and_hour),
            (&[("ratelimit-policy", "\"hex-api\";q=30;w=60, \"hourly\";q=1800;w=3600")], minute_and_hour),
            (
                &[(
                    "ratelimit-policy",
                    "\"a\";q=30;qu=\"requests\";w=60, \"b\";q=9;qu=\"content-bytes\";w=60",
                )],
                &[(30.0, 60)],
            ),
            (&[("x-ratelimit-limit-minute", "30"), ("x-ratelimit-limit-hour", "1800")], minute_and_hour),
            (&[("x-ratelimit-limit", "60")], &[(60.0, 60)]),
            (&[("x-rate-limit-limit", "60")], &[(60.0, 60)]),
            (&[("ratelimit", "limit=100, remaining=50, reset=20")], &[(100.0, 60)]),
            // A limit without a window, whose reset is far away, is not one of a minute.
            (&[("x-ratelimit-limit", "1800"), ("x-ratelimit-reset", "3000")], &[(1800.0, 3600)]),
            (&[("ratelimit-policy", "60")], &[]),
            (&[("ratelimit-policy", "60;w=0")], &[]),
            (&[("ratelimit-policy", "0;w=60")], &[]),
            (&[("ratelimit-policy", "-5;w=60, x;w=60, ;, \"unclosed;q=1;w=1")], &[]),
            (&[("x-ratelimit-limit", "many")], &[]),
            (&[], &[]),
        ];
        for (given, expected) in cases {
            let read = LimitHeaders::read(&headers(given)).policies;
            let read: Vec<_> = read.iter().map(|p| (p.requests, p.window.as_secs())).collect();
            assert_eq!(read, *expected, "{given:?}");
        }
        let named = LimitHeaders::read(&headers(&[("ratelimit-policy", "\"hex-api\";q=30;w=60")]));
        assert_eq!(named.policies[0].name.as_deref(), Some("hex-api"));
    }

    type Dated<'a> = [(&'static str, &'a str)];
    type Standing<'a> = (&'a Dated<'a>, Option<f64>, Option<u64>);

    #[test]
    fn every_form_of_a_standing_is_read() {
        let now = "Wed, 25 Nov 2026 07:28:00 GMT";
        let epoch = 1_795_591_680_u64;
        let (soon, soon_ms) = ((epoch + 20).to_string(), ((epoch + 20) * 1000).to_string());
        let cases: &[Standing<'_>] = &[
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "12")], Some(0.0), Some(12)),
            (&[("ratelimit-remaining", "5"), ("ratelimit-reset", "12")], Some(5.0), Some(12)),
            (&[("ratelimit", "limit=100, remaining=50, reset=20")], Some(50.0), Some(20)),
            (&[("ratelimit", "\"hex-api\";r=29;t=50, \"hourly\";r=0;t=3000")], Some(0.0), Some(3000)),
            (&[("x-ratelimit-remaining", "29, 0"), ("x-ratelimit-reset", "50, 3000")], Some(0.0), Some(3000)),
            (&[("x-ratelimit-remaining-minute", "29"), ("x-ratelimit-remaining-hour", "3")], Some(3.0), None),
            (&[("x-ratelimit-reset", &soon)], None, Some(20)),
            (&[("x-ratelimit-reset", &soon_ms)], None, Some(20)),
            (&[("x-ratelimit-reset", "Wed, 25 Nov 2026 07:28:20 GMT")], None, Some(20)),
            (&[("x-ratelimit-reset", "2026-11-25T07:28:20Z")], None, Some(20)),
            (&[("x-ratelimit-remaining", "none")], None, None),
        ];
        for (given, remaining, reset) in cases {
            let mut all = given.to_vec();
            all.push(("date", now));
            let read = LimitHeaders::read(&headers(&all));
            assert_eq!((read.remaining, read.reset.map(|r| r.as_secs())), (*remaining, *reset), "{given:?}");
        }
    }
}
