//! `data_connections`: connections to warehouses.

use serde_json::Value;

use super::data_connection_sharing;
use crate::client::operation::LIST_DATA_CONNECTIONS;
use crate::schema::columns::{SubField, Type, boolean, int, text};
use crate::schema::{Column, Origin, Table};

const MATCH: Type = Type::Struct(&[
    SubField::new("match_type", Type::Utf8, "matchType"),
    SubField::new("values", Type::List(&Type::Utf8), "values"),
]);
const FILTER: Type =
    Type::Struct(&[SubField::new("include", MATCH, "include"), SubField::new("exclude", MATCH, "exclude")]);
const FILTERS: Type = Type::Struct(&[
    SubField::new("databases", FILTER, "databases"),
    SubField::new("schemas", FILTER, "schemas"),
    SubField::new("tables", FILTER, "tables"),
]);
const PROPERTY: Type =
    Type::Struct(&[SubField::new("key", Type::Utf8, "key"), SubField::new("value", Type::Utf8, "value")]);

/// One row a connection. Of the short form, which a token without rights to the settings gets, only the
/// first four columns are set.
pub static DATA_CONNECTIONS: Table = Table {
    name: "data_connections",
    doc: "Data connections, with their settings where the token may see them; no secrets",
    origin: Origin::Api(&LIST_DATA_CONNECTIONS),
    key: &["data_connection_id"],
    columns: &[
        text("data_connection_id", "id", "Identifier (UUID)").required(),
        text("name", "name", "Name"),
        text(
            "type",
            "type",
            "Warehouse: snowflake, bigquery, postgres, redshift, databricks, athena, trino, clickhouse, ...",
        ),
        text("description", "description", "Description"),
        boolean("connect_via_ssh", "connectViaSsh", "Whether it uses an SSH tunnel"),
        boolean("include_magic", "includeMagic", "Whether Hex's Magic may use it"),
        boolean("allow_writeback_cells", "allowWritebackCells", "Whether projects may write back through it"),
        text("host", "connectionDetails.*.hostname|connectionDetails.*.host", "Host of the warehouse"),
        int("port", "connectionDetails.*.port", "Port of the warehouse"),
        text("account_name", "connectionDetails.*.accountName", "Snowflake account"),
        text(
            "database",
            "connectionDetails.*.database|connectionDetails.*.catalog|connectionDetails.*.projectId",
            "Default database, catalog (Athena, Trino) or project (BigQuery)",
        ),
        text("schema", "connectionDetails.*.schema", "Default schema"),
        text("username", "connectionDetails.*.username", "User name for the warehouse"),
        text("role", "connectionDetails.*.role", "Snowflake role"),
        text("warehouse", "connectionDetails.*.warehouse", "Snowflake warehouse"),
        text("jdbc_url", "connectionDetails.*.jdbcUrl", "Databricks JDBC URL"),
        text("access_key_id", "connectionDetails.*.accessKeyId", "Athena access key id (not the secret)"),
        text("workgroup", "connectionDetails.*.workgroup", "Athena workgroup"),
        text("s3_output_path", "connectionDetails.*.s3OutputPath", "Athena output path"),
        boolean(
            "enable_storage_api",
            "connectionDetails.*.enableStorageApi",
            "Whether BigQuery's storage API is used",
        ),
        boolean(
            "enable_drive_access",
            "connectionDetails.*.enableDriveAccess",
            "Whether BigQuery may read Google Drive",
        ),
        Column::new(
            "session_properties",
            Type::List(&PROPERTY),
            "connectionDetails.*.sessionProperties",
            "Trino session properties",
        ),
        Column::new(
            "schema_filters",
            FILTERS,
            "schemaFilters",
            "Which databases, schemas and tables Hex shows",
        ),
        text(
            "schema_refresh_access",
            "schemaRefreshAccess",
            "Who may refresh the schema: ADMINS, USERS_WITH_QUERY_ACCESS",
        ),
        text("schema_refresh_cadence", "schemaRefreshSchedule.cadence", "How often Hex refreshes the schema"),
        boolean("schema_refresh_enabled", "schemaRefreshSchedule.enabled", "Whether the refresh is enabled"),
        text(
            "schema_refresh_timezone",
            "schemaRefreshSchedule.daily.timezoneString|schemaRefreshSchedule.weekly.timezoneString|\
             schemaRefreshSchedule.monthly.timezoneString|schemaRefreshSchedule.custom.timezoneString",
            "Time zone of the refresh",
        ),
        int(
            "schema_refresh_minute",
            "schemaRefreshSchedule.daily.minute|schemaRefreshSchedule.weekly.minute|schemaRefreshSchedule.monthly.minute",
            "Minute of the refresh",
        ),
        int(
            "schema_refresh_hour",
            "schemaRefreshSchedule.daily.hour|schemaRefreshSchedule.weekly.hour|schemaRefreshSchedule.monthly.hour",
            "Hour of the refresh",
        ),
        text(
            "schema_refresh_day_of_week",
            "schemaRefreshSchedule.weekly.dayOfWeek",
            "Day of the week of the refresh",
        ),
        int("schema_refresh_day", "schemaRefreshSchedule.monthly.day", "Day of the month of the refresh"),
        text("schema_refresh_cron", "schemaRefreshSchedule.custom.cron", "Cron expression of the refresh"),
    ],
    elsewhere: &[],
    explode: without_parts,
};

/// Drops the grants: they have a table of their own.
fn without_parts(mut item: Value) -> Vec<Value> {
    data_connection_sharing::take(&mut item);
    vec![item]
}
