//! Faults of the simulated server: random ones, and named ones.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;

use super::rng;
use crate::units::parse_duration;

/// Probabilities of faults, each from 0 to 1, and latency.
///
/// As text: `429=0.05,500=0.05,reset=0.05,timeout=0.05,truncate=0.05,malformed=0.05,duplicate=0.1,shift=0.1,`
/// `latency=20ms,hang=60s,page=10`.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Seed of the choice.
    pub seed: u64,
    /// 429 with `Retry-After: 1` (or `retry-after=...`).
    pub too_many: f64,
    /// 500, 502 or 503.
    pub error: f64,
    /// The connection closes before any answer.
    pub reset: f64,
    /// No answer for the length of `hang`.
    pub timeout: f64,
    /// The body ends early.
    pub truncate: f64,
    /// The body is whole but not JSON.
    pub malformed: f64,
    /// A page starts with the last item of the page before it.
    pub duplicate: f64,
    /// A run that is newer than all others appears between two pages, so that offsets shift by one.
    pub shift: f64,
    /// Mean latency of an answer.
    pub latency: Duration,
    /// Time that a request hangs before it times out.
    pub hang: Duration,
    /// `Retry-After` of the 429s of `too_many`.
    pub retry_after: Duration,
    /// Requests that are refused; the first that fits counts.
    pub refusals: Vec<Refusal>,
    /// Lists whose pages lead astray: operation, and how.
    pub paging: Vec<(String, PageFault)>,
    /// Most items that the server puts on a page, whatever is asked for.
    pub page_cap: Option<usize>,
}

/// A refusal of some requests, for as long as it stands.
///
/// As text: `ListUsers=403`, `ListCells:PROJECT-ID=404`, `ListUsers@2=500` (from the second page on),
/// `*:PROJECT-ID=403`, `ListGroups=401-text`, `ListThreads=html`, `GetProjectRuns=500x2` (twice),
/// `RunProject=lost` (carried out, but the connection closes before the answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The operation; any, if none is named.
    pub operation: Option<String>,
    /// Identifier in the path, the query or the body that the refusal is about; any, if none is named.
    pub entity: Option<String>,
    /// Whether only pages after the first are refused.
    pub later_pages: bool,
    /// The answer.
    pub answer: Refused,
    /// Number of requests to refuse; all, if not set.
    pub times: Option<u32>,
}

/// Answer to a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// This status, and a body in the operation's own form.
    Status(u16),
    /// 401 and the bare text `Unauthorized`.
    BareUnauthorized,
    /// 200 and a page of HTML, as from a proxy.
    Html,
    /// No answer: the request is carried out, and the connection closes.
    Lost,
}

impl Refusal {
    /// A refusal of every request for `operation`.
    pub fn of(operation: impl Into<String>, answer: Refused) -> Self {
        Self { operation: Some(operation.into()), entity: None, later_pages: false, answer, times: None }
    }

    /// Of requests about this entity alone.
    pub fn about(self, entity: impl Into<String>) -> Self {
        Self { entity: Some(entity.into()), ..self }
    }

    /// Of pages after the first alone.
    pub fn later_pages(self) -> Self {
        Self { later_pages: true, ..self }
    }
}

/// Pagination faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFault {
    /// Before each page comes an empty one with a cursor. Legal: nothing is lost by following it.
    Empty,
    /// A page after the first gives the cursor that was sent.
    Repeat,
    /// The pages go round in a circle.
    Circle,
    /// After the last item come empty pages without end, each with a new cursor.
    Endless,
}

impl PageFault {
    const NAMES: [(&'static str, Self); 4] = [
        ("empty", Self::Empty),
        ("repeat", Self::Repeat),
        ("circle", Self::Circle),
        ("endless", Self::Endless),
    ];
}

impl FromStr for PageFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, fault)| *fault);
        known.ok_or_else(|| format!("'{text}' is none of empty, repeat, circle, endless"))
    }
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, fault)| fault == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Refusal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not a refusal such as ListUsers=403 or ListCells:ID=404");
        let (what, answer) = text.split_once('=').ok_or_else(bad)?;
        let times = answer.rsplit_once('x').and_then(|(answer, times)| Some((answer, times.parse().ok()?)));
        let (answer, times) = times.map_or((answer, None), |(answer, times)| (answer, Some(times)));
        let answer = match answer {
            "html" => Refused::Html,
            "lost" => Refused::Lost,
            "401-text" => Refused::BareUnauthorized,
            status => Refused::Status(
                status.parse().ok().filter(|status| (400..600).contains(status)).ok_or_else(bad)?,
            ),
        };
        let (what, later_pages) = match what.strip_suffix("@2") {
            Some(what) => (what, true),
            None => (what, false),
        };
        let (operation, entity) = match what.split_once(':') {
            Some((operation, entity)) => (operation, Some(entity.to_owned())),
            None => (what, None),
        };
        let operation = match operation {
            "*" | "" => None,
            known if super::routes().any(|route| route.operation == known) => Some(known.to_owned()),
            unknown => return Err(format!("'{text}': there is no operation {unknown}")),
        };
        Ok(Self { operation, entity, later_pages, answer, times })
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 1,
            too_many: 0.0,
            error: 0.0,
            reset: 0.0,
            timeout: 0.0,
            truncate: 0.0,
            malformed: 0.0,
            duplicate: 0.0,
            shift: 0.0,
            latency: Duration::ZERO,
            hang: Duration::from_secs(120),
            retry_after: Duration::from_secs(1),
            refusals: Vec::new(),
            paging: Vec::new(),
            page_cap: None,
        }
    }
}

/// Fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    TooMany,
    Error(u16),
    Reset,
    Timeout,
    Truncate,
    Malformed,
}

/// Decision about one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub fault: Fault,
    pub latency: Duration,
    pub duplicate: bool,
    pub shift: bool,
}

/// Operation and entity of a request, for refusals.
pub(super) struct About<'a> {
    pub operation: &'a str,
    pub later_page: bool,
    /// Whether it names the entity.
    pub names: &'a dyn Fn(&str) -> bool,
}

impl Faults {
    /// The refusal of a request, by its place in the list.
    pub(super) fn refusal(&self, about: &About<'_>) -> Option<(usize, &Refusal)> {
        self.refusals.iter().enumerate().find(|(_, refusal)| {
            refusal.times != Some(0)
                && refusal.operation.as_deref().is_none_or(|operation| operation == about.operation)
                && refusal.entity.as_deref().is_none_or(|entity| (about.names)(entity))
                && (!refusal.later_pages || about.later_page)
        })
    }

    /// Paging fault of a list, if it has one.
    pub(super) fn paging(&self, operation: &str) -> Option<PageFault> {
        self.paging.iter().find(|(name, _)| name == operation || name == "*").map(|(_, fault)| *fault)
    }

    pub(super) fn fate(&self, request: u64) -> Fate {
        let r = &mut rng::of(self.seed, "fault", request);
        let mut x: f64 = r.random();
        let mut hit = |p: f64| {
            let hit = x < p;
            x -= p;
            hit
        };
        let fault = if hit(self.too_many) {
            Fault::TooMany
        } else if hit(self.error) {
            Fault::Error([500, 502, 503][(request % 3) as usize])
        } else if hit(self.reset) {
            Fault::Reset
        } else if hit(self.timeout) {
            Fault::Timeout
        } else if hit(self.truncate) {
            Fault::Truncate
        } else if hit(self.malformed) {
            Fault::Malformed
        } else {
            Fault::None
        };
        let latency = self.latency.mul_f64(r.random_range(0.5..1.5));
        Fate { fault, latency, duplicate: rng::chance(r, self.duplicate), shift: rng::chance(r, self.shift) }
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is not name=value"))?;
            let share = || -> Result<f64, String> {
                value
                    .parse::<f64>()
                    .ok()
                    .filter(|p| (0.0..=1.0).contains(p))
                    .ok_or_else(|| format!("'{part}': a share is a number from 0 to 1"))
            };
            match name {
                "429" => faults.too_many = share()?,
                "500" | "5xx" => faults.error = share()?,
                "reset" => faults.reset = share()?,
                "timeout" => faults.timeout = share()?,
                "truncate" => faults.truncate = share()?,
                "malformed" => faults.malformed = share()?,
                "duplicate" => faults.duplicate = share()?,
                "shift" => faults.shift = share()?,
                "latency" => faults.latency = parse_duration(value)?,
                "hang" => faults.hang = parse_duration(value)?,
                "retry-after" => faults.retry_after = parse_duration(value)?,
                "page" => {
                    let cap = value.parse().ok().filter(|cap| *cap > 0);
                    faults.page_cap =
                        Some(cap.ok_or_else(|| format!("'{part}': a page holds 1 item or more"))?);
                }
                "seed" => {
                    faults.seed = value.parse().map_err(|_| format!("'{part}': a seed is a whole number"))?
                }
                _ => {
                    return Err(format!(
                        "unknown fault '{name}'; there are 429, 500, reset, timeout, truncate, malformed, duplicate, \
                         shift, latency, hang, retry-after, page, seed"
                    ));
                }
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_text_and_strike_about_as_often_as_told() {
        let faults: Faults = "429=0.05, 500=0.05,reset=0.1,latency=20ms".parse().unwrap();
        assert_eq!(faults.latency, Duration::from_millis(20));
        let resets = (0..10_000).filter(|n| faults.fate(*n).fault == Fault::Reset).count();
        assert!((800..1200).contains(&resets), "{resets}");
        assert!("reset=2".parse::<Faults>().is_err());
        assert!("page=0".parse::<Faults>().is_err());
        assert!("fire=1".parse::<Faults>().unwrap_err().contains("unknown fault"));
    }

    #[test]
    fn refusals_are_read_from_text() {
        let refusal = |text: &str| text.parse::<Refusal>();
        assert_eq!(refusal("ListUsers=403"), Ok(Refusal::of("ListUsers", Refused::Status(403))));
        let later = Refusal::of("ListUsers", Refused::Status(500)).later_pages();
        assert_eq!(refusal("ListUsers@2=500x2"), Ok(Refusal { times: Some(2), ..later }));
        assert_eq!(refusal("ListCells:p1=html"), Ok(Refusal::of("ListCells", Refused::Html).about("p1")));
        let any = Refusal { operation: None, ..Refusal::of("", Refused::BareUnauthorized).about("p1") };
        assert_eq!(refusal("*:p1=401-text"), Ok(any));
        for text in ["ListUsers", "ListUsers=200", "ListUsers=often", "ListFires=403", "ListUsers=403xx"] {
            assert!(refusal(text).is_err(), "{text}");
        }
    }
}
