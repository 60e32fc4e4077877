//! DataHub's names. They equal those that DataHub's own Hex source makes, so that the two name the same things.
//!
//! The rules are those of acryl-datahub: `datahub/emitter/mce_builder.py`, `datahub/utilities/urn_encoder.py`,
//! `datahub/sql_parsing/schema_resolver.py` and `datahub/ingestion/source/hex/`.

use std::fmt::Write;

use md5::{Digest, Md5};
use serde_json::Value;

/// Encodes the characters that URNs reserve.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ',' => out.push_str("%2C"),
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '\u{241f}' => out.push_str("%E2%90%9F"),
            c => out.push(c),
        }
    }
    out
}

/// Where the names of one hand-off come from.
#[derive(Debug, Clone)]
pub struct Names {
    /// DataHub's environment, such as `PROD`.
    pub env: String,
    /// Platform instance of Hex, of several workspaces.
    pub instance: Option<String>,
}

impl Names {
    fn of_hex(&self, kind: &str, id: &str) -> String {
        match &self.instance {
            Some(instance) => format!("urn:li:{kind}:(hex,{}.{})", encoded(instance), encoded(id)),
            None => format!("urn:li:{kind}:(hex,{})", encoded(id)),
        }
    }

    /// A project.
    pub fn dashboard(&self, project_id: &str) -> String {
        self.of_hex("dashboard", project_id)
    }

    /// A component.
    pub fn component(&self, project_id: &str) -> String {
        self.of_hex("chart", project_id)
    }

    /// A cell.
    pub fn cell(&self, project_id: &str, static_id: &str) -> String {
        self.of_hex("chart", &format!("{project_id}.{static_id}"))
    }

    /// The flow of the jobs of a project that writes tables.
    pub fn flow(&self, project_id: &str) -> String {
        let id = match &self.instance {
            Some(instance) => format!("{}.{}", encoded(instance), encoded(project_id)),
            None => encoded(project_id),
        };
        format!("urn:li:dataFlow:(hex,{id},{})", self.env)
    }

    /// The job that stands for what a project writes.
    pub fn job(&self, project_id: &str) -> String {
        format!("urn:li:dataJob:({},writes)", self.flow(project_id))
    }

    /// The instance of Hex.
    pub fn platform_instance(&self) -> Option<String> {
        let instance = self.instance.as_ref()?;
        Some(format!("urn:li:dataPlatformInstance:(urn:li:dataPlatform:hex,{})", encoded(instance)))
    }

    /// A table of a warehouse; `None` if DataHub has no platform for the connection's type.
    pub fn dataset(&self, connection_type: &str, instance: Option<&str>, parts: &[&str]) -> Option<String> {
        let platform = platform(connection_type)?;
        // Athena's own catalog is no part of the names that its connector makes.
        let parts = match (platform, parts) {
            ("athena", [catalog, rest @ ..]) if catalog.eq_ignore_ascii_case("awsdatacatalog") => rest,
            _ => parts,
        };
        let name = parts.join(".");
        let name = if is_lower_case(platform) { name.to_lowercase() } else { name };
        let name = match instance {
            Some(instance) => format!("{instance}.{name}"),
            None => name,
        };
        Some(format!("urn:li:dataset:(urn:li:dataPlatform:{platform},{},{})", encoded(&name), self.env))
    }
}

/// DataHub's platform of a connection's type.
pub fn platform(connection_type: &str) -> Option<&'static str> {
    Some(match connection_type {
        "athena" => "athena",
        "bigquery" => "bigquery",
        "clickhouse" => "clickhouse",
        "databricks" => "databricks",
        "postgres" | "alloydb" | "cloudsql__postgres" => "postgres",
        "redshift" => "redshift",
        "snowflake" => "snowflake",
        "trino" | "starburst" => "trino",
        "motherduck" => "duckdb",
        "mysql" | "cloudsql__mysql" => "mysql",
        "mariadb" => "mariadb",
        "sqlserver" | "cloudsql__sqlserver" => "mssql",
        "presto" => "presto",
        _ => return None,
    })
}

/// Whether a platform's connector writes the names of tables and columns in lower case.
pub fn is_lower_case(platform: &str) -> bool {
    platform != "bigquery"
}

/// A column of a table.
pub fn field(dataset: &str, column: &str) -> String {
    format!("urn:li:schemaField:({dataset},{})", encoded(column))
}

/// A person.
pub fn user(email: &str) -> String {
    format!("urn:li:corpuser:{}", encoded(email))
}

/// A tag.
pub fn tag(name: &str) -> String {
    format!("urn:li:tag:{}", encoded(name))
}

/// A workspace: the digest of its key's JSON, as Python writes it.
pub fn workspace(name: &str) -> String {
    let key = format!(r#"{{"platform":"hex","workspace_name":{}}}"#, ascii_json(name));
    let digest = Md5::digest(key).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("urn:li:container:{digest}")
}

/// A JSON text in ASCII alone.
fn ascii_json(text: &str) -> String {
    let json = Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_datahubs_connectors() {
        let names = Names { env: "PROD".into(), instance: None };
        let dataset =
            |kind: &str, instance: Option<&str>, parts: &[&str]| names.dataset(kind, instance, parts);
        let urn = |rest: &str| Some(format!("urn:li:dataset:(urn:li:dataPlatform:{rest},PROD)"));
        assert_eq!(dataset("snowflake", None, &["DB", "SC", "T"]), urn("snowflake,db.sc.t"));
        assert_eq!(dataset("snowflake", Some("eu"), &["DB", "SC", "T"]), urn("snowflake,eu.db.sc.t"));
        assert_eq!(dataset("bigquery", None, &["p", "Sales", "T"]), urn("bigquery,p.Sales.T"));
        assert_eq!(dataset("athena", None, &["awsdatacatalog", "s", "t"]), urn("athena,s.t"));
        assert_eq!(dataset("cloudsql__sqlserver", None, &["a", "dbo", "t(1)"]), urn("mssql,a.dbo.t%281%29"));
        assert_eq!(dataset("mysql", None, &["s", "t"]), urn("mysql,s.t"));
        assert_eq!(dataset("whatever", None, &["t"]), None);
        // As datahub.emitter.mce_builder.datahub_guid gives it.
        assert_eq!(workspace("acme"), "urn:li:container:a76fe666e3039c730fc3477919ccf866");
        assert_eq!(ascii_json("é\"📈"), r#""\u00e9\"\ud83d\udcc8""#);
    }
}
