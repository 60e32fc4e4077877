//! Units that people write in flags and settings.

use std::time::Duration;

/// Reads `20ms`, `1.5s`, `5m`, `2h` or a number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let unit = match &text[split..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("'{text}' is not a duration such as 500ms, 30s, 5m, 2h")),
    };
    let number: f64 = text[..split]
        .trim()
        .parse()
        .map_err(|_| format!("'{text}' is not a duration such as 500ms, 30s, 5m, 2h"))?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| format!("'{text}' is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, seconds) in
            [("20ms", 0.02), ("1.5s", 1.5), ("30", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1d", 86_400.0)]
        {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs_f64(seconds), "{text}");
        }
        for text in ["", "soon", "-1s", "5 years", "1e400s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
