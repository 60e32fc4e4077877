//! The hand-off to OpenMetadata, by its own models.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::clients::client;
use crate::handoff::{NIGHT, text};
use crate::support::*;

#[test]
fn openmetadatas_own_models_take_dashboards_charts_and_edges_as_many_as_the_lake_has() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(60);
    sim.server.world_mut().projects[0].project.title = "Odd \"title\", a::b é 📈".into();
    sim.export(&lake, &NIGHT, 0);
    let file = dir.path().join("requests.jsonl");
    let (lake_arg, file_arg) = (lake.to_str().unwrap(), file.to_str().unwrap());
    let said =
        stderr(&run(&mut hexport(&["openmetadata", lake_arg, "-o", file_arg, "--service", "hex.prod"]), 0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no partial file stays");
    let lines: Vec<Value> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let referred = |kind: &str| -> BTreeSet<String> {
        let resolved =
            lines.iter().filter_map(|line| line["resolve"].as_object()).flat_map(|resolve| resolve.values());
        let ends = resolved.filter(|to| to["type"] == kind);
        ends.map(|to| text(&to["fullyQualifiedName"])).collect()
    };
    let live = "archived_at IS NULL AND trashed_at IS NULL";
    let tables = ask(
        &lake,
        &format!(
            "SELECT DISTINCT concat_ws('.', connection_name, coalesce(database_name, 'default'), schema_name, table_name) \
             FROM lineage JOIN projects USING (project_id) WHERE parsed AND schema_name IS NOT NULL AND {live}"
        ),
    );
    let tables: BTreeSet<String> = tables.iter().map(|row| text(&row[0])).collect();
    assert_eq!(referred("table"), tables);
    // One table and one person are unknown to the server.
    let known: Vec<&String> = tables.iter().skip(1).collect();
    let owners = ask(
        &lake,
        &format!("SELECT DISTINCT owner_email FROM projects WHERE owner_email <> '' AND {live} ORDER BY 1"),
    );
    let people: Vec<String> = owners.iter().skip(1).map(|row| text(&row[0])).collect();
    let loader = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/examples/openmetadata_load.py");
    let asked = json!({"file": file, "loader": loader, "tables": known, "people": people});
    let Some(seen) = client("openmetadata", &asked) else { return };
    assert_eq!(seen["problems"], json!([]));
    let counts = &seen["counts"];
    let one = |sql: &str| ask_one(&lake, &format!("SELECT count(*) FROM {sql}"));
    assert_eq!(counts["/v1/services/dashboardServices"], 1);
    assert_eq!(counts["/v1/dashboards"], one(&format!("projects WHERE {live}")));
    let cells = format!(
        "(SELECT DISTINCT s.project_id, static_id FROM sql_tables s JOIN lineage l USING (project_id, data_connection_id, \
         table_key, direction) JOIN projects USING (project_id) WHERE s.direction = 'read' AND l.parsed AND {live})"
    );
    assert_eq!(counts["/v1/charts"], one(&cells));
    assert_eq!(seen["distinct"]["/v1/charts"], counts["/v1/charts"]);
    let edges = lines.iter().filter(|line| line["path"] == "/v1/lineage").count();
    let missing = tables.iter().next().unwrap();
    let left_out = lines
        .iter()
        .filter(|line| line["resolve"]["edge.fromEntity"]["fullyQualifiedName"] == *missing)
        .count();
    assert!(left_out > 0);
    assert_eq!(counts["/v1/lineage"], edges - left_out);
    assert!(said.contains(&format!("{edges} edges")), "{said}");
    let unknown: BTreeSet<String> = serde_json::from_value(seen["loader"]["unknown"].clone()).unwrap();
    assert!(unknown.contains(missing) && unknown.contains(&text(&owners[0][0])), "{unknown:?}");
    assert!(counts["owners"].as_u64().unwrap() > 10);
    let categories = one(
        "(SELECT name FROM project_categories UNION SELECT status FROM projects WHERE status IS NOT NULL)",
    );
    assert_eq!(counts["/v1/tags"], categories);
    // What the lake doesn't hold is said.
    let none = dir.path().join("none");
    run(&mut hexport(&["openmetadata", none.to_str().unwrap()]), 2);
}
