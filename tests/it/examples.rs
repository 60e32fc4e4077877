//! The examples, run as far as their packages allow.

use std::path::Path;

use hexport::sim::Faults;
use serde_json::{Value, json};

use crate::clients::client_with;
use crate::support::*;

/// Runs an example against a workspace that is read whole, one with a project whose cells are refused, and one whose
/// token is refused.
fn outcomes(environment: &str, script: &str, name: &str) -> Option<[Value; 3]> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/examples").join(name);
    let sim = Sim::of_projects(12);
    let project = sim.server.world().projects[0].project.id.to_string();
    let mut all = Vec::new();
    for (refusals, token) in [(None, SECRET), (Some(format!("ListCells:{project}=403")), SECRET), (None, "")]
    {
        let dir = tempfile::tempdir().unwrap();
        let refusals = refusals.iter().map(|text| text.parse().unwrap()).collect();
        sim.server.set_faults(Faults { refusals, ..Faults::default() });
        let lake = dir.path().to_str().unwrap();
        let (url, hexport) = (sim.server.url(), env!("CARGO_BIN_EXE_hexport"));
        let asked = json!({"example": example, "lake": lake, "hexport": hexport});
        let environment_of_it = [
            ("HEX_LAKE", lake),
            ("HEXPORT", hexport),
            ("HEX_API_URL", &url),
            ("HEX_API_TOKEN", token),
            ("HEXPORT_RATE", "unlimited"),
        ];
        let mut seen = client_with(environment, script, &asked, &environment_of_it)?;
        assert_no_secret(seen.to_string().as_bytes(), "what the example says");
        if let Some(manifest) = verify(dir.path()) {
            seen["committed"] = json!(manifest["snapshot_id"]);
            seen["projects"] = json!(rows_of_tables(dir.path())["projects"]);
        }
        all.push(seen);
    }
    Some(all.try_into().unwrap())
}

#[test]
fn dagsters_asset_is_materialized_when_a_snapshot_is_committed_and_says_whether_it_is_complete() {
    let Some([whole, partial, refused]) = outcomes("dagster", "dagster_export", "dagster_asset.py") else {
        return;
    };
    for (seen, complete) in [(&whole, true), (&partial, false)] {
        assert_eq!((&seen["success"], &seen["checks"]), (&json!(true), &json!([complete])), "{seen}");
        assert_eq!(seen["metadata"]["snapshot"], seen["committed"]);
        assert_eq!(seen["metadata"]["rows"]["projects"], seen["projects"]);
    }
    assert_eq!((&refused["success"], &refused["metadata"]), (&json!(false), &Value::Null));
    assert_eq!(whole["schedules"], json!(["0 2 * * *"]));
}

#[test]
fn airflows_task_succeeds_when_a_snapshot_is_committed_and_skips_what_needs_all_of_it() {
    let [whole, partial, refused] = outcomes("light", "airflow_export", "airflow_dag.py").unwrap();
    assert_eq!(whole["tasks"], json!([["export", 2], ["complete", 0]]));
    assert_eq!((&whole["export"]["gave"], &whole["complete"]), (&json!(true), &json!({"gave": null})));
    assert_eq!(partial["export"]["gave"], false);
    assert_eq!(partial["complete"]["raised"], "AirflowSkipException");
    assert!(whole["committed"].is_string() && partial["committed"].is_string());
    assert_eq!(refused["export"]["raised"], "AirflowFailException");
    assert!(refused["export"]["why"].as_str().unwrap().contains("ended with 3"), "{refused}");
}
