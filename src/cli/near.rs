//! Names that someone may have meant.

/// Similarity (Jaro-Winkler) from which a name is worth suggesting.
const SIMILAR: f64 = 0.8;
/// Most names to suggest.
const MOST: usize = 3;

/// The known names nearest to `wanted`, best first. Case is ignored, and a qualified name such as `core.orders` is
/// compared by its end as well.
pub fn near<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let whole = strsim::jaro_winkler(&wanted, &lower);
            let end = strsim::jaro_winkler(&last(&wanted), &last(&lower));
            // Jaro-Winkler thinks little of short names: one slip is near all the same.
            let slips = strsim::osa_distance(&wanted, &lower);
            let slip = if slips <= (wanted.len() / 3).min(2) { 0.9 } else { 0.0 };
            let part = if wanted.len() >= 3 && lower.contains(&wanted) { 0.95 } else { 0.0 };
            (whole.max(end).max(part).max(slip), name)
        })
        .filter(|(score, _)| *score >= SIMILAR)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.dedup_by_key(|(_, name)| *name);
    scored.into_iter().take(MOST).map(|(_, name)| name).collect()
}

/// "Did you mean a, b or c?"; nothing if no name is near.
pub fn did_you_mean<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    match near(wanted, known).as_slice() {
        [] => None,
        [one] => Some(format!("Did you mean {one}?")),
        [first @ .., last] => Some(format!("Did you mean {} or {last}?", first.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_far_ones_not_at_all() {
        let known = ["projects", "project_sharing", "users", "PROD.CORE.ORDERS"];
        assert_eq!(near("project", known)[0], "projects");
        assert_eq!(near("core.order", known), ["PROD.CORE.ORDERS"]);
        assert_eq!(near("usres", known), ["users"]);
        assert_eq!(near("ulr", ["url", "rate", "burst"]), ["url"]);
        assert!(near("zzz", known).is_empty());
        assert_eq!(did_you_mean("usres", known).unwrap(), "Did you mean users?");
        assert_eq!(did_you_mean("zzz", known), None);
    }
}
