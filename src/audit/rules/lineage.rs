//! Gaps in the lineage.

use std::collections::BTreeMap;

use super::{Rule, counted, live};
use crate::audit::{Config, Facts, Found, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&LINEAGE_GAP];

static LINEAGE_GAP: Rule = Rule {
    id: "lineage-gap",
    severity: Severity::Low,
    looks_for: "Projects whose lineage is only partly known",
    action: "Check its SQL: some of it could not be parsed, or reads tables that Hex doesn't report",
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
    live(facts, |p| {
        let id = &*p.project_id;
        let Only { queried, sql, executed } = Only::of(facts, id);
        let mut gaps = Vec::new();
        gaps.extend(
            unread.get(id).map(|n| format!("{} could not be read", counted(*n, "SQL cell", "SQL cells"))),
        );
        if !queried.is_empty() {
            let verb = if queried.len() == 1 { "table is" } else { "tables are" };
            gaps.push(format!(
                "{} {verb} queried that no SQL cell names{}",
                queried.len(),
                samples(&queried)
            ));
            // Alone this is no gap: drafts are ahead of what was published and run.
            if !sql.is_empty() {
                let count = counted(sql.len(), "table", "tables");
                gaps.push(format!("{count} in its SQL not among the queried{}", samples(&sql)));
            }
        }
        if !executed.is_empty() {
            let verb = if executed.len() == 1 { "table was" } else { "tables were" };
            let n = executed.len();
            gaps.push(format!(
                "{n} {verb} read by queries that neither Hex nor its SQL name{}",
                samples(&executed)
            ));
        }
        (!gaps.is_empty()).then(|| gaps.join("; "))
    })
    .into()
}

/// Tables that a project reads by one kind of evidence alone.
#[derive(Default)]
struct Only<'a> {
    queried: Vec<&'a str>,
    sql: Vec<&'a str>,
    executed: Vec<&'a str>,
}

impl<'a> Only<'a> {
    fn of(facts: &'a Facts, project: &str) -> Self {
        let mut only = Self::default();
        for edge in facts.lineage.of(project).filter(|edge| edge.is_read) {
            let has = |kinds: &[&str]| kinds.iter().any(|kind| edge.evidence.has(kind));
            let tables = match (has(&["queried"]), has(&["sql", "scanned"])) {
                // What a component reads runs with the project, and is the component's SQL.
                _ if has(&["component"]) => continue,
                (true, true) => continue,
                (true, false) => &mut only.queried,
                (false, true) => &mut only.sql,
                (false, false) => &mut only.executed,
            };
            tables.push(&edge.table.table_key);
        }
        only
    }
}

/// Tables that a finding names.
const SAMPLES: usize = 3;

/// The first few of some tables.
fn samples(tables: &[&str]) -> String {
    let mut tables = tables.to_vec();
    tables.sort_unstable();
    let more = if tables.len() > SAMPLES { ", ..." } else { "" };
    tables.truncate(SAMPLES);
    format!(" ({}{more})", tables.join(", "))
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

    #[test]
    fn a_gap_names_what_one_side_has_and_the_other_lacks() {
        let mut facts = calm();
        (0..4).for_each(|i| facts.lineage.push(edge("p1", "c1", &format!("db.core.t{i}"), "queried")));
        facts.lineage.push(edge("p1", "c1", "db.core.draft", "scanned+sql"));
        let hits = lineage_gap(&facts, &Config::default()).hits;
        assert_eq!(
            hits[0].evidence,
            "4 tables are queried that no SQL cell names (db.core.t0, db.core.t1, db.core.t2, ...); 1 table in its SQL not \
             among the queried (db.core.draft)"
        );
    }

    #[test]
    fn what_only_executed_queries_read_is_a_gap_of_the_other_two() {
        let mut facts = calm();
        facts.lineage = [edge("p1", "c1", "db.core.orders", "executed+queried+sql")].into_iter().collect();
        assert!(lineage_gap(&facts, &Config::default()).hits.is_empty());
        facts.lineage.push(edge("p1", "c1", "db.core.python", "executed"));
        facts.lineage.push(edge("p1", "c1", "db.core.display", "executed+queried"));
        let hits = lineage_gap(&facts, &Config::default()).hits;
        assert_eq!(
            hits[0].evidence,
            "1 table is queried that no SQL cell names (db.core.display); 1 table was read by queries that neither Hex \
             nor its SQL name (db.core.python)"
        );
    }
}
