//! Kinds of warehouses, with the columns of each one's query history.

use std::fmt;

use crate::derive::names::Warehouse;

/// A kind of warehouse whose query history can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Snowflake: QUERY_HISTORY, with QUERY_ATTRIBUTION_HISTORY and ACCESS_HISTORY
    Snowflake,
    /// BigQuery: INFORMATION_SCHEMA.JOBS
    BigQuery,
    /// Databricks: system.query.history
    Databricks,
    /// Redshift: SYS_QUERY_HISTORY
    Redshift,
    /// Athena: query executions, as the AWS CLI lists them
    Athena,
    /// ClickHouse: system.query_log
    ClickHouse,
    /// PostgreSQL: csvlog, with log_duration or auto_explain
    Postgres,
    /// Trino: the tables of its MySQL event listener
    Trino,
}

/// A column that an import reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Field {
    /// Identifier of the query.
    QueryId,
    /// SQL.
    QueryText,
    /// Start.
    StartedAt,
    /// End.
    EndedAt,
    /// Time in the warehouse.
    Seconds,
    /// Outcome of the query.
    Status,
    /// Code of its error.
    ErrorCode,
    /// User of the warehouse.
    WarehouseUser,
    /// Kind of statement.
    StatementType,
    /// Bytes scanned.
    BytesScanned,
    /// Rows of the result.
    RowsProduced,
    /// Credits or DBUs.
    Credits,
    /// Slot or CPU time.
    SlotSeconds,
    /// Whether the result came from a cache.
    IsCached,
    /// Database of unqualified names.
    DatabaseName,
    /// Schema of unqualified names.
    SchemaName,
    /// Tables read, as the warehouse reports them.
    TablesRead,
    /// Tables written, as the warehouse reports them.
    TablesWritten,
    /// Kind of warehouse, as the extraction says.
    Warehouse,
}

/// Type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// A time.
    Time,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Names of tables: a list, JSON, or text with commas.
    Tables,
}

impl Field {
    /// All of them, in the order of their numbers.
    pub const ALL: [Field; 19] = [
        Field::QueryId,
        Field::QueryText,
        Field::StartedAt,
        Field::EndedAt,
        Field::Seconds,
        Field::Status,
        Field::ErrorCode,
        Field::WarehouseUser,
        Field::StatementType,
        Field::BytesScanned,
        Field::RowsProduced,
        Field::Credits,
        Field::SlotSeconds,
        Field::IsCached,
        Field::DatabaseName,
        Field::SchemaName,
        Field::TablesRead,
        Field::TablesWritten,
        Field::Warehouse,
    ];
    /// Fields without which a row is useless.
    pub const REQUIRED: [Field; 3] = [Field::QueryId, Field::QueryText, Field::StartedAt];

    /// Its name: what the extraction calls the column, and `--map` takes.
    pub fn name(self) -> &'static str {
        match self {
            Field::QueryId => "query_id",
            Field::QueryText => "query_text",
            Field::StartedAt => "started_at",
            Field::EndedAt => "ended_at",
            Field::Seconds => "duration_seconds",
            Field::Status => "status",
            Field::ErrorCode => "error_code",
            Field::WarehouseUser => "warehouse_user",
            Field::StatementType => "statement_type",
            Field::BytesScanned => "bytes_scanned",
            Field::RowsProduced => "rows_produced",
            Field::Credits => "credits",
            Field::SlotSeconds => "slot_seconds",
            Field::IsCached => "is_cached",
            Field::DatabaseName => "database_name",
            Field::SchemaName => "schema_name",
            Field::TablesRead => "tables_read",
            Field::TablesWritten => "tables_written",
            Field::Warehouse => "warehouse",
        }
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name().eq_ignore_ascii_case(name))
    }

    /// Columns of a file that may fill it, each where those before are null: a job that never started was made all the
    /// same. Of numbers the first that is there counts, since others mean something else.
    pub fn columns(self) -> usize {
        if self.shape() == Shape::Time { usize::MAX } else { 1 }
    }

    /// Type of its values.
    pub fn shape(self) -> Shape {
        match self {
            Field::StartedAt | Field::EndedAt => Shape::Time,
            Field::Seconds
            | Field::BytesScanned
            | Field::RowsProduced
            | Field::Credits
            | Field::SlotSeconds => Shape::Number,
            Field::IsCached => Shape::Flag,
            Field::TablesRead | Field::TablesWritten => Shape::Tables,
            _ => Shape::Text,
        }
    }
}

/// A column of a warehouse's own history, and the field that it fills. Numbers are multiplied.
#[derive(Debug, Clone, Copy)]
pub struct Native {
    /// The field.
    pub field: Field,
    /// The column; levels of nested ones are joined by dots.
    pub column: &'static str,
    /// Size of the column's unit in the field's.
    pub unit: f64,
}

const fn native(field: Field, column: &'static str) -> Native {
    Native { field, column, unit: 1.0 }
}

