//! Definitions of the exported tables for query engines: `hexport schema --format ddl-...`.
//!
//! A snapshot's folder holds a file of every table. Engines that take a table for a folder (Athena, Trino,
//! Databricks) get the Delta tables; those that take a pattern of files get the snapshots' Parquet files.

use crate::schema::{Table, Type};

/// A query engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Amazon Athena, and AWS Glue's catalog.
    Athena,
    /// BigQuery.
    BigQuery,
    /// ClickHouse.
    ClickHouse,
    /// Databricks, and other Spark with Delta Lake.
    Databricks,
    /// DuckDB.
    DuckDb,
    /// Snowflake.
    Snowflake,
    /// Trino.
    Trino,
}

/// The statement that defines a table of the lake at `location`, a URL or a path.
pub fn statement(engine: Engine, table: &Table, location: &str) -> String {
    // BigQuery escapes a quote with a backslash, the others with a second quote.
    let quote = if engine == Engine::BigQuery { "\\'" } else { "''" };
    let location = location.trim_end_matches('/').replace('\'', quote);
    let (name, doc) = (table.name, table.doc.replace('\'', "''"));
    match engine {
        Engine::Athena => format!(
            "CREATE EXTERNAL TABLE {name}\nLOCATION '{location}/delta/{name}/'\nTBLPROPERTIES ('table_type' = 'DELTA');"
        ),
        Engine::Databricks => {
            format!("CREATE TABLE {name}\nUSING DELTA\nCOMMENT '{doc}'\nLOCATION '{location}/delta/{name}';")
        }
        Engine::Trino => format!(
            "CALL delta.system.register_table(schema_name => 'hex', table_name => '{name}', table_location => '{location}/delta/{name}');"
        ),
        Engine::BigQuery => {
            let columns = columns(table, |c| {
                let doc = c.doc.replace('\\', "\\\\").replace('\'', "\\'");
                format!("  `{}` {} OPTIONS (description = '{doc}')", c.name, bigquery(&c.ty))
            });
            format!(
                "CREATE OR REPLACE EXTERNAL TABLE hex.{name} (\n{columns}\n)\nOPTIONS (\n  format = 'PARQUET',\n  \
                 uris = ['{location}/snapshot=*/{name}.parquet'],\n  enable_list_inference = TRUE\n);"
            )
        }
        Engine::Snowflake => {
            let columns = columns(table, |c| {
                let ty = snowflake(&c.ty);
                let doc = c.doc.replace('\'', "''");
                format!("  {} {ty} AS (VALUE:\"{}\"::{ty}) COMMENT '{doc}'", c.name, c.name)
            });
            format!(
                "-- Needs a stage on the lake first: CREATE STAGE hex_lake URL = '{location}/' STORAGE_INTEGRATION = ...;\n\
                 CREATE OR REPLACE EXTERNAL TABLE {name} (\n{columns}\n)\nLOCATION = @hex_lake\n\
                 PATTERN = '.*snapshot=[^/]+/{name}[.]parquet'\nFILE_FORMAT = (TYPE = PARQUET)\nCOMMENT = '{doc}';"
            )
        }
        Engine::ClickHouse => {
            let function = match location.split_once("://") {
                None => "file",
                Some(("gs", _)) => "gcs",
                Some(("az" | "abfss", _)) => "azureBlobStorage",
                Some(_) => "s3",
            };
            format!(
                "CREATE OR REPLACE VIEW {name} AS SELECT * FROM {function}('{location}/snapshot=*/{name}.parquet', 'Parquet') \
                 SETTINGS use_hive_partitioning = 1;"
            )
        }
        Engine::DuckDb => format!(
            "CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet('{location}/snapshot=*/{name}.parquet', \
             union_by_name = true, hive_partitioning = true);\nCOMMENT ON VIEW {name} IS '{doc}';"
        ),
    }
}

fn columns(table: &Table, column: impl Fn(&crate::schema::Column) -> String) -> String {
    table.all_columns().map(column).collect::<Vec<_>>().join(",\n")
}

fn bigquery(ty: &Type) -> String {
    match ty {
        Type::Utf8 | Type::Json => "STRING".into(),
        Type::Int64 => "INT64".into(),
        Type::Float64 => "FLOAT64".into(),
        Type::Boolean => "BOOL".into(),
        Type::Timestamp => "TIMESTAMP".into(),
        Type::Date => "DATE".into(),
        Type::List(item) => format!("ARRAY<{}>", bigquery(item)),
        Type::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|f| format!("`{}` {}", f.name, bigquery(&f.ty))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
    }
}

fn snowflake(ty: &Type) -> &'static str {
    match ty {
        Type::Utf8 | Type::Json => "VARCHAR",
        Type::Int64 => "NUMBER",
        Type::Float64 => "DOUBLE",
        Type::Boolean => "BOOLEAN",
        Type::Timestamp => "TIMESTAMP_TZ",
        Type::Date => "DATE",
        Type::List(_) | Type::Struct(_) => "VARIANT",
    }
}
