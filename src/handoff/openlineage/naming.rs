//! Names of datasets in OpenLineage: a namespace for the warehouse, and a name within it.
//!
//! By the naming rules of the specification for each kind of warehouse. Where the token may not see a
//! connection's settings, the namespace is the connection itself, so that names stay apart.

use serde::Deserialize;

use crate::derive::names::Warehouse;

/// A row of `data_connections`, as far as names go.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// Identifier.
    pub data_connection_id: String,
    /// Name.
    pub name: Option<String>,
    /// Type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Host.
    pub host: Option<String>,
    /// Port.
    pub port: Option<i64>,
    /// Snowflake account.
    pub account_name: Option<String>,
    /// Databricks JDBC URL.
    pub jdbc_url: Option<String>,
}

impl Connection {
    /// The namespace of the warehouse's tables.
    pub fn namespace(&self) -> String {
        let kind = self.kind.as_deref().unwrap_or("unknown");
        let warehouse = Warehouse::of_type(kind);
        let host = self.host.as_deref().filter(|host| !host.is_empty()).map(str::to_lowercase);
        let at = |scheme: &str, usual: u16| {
            let port = self.port.unwrap_or(i64::from(usual));
            host.as_ref().map(|host| format!("{scheme}://{host}:{port}"))
        };
        let known = match warehouse {
            Warehouse::Snowflake => {
                self.account_name.as_deref().map(|name| format!("snowflake://{}", snowflake_account(name)))
            }
            Warehouse::BigQuery => Some("bigquery".into()),
            Warehouse::Postgres => at("postgres", 5432),
            Warehouse::Redshift => host.as_deref().map(|host| {
                let port = self.port.unwrap_or(5439);
                match host.split('.').collect::<Vec<_>>()[..] {
                    [cluster, _, region, "redshift" | "redshift-serverless", ..] => {
                        format!("redshift://{cluster}.{region}:{port}")
                    }
                    _ => format!("redshift://{host}:{port}"),
                }
            }),
            Warehouse::Databricks => {
                host.clone().or_else(|| self.jdbc_host()).map(|host| format!("databricks://{host}"))
            }
            Warehouse::Athena => {
                host.as_deref().map(|host| format!("awsathena://{}", host.split(':').next().unwrap_or(host)))
            }
            Warehouse::Trino => at("trino", 8080),
            Warehouse::ClickHouse => at("clickhouse", 8443),
            Warehouse::SqlServer if self.is_synapse() => at("sqlserver", 1433),
            Warehouse::SqlServer => at("mssql", 1433),
            Warehouse::MySql => at("mysql", 3306),
            Warehouse::DuckDb | Warehouse::Other => host.as_ref().map(|host| match self.port {
                Some(port) => format!("{kind}://{host}:{port}"),
                None => format!("{kind}://{host}"),
            }),
        };
        known.unwrap_or_else(|| format!("{kind}://{}", self.data_connection_id))
    }

    /// The name of a table within the namespace, from its whole name: Synapse's have no database.
    pub fn dataset<'k>(&self, table_key: &'k str) -> &'k str {
        match table_key.splitn(3, '.').collect::<Vec<_>>()[..] {
            [database, _, _] if self.is_synapse() => &table_key[database.len() + 1..],
            _ => table_key,
        }
    }

    fn is_synapse(&self) -> bool {
        let host = self.host.as_deref().unwrap_or("").to_lowercase();
        self.kind.as_deref() == Some("synapse") || host.ends_with(".azuresynapse.net")
    }

    /// Host of `jdbc:databricks://HOST:443/...`.
    fn jdbc_host(&self) -> Option<String> {
        let rest = self.jdbc_url.as_deref()?.split_once("://")?.1;
        let host = rest.split([':', '/', ';']).next()?;
        (!host.is_empty()).then(|| host.to_lowercase())
    }
}

/// An account as the specification has it: `organisation-account`, or `locator.region.cloud`. Connections leave the
/// cloud out where it is AWS.
fn snowflake_account(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("https://").unwrap_or(&name).trim_end_matches('/');
    let name = name.strip_suffix(".snowflakecomputing.com").unwrap_or(name);
    match name.split('.').collect::<Vec<_>>()[..] {
        [locator, region] if region != "global" => format!("{locator}.{region}.aws"),
        [account, "global"] => account.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(kind: &str, host: Option<&str>, port: Option<i64>) -> String {
        Connection {
            data_connection_id: "c1".into(),
            kind: Some(kind.into()),
            host: host.map(str::to_owned),
            port,
            ..Connection::default()
        }
        .namespace()
    }

    #[test]
    fn namespaces_are_those_of_the_specification() {
        assert_eq!(namespace("postgres", Some("DB.acme.example"), None), "postgres://db.acme.example:5432");
        assert_eq!(namespace("cloudsql__postgres", Some("h"), Some(6432)), "postgres://h:6432");
        let cluster = "wh.c9x.us-west-2.redshift.amazonaws.com";
        assert_eq!(namespace("redshift", Some(cluster), None), "redshift://wh.us-west-2:5439");
        assert_eq!(namespace("bigquery", None, None), "bigquery");
        assert_eq!(
            namespace("athena", Some("athena.eu-west-1.amazonaws.com"), Some(443)),
            "awsathena://athena.eu-west-1.amazonaws.com"
        );
        assert_eq!(namespace("trino", Some("t"), Some(443)), "trino://t:443");
        assert_eq!(namespace("mysql", Some("m"), None), "mysql://m:3306");
        let snowflake = Connection {
            kind: Some("snowflake".into()),
            account_name: Some("ORG-Account".into()),
            ..Connection::default()
        };
        assert_eq!(snowflake.namespace(), "snowflake://org-account");
        for (account, expected) in [
            ("XY12345", "xy12345"),
            ("xy12345.eu-central-1", "xy12345.eu-central-1.aws"),
            ("xy12345.east-us-2.azure", "xy12345.east-us-2.azure"),
            ("https://org-a.snowflakecomputing.com/", "org-a"),
        ] {
            assert_eq!(snowflake_account(account), expected);
        }
        let serverless = "team.123456789012.eu-west-1.redshift-serverless.amazonaws.com";
        assert_eq!(namespace("redshift", Some(serverless), None), "redshift://team.eu-west-1:5439");
        let synapse = Connection {
            kind: Some("sqlserver".into()),
            host: Some("ws.sql.azuresynapse.net".into()),
            ..Connection::default()
        };
        assert_eq!(synapse.namespace(), "sqlserver://ws.sql.azuresynapse.net:1433");
        assert_eq!((synapse.dataset("db.dbo.t"), synapse.dataset("dbo.t")), ("dbo.t", "dbo.t"));
        assert_eq!(snowflake.dataset("db.dbo.t"), "db.dbo.t");
        let databricks = Connection {
            kind: Some("databricks".into()),
            jdbc_url: Some("jdbc:databricks://dbc-1.cloud.databricks.com:443/default;httpPath=x".into()),
            ..Connection::default()
        };
        assert_eq!(databricks.namespace(), "databricks://dbc-1.cloud.databricks.com");
    }

    #[test]
    fn without_settings_the_connection_itself_is_the_namespace() {
        assert_eq!(namespace("snowflake", None, None), "snowflake://c1");
        assert_eq!(namespace("whatever", None, None), "whatever://c1");
    }
}