const fn scaled(field: Field, column: &'static str, unit: f64) -> Native {
    Native { field, column, unit }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 8] = [
        Kind::Snowflake,
        Kind::BigQuery,
        Kind::Databricks,
        Kind::Redshift,
        Kind::Athena,
        Kind::ClickHouse,
        Kind::Postgres,
        Kind::Trino,
    ];

    /// Its name, also in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Snowflake => "snowflake",
            Kind::BigQuery => "bigquery",
            Kind::Databricks => "databricks",
            Kind::Redshift => "redshift",
            Kind::Athena => "athena",
            Kind::ClickHouse => "clickhouse",
            Kind::Postgres => "postgres",
            Kind::Trino => "trino",
        }
    }

    /// SQL dialect of its queries.
    pub fn warehouse(self) -> Warehouse {
        Warehouse::of_type(self.name())
    }

    /// Characters after which its history cuts queries off, as far as that is documented.
    pub fn cuts_after(self) -> Option<usize> {
        match self {
            Kind::Snowflake | Kind::ClickHouse => Some(100_000),
            Kind::Redshift => Some(4_000),
            Kind::Databricks => Some(65_535),
            Kind::BigQuery | Kind::Athena | Kind::Postgres | Kind::Trino => None,
        }
    }

    /// The columns that its own history has, for files that don't come from the extraction. Of two for the same field
    /// the first one that is there counts.
    pub fn natives(self) -> &'static [Native] {
        use Field as F;
        match self {
            Kind::Snowflake => {
                const {
                    &[
                        native(F::StartedAt, "start_time"),
                        native(F::EndedAt, "end_time"),
                        scaled(F::Seconds, "total_elapsed_time", 1e-3),
                        native(F::Status, "execution_status"),
                        native(F::WarehouseUser, "user_name"),
                        native(F::StatementType, "query_type"),
                        native(F::Credits, "credits_attributed_compute"),
                        native(F::TablesRead, "base_objects_accessed"),
                        native(F::TablesWritten, "objects_modified"),
                    ]
                }
            }
            Kind::BigQuery => {
                const {
                    &[
                        native(F::QueryId, "job_id"),
                        native(F::QueryText, "query"),
                        native(F::StartedAt, "start_time"),
                        native(F::StartedAt, "creation_time"),
                        native(F::EndedAt, "end_time"),
                        native(F::Status, "state"),
                        native(F::ErrorCode, "error_result.reason"),
                        native(F::WarehouseUser, "user_email"),
                        native(F::BytesScanned, "total_bytes_billed"),
                        native(F::BytesScanned, "total_bytes_processed"),
                        scaled(F::SlotSeconds, "total_slot_ms", 1e-3),
                        native(F::IsCached, "cache_hit"),
                        native(F::TablesRead, "referenced_tables"),
                    ]
                }
            }
            Kind::Databricks => {
                const {
                    &[
                        native(F::QueryId, "statement_id"),
                        native(F::QueryText, "statement_text"),
                        native(F::StartedAt, "start_time"),
                        native(F::EndedAt, "end_time"),
                        scaled(F::Seconds, "total_duration_ms", 1e-3),
                        native(F::Status, "execution_status"),
                        native(F::WarehouseUser, "executed_by"),
                        native(F::BytesScanned, "read_bytes"),
                        native(F::RowsProduced, "produced_rows"),
                        native(F::IsCached, "from_result_cache"),
                    ]
                }
            }
            Kind::Redshift => {
                const {
                    &[
                        native(F::StartedAt, "start_time"),
                        native(F::EndedAt, "end_time"),
                        scaled(F::Seconds, "elapsed_time", 1e-6),
                        native(F::WarehouseUser, "user_id"),
                        native(F::StatementType, "query_type"),
                        native(F::RowsProduced, "returned_rows"),
                        native(F::IsCached, "result_cache_hit"),
                    ]
                }
            }
            Kind::Athena => {
                const {
                    &[
                        native(F::QueryId, "queryexecutionid"),
                        native(F::QueryText, "query"),
                        native(F::StartedAt, "status.submissiondatetime"),
                        native(F::EndedAt, "status.completiondatetime"),
                        scaled(F::Seconds, "statistics.totalexecutiontimeinmillis", 1e-3),
                        native(F::Status, "status.state"),
                        native(F::ErrorCode, "status.athenaerror.errortype"),
                        native(F::StatementType, "statementtype"),
                        native(F::BytesScanned, "statistics.datascannedinbytes"),
                        native(F::IsCached, "statistics.resultreuseinformation.reusedpreviousresult"),
                        native(F::DatabaseName, "queryexecutioncontext.catalog"),
                        native(F::SchemaName, "queryexecutioncontext.database"),
                    ]
                }
            }
            Kind::ClickHouse => {
                const {
                    &[
                        native(F::QueryText, "query"),
                        native(F::StartedAt, "query_start_time_microseconds"),
                        native(F::StartedAt, "query_start_time"),
                        native(F::EndedAt, "event_time_microseconds"),
                        native(F::EndedAt, "event_time"),
                        scaled(F::Seconds, "query_duration_ms", 1e-3),
                        native(F::Status, "type"),
                        native(F::ErrorCode, "exception_code"),
                        native(F::WarehouseUser, "user"),
                        native(F::StatementType, "query_kind"),
                        native(F::BytesScanned, "read_bytes"),
                        native(F::RowsProduced, "result_rows"),
                        native(F::SchemaName, "current_database"),
                        native(F::TablesRead, "tables"),
                    ]
                }
            }
            Kind::Postgres => {
                const {
                    &[
                        native(F::QueryText, "query"),
                        native(F::StartedAt, "log_time"),
                        scaled(F::Seconds, "duration_ms", 1e-3),
                        native(F::Status, "error_severity"),
                        native(F::ErrorCode, "sql_state_code"),
                        native(F::WarehouseUser, "user_name"),
                        native(F::StatementType, "command_tag"),
                    ]
                }
            }
            Kind::Trino => {
                const {
                    &[
                        native(F::QueryText, "query"),
                        native(F::StartedAt, "create_time"),
                        native(F::StartedAt, "created"),
                        native(F::EndedAt, "end_time"),
                        native(F::EndedAt, "end"),
                        scaled(F::Seconds, "wall_time_millis", 1e-3),
                        native(F::Status, "query_state"),
                        native(F::Status, "state"),
                        native(F::WarehouseUser, "user"),
                        native(F::StatementType, "query_type"),
                        native(F::BytesScanned, "physical_input_bytes"),
                        native(F::BytesScanned, "total_bytes"),
                        native(F::RowsProduced, "output_rows"),
                        scaled(F::SlotSeconds, "cpu_time_millis", 1e-3),
                        native(F::DatabaseName, "catalog"),
                        native(F::SchemaName, "schema"),
                        native(F::TablesRead, "inputs_json"),
                        native(F::TablesWritten, "output_json"),
                    ]
                }
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Outcome of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Succeeded.
    Success,
    /// Failed.
    Failed,
    /// Still running: a later extraction has it again.
    Open,
}

/// Reads how a query ended by its status and error code. Statuses that aren't known count as successes: the warehouse
/// worked for them.
pub fn ending(status: Option<&str>, error: Option<&str>) -> Ending {
    let status = status.unwrap_or("").to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| status.contains(part));
    if has(&["fail", "error", "exception", "cancel", "abort", "kill", "incident", "fatal", "panic"]) {
        return Ending::Failed;
    }
    const OPEN: [&str; 12] = [
        "running",
        "pending",
        "queued",
        "querystart",
        "started",
        "planning",
        "planned",
        "starting",
        "compiling",
        "dispatching",
        "blocked",
        "resuming_warehouse",
    ];
    if OPEN.contains(&status.as_str()) {
        return Ending::Open;
    }
    let is_error = |code: &str| !matches!(code.trim(), "" | "0" | "00000" | "null");
    if error.is_some_and(is_error) { Ending::Failed } else { Ending::Success }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_numbers_and_each_kind_can_fill_what_is_required() {
        for (at, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, at);
            assert_eq!(Field::named(&field.name().to_uppercase()), Some(field));
        }
        for kind in Kind::ALL {
            assert_ne!(kind.warehouse(), Warehouse::Other, "{kind}");
            assert!(kind.natives().iter().any(|native| native.field == Field::StartedAt), "{kind}");
            assert!(
                kind.natives().iter().all(|native| native.column == native.column.to_lowercase()),
                "{kind}"
            );
        }
    }

    #[test]
    fn statuses_of_all_kinds_are_told_apart() {
        for (status, error, expected) in [
            (Some("SUCCESS"), None, Ending::Success),
            (Some("SUCCESS"), Some("0"), Ending::Success),
            (Some("FAILED_WITH_ERROR"), Some("604"), Ending::Failed),
            (Some("FAIL"), None, Ending::Failed),
            (Some("DONE"), Some("invalidQuery"), Ending::Failed),
            (Some("DONE"), None, Ending::Success),
            (Some("RUNNING"), None, Ending::Open),
            (Some("QueryStart"), Some("0"), Ending::Open),
            (Some("QueryFinish"), Some("0"), Ending::Success),
            (Some("ExceptionBeforeStart"), Some("60"), Ending::Failed),
            (Some("FINISHED"), None, Ending::Success),
            (Some("canceled"), None, Ending::Failed),
            (Some("LOG"), Some("00000"), Ending::Success),
            (None, None, Ending::Success),
            (Some("success"), Some("42P01"), Ending::Failed),
        ] {
            assert_eq!(ending(status, error), expected, "{status:?} {error:?}");
        }
    }
}
