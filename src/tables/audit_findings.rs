//! `audit_findings`: what the audit's built-in rules find in the snapshot.

use crate::schema::columns::{text, time};
use crate::schema::{Origin, Table, itself};

/// One row a finding, with the thresholds and exceptions that the export's settings had.
pub static AUDIT_FINDINGS: Table = Table {
    name: "audit_findings",
    doc: "What the audit's built-in rules find, by the settings of the export",
    origin: Origin::Derived(&[
        "projects",
        "project_sharing",
        "project_categories",
        "project_schedules",
        "users",
        "groups",
        "group_members",
        "data_connections",
        "data_connection_sharing",
        "lineage",
        "sql_cells",
        "run_stats",
    ]),
    key: &["finding_id"],
    columns: &[
        text("finding_id", "", "The same for the same rule and entity in every snapshot").required(),
        text("severity", "", "info, low, medium, high").required(),
        text("rule", "", "Rule").required(),
        text("entity_type", "", "project, component, user, group, connection, table or workspace").required(),
        text("entity_id", "", "Identifier of what it was found on").required(),
        text("entity", "", "Its title or name").required(),
        text("owner_email", "", "Who owns it"),
        text("evidence", "", "What was found").required(),
        time("since", "", "First of the snapshots in a row, up to this one, that have it").required(),
        text("action", "", "What to do about it").required(),
        text("url", "", "Its page in Hex"),
    ],
    elsewhere: &[],
    explode: itself,
};
