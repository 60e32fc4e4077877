//! `audit_rules`: which rules the audit could evaluate in the snapshot.

use crate::schema::columns::{boolean, int, text};
use crate::schema::{Origin, Table, itself};

use super::audit_findings::FROM;

/// One row a rule that is on: the built-in ones, and the user's own.
pub static AUDIT_RULES: Table = Table {
    name: "audit_rules",
    doc: "The audit's rules: whether each could be evaluated, what it left out, how much it found",
    origin: Origin::Derived(FROM),
    key: &["rule"],
    columns: &[
        text("rule", "", "Rule").required(),
        text("severity", "", "Severity of its findings, unless one says otherwise").required(),
        text("looks_for", "", "What it looks for").required(),
        boolean(
            "evaluated",
            "",
            "Whether its inputs were read; if not, the absence of findings means nothing",
        )
        .required(),
        text("why", "", "Why it was not evaluated, or not for all entities"),
        int("entities_left_out", "", "Entities that it could not judge").required(),
        int("findings", "", "Open findings").required(),
        int("excepted", "", "Findings that exceptions in the settings accept").required(),
    ],
    elsewhere: &[],
    explode: itself,
};
