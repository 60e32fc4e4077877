//! Faults that the simulated server can be told to have.

use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;

use super::rng;
use crate::units::parse_duration;

/// Probabilities of faults, each from 0 to 1, and latency.
///
/// As text: `429=0.05,500=0.05,reset=0.05,timeout=0.05,truncate=0.05,malformed=0.05,duplicate=0.1,shift=0.1,`
/// `latency=20ms,hang=60s`.
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
    /// How long a request hangs that times out.
    pub hang: Duration,
    /// What a 429 of `too_many` says in `Retry-After`.
    pub retry_after: Duration,
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
        }
    }
}

/// What happens to one request.
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

/// What is decided for one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub fault: Fault,
    pub latency: Duration,
    pub duplicate: bool,
    pub shift: bool,
}

impl Faults {
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
                "seed" => {
                    faults.seed = value.parse().map_err(|_| format!("'{part}': a seed is a whole number"))?
                }
                _ => {
                    return Err(format!(
                        "unknown fault '{name}'; there are 429, 500, reset, timeout, truncate, malformed, duplicate, \
                         shift, latency, hang, retry-after, seed"
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
        assert!("fire=1".parse::<Faults>().unwrap_err().contains("unknown fault"));
    }
}
