//! What changed between two snapshots.

use hexport::sim::Change;
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn a_diff_names_what_was_changed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    assert!(stderr(&run(&mut hexport(&["diff", lake]), 2)).contains("a diff needs two"));
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    assert!(stdout(&run(&mut hexport(&["diff", lake]), 0)).contains("nothing changed"));

    let now = "2026-11-03T12:00:00Z".parse().unwrap();
    let (gone, made, renamed) = {
        let mut world = sim.server.world_mut();
        let gone = world.change(Change::Delete, 30, now).unwrap();
        let made = world.change(Change::Create, 0, now).unwrap();
        let project = &mut world.projects[10].project;
        project.title = "<script>*New* title".into();
        project.owner.email = "new.owner@acme.example".into();
        // Views move by themselves.
        project.analytics.app_views.all_time += 1000;
        (gone, made, project.id.to_string())
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-04T06:00:00Z"], 0);
    let diff = |args: &[&str]| -> Value {
        let mut all = vec!["diff", lake];
        all.extend(args);
        all.extend(["--output", "json"]);
        serde_json::from_slice(&run(&mut hexport(&all), 0).stdout).unwrap()
    };
    let found = diff(&[]);
    assert_eq!(
        (&found["before"], &found["after"]),
        (&json!("2026-11-03T060000Z"), &json!("2026-11-04T060000Z"))
    );
    let table = |found: &Value, name: &str| {
        found["tables"].as_array().unwrap().iter().find(|t| t["table"] == name).cloned()
    };
    let projects = table(&found, "projects").unwrap();
    assert_eq!(projects["added"][0]["key"]["project_id"], made.as_str());
    assert_eq!(projects["removed"][0]["key"]["project_id"], gone.as_str());
    let changed = projects["changed"].as_array().unwrap();
    assert!(changed.len() == 1 && changed[0]["key"]["project_id"] == renamed.as_str(), "{changed:?}");
    let fields: Vec<&str> =
        changed[0]["fields"].as_array().unwrap().iter().map(|f| f["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["title", "owner_email"]);
    assert_eq!(changed[0]["fields"][1]["after"], "new.owner@acme.example");
    assert!(table(&found, "users").is_none());
    let noisy = table(&diff(&["--noise", "--tables", "projects"]), "projects").unwrap();
    assert_eq!(noisy["changed"][0]["fields"].as_array().unwrap().len(), 3);

    let back = diff(&["2026-11-04T060000Z", "2026-11-02T060000Z"]);
    assert_eq!(table(&back, "projects").unwrap()["added"], projects["removed"]);
    let markdown = stdout(&run(&mut hexport(&["diff", lake, "--output", "markdown"]), 0));
    assert!(
        markdown.contains("- `~` &lt;script&gt;\\*New\\* title") && !markdown.contains("<script>"),
        "{markdown}"
    );
    let text = stdout(&run(&mut hexport(&["diff", lake]), 0));
    assert!(
        text.contains("projects: 1 added, 1 removed, 1 changed") && text.contains("→ new.owner@acme.example"),
        "{text}"
    );
    assert!(
        stderr(&run(&mut hexport(&["diff", lake, "1999-01-01T000000Z"]), 2)).contains("2026-11-02T060000Z")
    );
    assert!(stderr(&run(&mut hexport(&["diff", lake, "--tables", "robots"]), 2)).contains("robots"));
}

#[test]
fn a_schedule_is_known_by_what_it_says_and_not_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(60);
    let id = {
        let mut world = sim.server.world_mut();
        let at = world.projects.iter().position(|r| !r.project.schedules.is_empty()).unwrap();
        let project = &mut world.projects[at].project;
        let mut second = project.schedules[0].clone();
        second.cadence = "CUSTOM".into();
        second.custom =
            Some(hexport::client::projects::Custom { timezone: "+00:00".into(), cron: "7 3 * * *".into() });
        (second.hourly, second.daily, second.weekly, second.monthly) = (None, None, None, None);
        project.schedules.push(second);
        project.id.to_string()
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    {
        let mut world = sim.server.world_mut();
        let at = world.find_project(&id).unwrap();
        // The first goes, so the second moves up; and it is switched off.
        let schedules = &mut world.projects[at].project.schedules;
        schedules.remove(0);
        let last = schedules.last_mut().unwrap();
        last.enabled = !last.enabled;
    }
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    let out = run(&mut hexport(&["diff", lake, "--tables", "project_schedules", "--output", "json"]), 0);
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    let table = &found["tables"][0];
    assert_eq!(table["removed"].as_array().unwrap().len(), 1, "{table}");
    assert_eq!(table["added"].as_array().unwrap().len(), 0, "{table}");
    assert_eq!(table["changed"][0]["key"]["cron"], "7 3 * * *", "{table}");
    assert_eq!(table["changed"][0]["fields"][0]["field"], "enabled");
}

#[test]
fn what_can_not_be_read_any_longer_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(20);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    // The plan no longer has queried tables.
    let proxy =
        sim.block_on(crate::audit::refusing(sim.server.url(), |target| target.contains("queriedTables")));
    let args = ["export", lake, "--full", "--fixed-time", "2026-11-03T06:00:00Z"];
    run(sim.hexport(&args).env("HEX_API_URL", proxy), 4);
    let out = run(&mut hexport(&["diff", lake, "--tables", "queried_tables,lineage", "--output", "json"]), 0);
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    for table in found["tables"].as_array().unwrap() {
        assert_eq!(table["removed"].as_array().unwrap().len(), 0, "{table}");
        for row in table["unreadable"].as_array().unwrap() {
            assert!(row["why"].as_str().unwrap().contains("queried_tables"), "{row}");
        }
    }
}
