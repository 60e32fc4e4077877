//! What `sql_cells` says of statements, against sqlglot's reading of the same texts.

use std::collections::{BTreeMap, BTreeSet};

use hexport::client::cells::{Cell, CellContents, SqlSource};
use serde_json::{Value, json};

use crate::support::*;

/// SQL that all warehouses of the simulated workspace read alike.
const TEXTS: [&str; 34] = [
    "SELECT a, b FROM core.t WHERE x = 1",
    "SELECT a,b\nFROM  core.t -- a note\nWHERE x = 'two' ;",
    "SELECT a, b /* all of it */ FROM core.t WHERE x = 2.5E3",
    "SELECT a, b FROM core.u WHERE x = 1",
    "SELECT a, c FROM core.t WHERE x = 1",
    "SELECT a, b FROM core.t WHERE x <> 1",
    "SELECT a FROM core.t WHERE x IN (1, 2, 3)",
    "SELECT a FROM core.t WHERE x IN ('a')",
    "SELECT a FROM core.t WHERE x NOT IN ('a')",
    "SELECT a FROM core.t ORDER BY a LIMIT 10",
    "SELECT a FROM core.t ORDER BY a LIMIT 500",
    "SELECT a FROM core.t ORDER BY a",
    "SELECT * FROM core.t",
    "SELECT t.* FROM core.t AS t JOIN core.u AS u ON t.a = u.a",
    "SELECT u.* FROM core.t AS t JOIN (SELECT a FROM core.u) AS u ON t.a = u.a",
    "SELECT count(*) FROM core.t",
    "SELECT a FROM core.t WHERE EXISTS (SELECT * FROM core.u WHERE core.u.a = core.t.a)",
    "WITH c AS (SELECT a FROM core.t) SELECT * FROM c",
    "WITH c AS (SELECT * FROM core.t) SELECT a FROM c",
    "SELECT * FROM (SELECT a FROM core.t) AS s",
    "SELECT a FROM core.t UNION ALL SELECT a FROM core.u",
    "SELECT a FROM core.t UNION ALL SELECT * FROM core.u",
    "SELECT a FROM core.t; SELECT b FROM core.u",
    "INSERT INTO core.u SELECT a FROM core.t",
    "INSERT INTO core.u SELECT * FROM core.t",
    "INSERT INTO core.u (a) VALUES (1)",
    "INSERT INTO core.u (a) VALUES ('x')",
    "CREATE TABLE core.v AS SELECT * FROM core.t",
    "CREATE VIEW core.w AS SELECT a FROM core.t",
    "DELETE FROM core.t WHERE a = 1",
    "UPDATE core.t SET a = 1 WHERE b = 2",
    "MERGE INTO core.t USING core.u ON core.t.a = core.u.a WHEN MATCHED THEN UPDATE SET b = 1",
    "DELETE FROM core.t WHERE a = 3; INSERT INTO core.t SELECT a FROM core.u; SELECT a FROM core.t",
    "DROP TABLE core.t",
];

#[test]
fn kinds_stars_and_fingerprints_of_statements_are_those_that_sqlglot_reads() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(4);
    let mut asked = BTreeMap::new();
    {
        let mut world = sim.server.world_mut();
        let dialects: BTreeMap<String, String> = world
            .connections
            .iter()
            .filter(|connection| connection.kind != "clickhouse")
            .map(|connection| (connection.kind.clone(), connection.id.to_string()))
            .collect();
        assert!(dialects.len() >= 3, "{dialects:?}");
        let project = world.projects[0].project.id.clone();
        for (dialect, connection) in dialects {
            for (at, text) in TEXTS.into_iter().enumerate() {
                let id = format!("{dialect}-{at:02}");
                let source = SqlSource { source: text.into(), output_dataframe: String::new() };
                let cell = Cell {
                    id: id.as_str().into(),
                    static_id: id.clone(),
                    cell_type: "SQL".into(),
                    data_connection_id: Some(connection.as_str().into()),
                    contents: CellContents { sql_cell: Some(source), ..CellContents::default() },
                    project_id: project.clone(),
                    ..Cell::default()
                };
                world.projects[0].authored.added.push((None, cell));
                asked.insert(id, json!({"sql": text, "dialect": dialect}));
            }
        }
    }
    sim.export(dir.path(), &["--tables", "sql_cells"], 0);
    let ids: Vec<&String> = asked.keys().collect();
    let texts: Vec<&Value> = asked.values().collect();
    let read = script("sql_shapes.py", &json!(texts).to_string());
    let expected: BTreeMap<&String, &Value> = ids.into_iter().zip(read.as_array().unwrap()).collect();
    let sql = "SELECT static_id, to_json(statement_kinds), select_star, sql_fingerprint, parsed FROM sql_cells \
               WHERE contains(static_id, '-') AND length(static_id) < 20";
    let mut found = BTreeMap::new();
    for row in ask(dir.path(), sql) {
        let id = row[0].as_str().unwrap().to_owned();
        let kinds: Value = serde_json::from_str(row[1].as_str().unwrap()).unwrap();
        let (text, told) = (&asked[&id], expected[&id]);
        assert_eq!(row[4], true, "{text}");
        assert_eq!((&kinds, &row[2]), (&told["kinds"], &told["select_star"]), "{text}");
        found.insert(id, row[3].as_str().unwrap().to_owned());
    }
    assert_eq!(found.len(), expected.len());
    // Two texts of a connection have one fingerprint where sqlglot writes one shape of them.
    let mut pairs = [0, 0];
    for (id, fingerprint) in &found {
        let dialect = &asked[id]["dialect"];
        for (other, theirs) in found.iter().filter(|(other, _)| &asked[*other]["dialect"] == dialect) {
            let is_same = expected[id]["shape"] == expected[other]["shape"];
            assert_eq!(fingerprint == theirs, is_same, "{} and {}", asked[id], asked[other]);
            pairs[usize::from(is_same && id != other)] += 1;
        }
    }
    assert!(pairs[1] >= 20 && pairs[0] > 1000, "{pairs:?}");
    let kinds: BTreeSet<&str> = expected
        .values()
        .flat_map(|told| told["kinds"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}
