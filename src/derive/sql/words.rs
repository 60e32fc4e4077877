//! Words that look like names but aren't.

use super::names::Warehouse;

/// Functions of which an argument is a date part.
const DATE_FUNCTIONS: &str = "\
    date_add date_bin date_diff date_part date_sub date_trunc dateadd datediff datename datepart \
    datesub datetime_add datetime_bucket datetime_diff datetime_sub datetime_trunc datetrunc \
    generate_date_array generate_timestamp_array last_day time_add time_bucket time_diff \
    time_slice time_sub time_trunc timeadd timediff timestamp_add timestamp_bucket \
    timestamp_diff timestamp_sub timestamp_trunc timestampadd timestampdiff trunc week isoweek \
    extract datetime_part to_start_of_interval tostartofinterval datediff_big date_ceil \
    date_floor";

/// Date parts, without a final `s`.
const DATE_PARTS: &str = "\
    century centurie d day day_of_week day_of_week_iso day_of_year dayofmonth dayofweek \
    dayofweek_iso dayofweekiso dayofyear dd decade dow dow_iso doy dw dy epoch epoch_microsecond \
    epoch_millisecond epoch_nanosecond epoch_second h hh hour hr hrs iso_week isodow isoweek \
    isowk isoww isoyear julian m mcs mi microsec microsecond mil millennium millisecond min \
    minute mm mon month ms msec n nanosec nanosecond ns nsec nsecond q qq qtr quarter s sec \
    second ss timezone timezone_hour timezone_minute tzoffset u us usec w week week_iso weekday \
    weekday_iso weekiso weekofyear weekofyear_iso weekofyeariso wk woy ww wy y year yearofweek \
    yearofweekiso yr yy yyy yyyy monday tuesday wednesday thursday friday saturday sunday";

/// Words that call a function without parentheses in every dialect.
const SESSION: &str = "\
    current_catalog current_date current_role current_schema current_time current_timestamp \
    current_user localtime localtimestamp session_user system_user sysdate systimestamp \
    current_timezone utc_date utc_time utc_timestamp sysdatetime";

/// Whether a list of words has this one, in any case.
pub fn has(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a function takes a date part.
pub fn takes_date_part(function: &str) -> bool {
    has(DATE_FUNCTIONS, function)
}

/// Whether a name is a date part.
pub fn is_date_part(name: &str) -> bool {
    has(DATE_PARTS, name) || name.strip_suffix('s').is_some_and(|name| has(DATE_PARTS, name))
}

/// Whether an unquoted name that nothing qualifies is a function of the session or of the row, and no column.
pub fn is_session_word(name: &str, warehouse: Warehouse) -> bool {
    has(SESSION, name)
        || match warehouse {
            Warehouse::Postgres | Warehouse::Redshift => {
                matches!(name, "user" | "ctid" | "xmin" | "tableoid")
            }
            Warehouse::Snowflake => {
                matches!(
                    name,
                    "current_warehouse"
                        | "current_database"
                        | "current_account"
                        | "current_region"
                        | "current_session"
                        | "current_statement"
                        | "current_transaction"
                        | "current_version"
                        | "current_client"
                        | "current_schemas"
                        | "current_organization_name"
                        | "current_account_name"
                        | "level"
                )
            }
            Warehouse::BigQuery => matches!(
                name,
                "_table_suffix" | "_partitiontime" | "_partitiondate" | "_file_name" | "current_datetime"
            ),
            Warehouse::SqlServer => matches!(name, "user" | "system_user" | "rownum"),
            Warehouse::Databricks => matches!(name, "user" | "_metadata"),
            Warehouse::Athena | Warehouse::Trino => name.starts_with('$') || name == "current_path",
            _ => matches!(name, "rownum" | "rowid"),
        }
}

/// Formats of files that Databricks reads as `format.`path``.
pub fn is_file_format(name: &str) -> bool {
    matches!(
        name,
        "parquet" | "delta" | "csv" | "json" | "orc" | "avro" | "text" | "binaryfile" | "iceberg" | "xml"
    )
}

/// Hints that SQL Server takes in parentheses behind a table, also without WITH.
pub fn is_table_hint(name: &str) -> bool {
    matches!(
        name,
        "nolock"
            | "readuncommitted"
            | "readcommitted"
            | "readcommittedlock"
            | "repeatableread"
            | "serializable"
            | "holdlock"
            | "readpast"
            | "rowlock"
            | "paglock"
            | "tablock"
            | "tablockx"
            | "updlock"
            | "xlock"
            | "nowait"
            | "noexpand"
            | "forceseek"
            | "forcescan"
            | "snapshot"
            | "index"
            | "fastfirstrow"
            | "keepidentity"
            | "keepdefaults"
            | "ignore_constraints"
            | "ignore_triggers"
    )
}

/// Whether an alias can be referred to by what follows it in the same select list.
pub fn has_lateral_aliases(warehouse: Warehouse) -> bool {
    matches!(
        warehouse,
        Warehouse::Snowflake
            | Warehouse::Redshift
            | Warehouse::Databricks
            | Warehouse::DuckDb
            | Warehouse::ClickHouse
            | Warehouse::Other
    )
}

/// Whether an alias of the select list can be referred to in WHERE.
pub fn has_aliases_in_where(warehouse: Warehouse) -> bool {
    matches!(warehouse, Warehouse::Snowflake | Warehouse::DuckDb | Warehouse::ClickHouse | Warehouse::Other)
}

/// Whether a CTE can refer to itself without the word RECURSIVE.
pub fn recurses_without_the_word(warehouse: Warehouse) -> bool {
    matches!(warehouse, Warehouse::Snowflake | Warehouse::SqlServer | Warehouse::Other)
}
