//! `audit_findings`: what the audit's rules find in the snapshot.

use crate::schema::columns::{text, time};
use crate::schema::{Origin, Table, itself};

/// Tables that the audit reads.
pub(super) const FROM: &[&str] = &[
    "projects",
    "project_sharing",
    "project_categories",
    "project_schedules",
    "users",
    "groups",
    "group_members",
    "collections",
    "collection_sharing",
    "data_connections",
    "data_connection_sharing",
    "cells",
    "queried_tables",
    "runs",
    "lineage",
    "column_lineage",
    "sql_cells",
    "run_stats",
    "run_health",
    "effective_access",
    "cell_changes",
    "project_cost",
    "query_fingerprints",
    "query_repeats",
];

/// One row a finding, with the thresholds and exceptions that the export's settings had.
pub static AUDIT_FINDINGS: Table = Table {
    name: "audit_findings",
    doc: "Findings of the audit's rules, by the settings of the export, including those that exceptions accept",
    origin: Origin::Derived(FROM),
    key: &["finding_id"],
    columns: &[
        text("finding_id", "", "Stable identifier: the same for a rule and entity in every snapshot")
            .required(),
        text("severity", "", "info, low, medium, high").required(),
        text("rule", "", "Rule").required(),
        text("entity_type", "", "project, component, user, group, connection, table, query or workspace")
            .required(),
        text("entity_id", "", "Identifier of the entity").required(),
        text("entity", "", "Title or name of the entity").required().name_of_where(
            "owner_email",
            "entity_type",
            "user",
        ),
        text("owner_email", "", "Email address of the owner"),
        text("evidence", "", "What was found").required(),
        time(
            "since",
            "",
            "First snapshot of the unbroken series that has it; null if no earlier snapshot evaluated the rule",
        ),
        text("action", "", "What to do about it").required(),
        text("url", "", "Page in Hex"),
        text("status", "", "open, or excepted: accepted by an exception in the settings").required(),
        text("exception_reason", "", "Why it is accepted; null if it is open"),
        text("exception_until", "", "Last day on which it is accepted; null if it is open"),
    ],
    elsewhere: &[],
    explode: itself,
};
