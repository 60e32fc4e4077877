//! Gaps in the lineage.

use std::collections::BTreeMap;

use super::{Rule, counted, live};
use crate::audit::{Config, Facts, Found, Need, Severity};

pub static LINEAGE_GAP: Rule = Rule {
    id: "lineage-gap",
    severity: Severity::Low,
    looks_for: "Projects whose lineage is only partly known",
    action: "Look at its SQL: some could not be parsed, or reads what Hex doesn't report",
    needs: &[
        Need::Each("projects"),
        Need::Each("cells"),
        Need::Present("sql_cells"),
        Need::Present("lineage"),
    ],
    find: lineage_gap,
};

fn lineage_gap(facts: &Facts, _: &Config) -> Found {
    let mut unread: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in facts.sql_cells.iter().filter(|cell| !cell.parsed) {
        *unread.entry(&cell.project_id).or_default() += 1;
    }
    let mut only_queried: BTreeMap<&str, usize> = BTreeMap::new();
    for edge in facts.lineage.iter().filter(|edge| &*edge.evidence == "queried") {
        *only_queried.entry(&edge.project_id).or_default() += 1;
    }
    live(facts, |p| {
        let id = p.project_id.as_str();
        let mut gaps = Vec::new();
        gaps.extend(
            unread.get(id).map(|n| format!("{} could not be read", counted(*n, "SQL cell", "SQL cells"))),
        );
        gaps.extend(only_queried.get(id).map(|n| match n {
            1 => "1 table is queried that no SQL cell names".to_owned(),
            n => format!("{n} tables are queried that no SQL cell names"),
        }));
        (!gaps.is_empty()).then(|| gaps.join("; "))
    })
    .into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::facts::SqlCell;

    pub const CASES: &[Case] = &[Case {
        rule: &LINEAGE_GAP,
        entity: "p1",
        case: |f| f.sql_cells = vec![SqlCell { project_id: "p1".into(), parsed: false }],
        near_misses: &[|f| f.sql_cells = vec![SqlCell { project_id: "p1".into(), parsed: true }]],
    }];
}
