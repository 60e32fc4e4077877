//! Data connections.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::WorldConfig;
use crate::client::connections::{
    ConnectionGroupGrant, ConnectionSharing, ConnectionWorkspaceAccess, DataConnection, GroupRef,
};
use crate::client::groups::Group;
use crate::sim::rng::{self, chance, pick, skewed};
use crate::sim::sql::{self, Catalog};

pub(super) fn connections(
    config: &WorldConfig,
    groups: &[Group],
    count: usize,
) -> (Vec<DataConnection>, Vec<Catalog>) {
    (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "connection", i as u64);
            let kind = if i < sql::KINDS.len() { sql::KINDS[i] } else { sql::KINDS[skewed(r, sql::KINDS.len())] };
            let catalog = sql::catalog(r, i, kind);
            let grants: Vec<ConnectionGroupGrant> = (0..skewed(r, 4))
                .map(|_| skewed(r, groups.len()))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|g| ConnectionGroupGrant {
                    access: pick(r, &["QUERY", "VIEW_RESULTS"]).into(),
                    group: GroupRef { name: groups[g].name.clone(), id: groups[g].id.clone() },
                })
                .collect();
            let connection = DataConnection {
                id: rng::uuid(config.seed, "connection", i as u64).into(),
                name: format!("{} {}", pick(r, &["Warehouse", "Analytics", "Product DB", "Lake", "Legacy"]), i + 1),
                kind: kind.into(),
                description: chance(r, 0.6).then(|| format!("Main {kind} for reporting")),
                connection_details: Some(details(kind, &catalog)),
                connect_via_ssh: Some(chance(r, 0.2)),
                include_magic: Some(chance(r, 0.7)),
                allow_writeback_cells: Some(chance(r, 0.25)),
                schema_filters: chance(r, 0.3).then(|| {
                    json!({"schemas": {"include": {"matchType": "PREFIX", "values": ["core", "sales"]},
                           "exclude": {"matchType": "EXACT", "values": ["hr_private"]}}})
                }),
                schema_refresh_schedule: chance(r, 0.4).then(|| {
                    json!({"cadence": "DAILY", "enabled": true, "daily": {"timezoneString": "+00:00", "hour": 4, "minute": 30}})
                }),
                schema_refresh_access: Some(pick(r, &["ADMINS", "USERS_WITH_QUERY_ACCESS"]).into()),
                sharing: Some(ConnectionSharing {
                    workspace: Some(ConnectionWorkspaceAccess {
                        public: chance(r, 0.5).then(|| "NONE".to_owned()),
                        guests: chance(r, 0.7).then(|| pick(r, &["NONE", "VIEW_RESULTS"]).to_owned()),
                        members: Some(pick(r, &["QUERY", "VIEW_RESULTS", "NONE"]).into()),
                    }),
                    groups: Some(grants),
                }),
            };
            (connection, catalog)
        })
        .unzip()
}

fn details(kind: &str, catalog: &Catalog) -> Value {
    let database = catalog.database.clone();
    let host = format!("{kind}.acme.example");
    let inner = match kind {
        "athena" => {
            json!({"accessKeyId": "AKIAEXAMPLE", "workgroup": "primary", "catalog": database, "s3OutputPath": "s3://acme-athena/out", "port": 443, "hostname": host})
        }
        "bigquery" => json!({"projectId": database, "enableStorageApi": true, "enableDriveAccess": false}),
        "clickhouse" => json!({"username": "hex", "port": 8443, "hostname": host}),
        "databricks" => {
            json!({"jdbcUrl": format!("jdbc:databricks://{host}:443/default;ConnCatalog={}", database.unwrap_or_default())})
        }
        "postgres" => json!({"username": "hex", "database": database, "port": 5432, "hostname": host}),
        "redshift" => json!({"username": "hex", "database": database, "port": 5439, "host": host}),
        "snowflake" => {
            json!({"role": "REPORTER", "username": "HEX", "schema": catalog.schema, "database": database, "warehouse": "WH_S", "accountName": "acme-eu"})
        }
        _ => {
            json!({"sessionProperties": [{"key": "query_max_run_time", "value": "10m"}], "username": "hex", "schema": catalog.schema, "catalog": database, "port": 443, "hostname": host})
        }
    };
    json!({ kind: inner })
}
