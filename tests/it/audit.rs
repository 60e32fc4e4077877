//! Findings, checked against the generator's truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hexport::sim::{ProjectRecord, World};
use serde_json::Value;

use crate::support::*;

const NOW: [&str; 2] = ["--fixed-time", "2026-11-02T06:00:00Z"];

/// The findings.
fn audit(lake: &Path, more: &[&str], code: i32) -> Value {
    whole_audit(lake, more, code)["findings"].take()
}

/// All that an audit says.
fn whole_audit(lake: &Path, more: &[&str], code: i32) -> Value {
    let mut args = vec!["audit", lake.to_str().unwrap(), "--output", "json"];
    args.extend(more);
    serde_json::from_slice(&run(&mut hexport(&args), code).stdout).unwrap_or(Value::Null)
}

fn by_rule(findings: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut rules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for finding in findings.as_array().unwrap() {
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        assert!(rules.entry(text("rule")).or_default().insert(text("entity_id")), "{finding} twice");
    }
    rules
}

/// What the rules should find, worked out from the generator's own objects.
fn truth(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let at =
        |text: &Option<String>| text.as_deref().map(|t| t.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    let ago = |days| world.config.epoch - chrono::TimeDelta::days(days);
    let alive = |r: &ProjectRecord| r.project.archived_at.is_none() && r.project.trashed_at.is_none();
    let published = |r: &ProjectRecord| r.project.last_published_at.is_some();
    let component = |r: &ProjectRecord| r.project.kind == "COMPONENT";
    let scheduled = |r: &ProjectRecord| r.project.schedules.iter().any(|s| s.enabled);
    let users: BTreeSet<&str> = world.users.iter().map(|u| u.email.as_str()).collect();
    let gone = |email: &str| !email.is_empty() && !users.contains(email);
    let projects = |keep: &dyn Fn(&ProjectRecord) -> bool| -> BTreeSet<String> {
        world.projects.iter().filter(|r| keep(r)).map(|r| r.project.id.to_string()).collect()
    };
    // Those of the components that it imports too: their cells run with its own.
    let components = components_of(world);
    let tables = |r: &ProjectRecord| -> BTreeSet<hexport::sim::TableRef> {
        let is_run = |other: &&ProjectRecord| {
            other.project.id == r.project.id
                || components.contains(&(r.project.id.to_string(), other.project.id.to_string()))
        };
        let run = world.projects.iter().filter(is_run).flat_map(|record| world.cells(record));
        run.flat_map(|(_, truth)| truth.tables).collect()
    };
    let words = ["hr", "payroll", "salaries", "salary", "finance", "private", "pii"];
    let sensitive = |t: &hexport::sim::TableRef| {
        let name = t.qualified().to_lowercase();
        name.split(['.', '_']).any(|part| words.contains(&part))
    };
    let title = |r: &ProjectRecord| r.project.title.trim().to_lowercase();
    let titles: Vec<String> = world.projects.iter().filter(|r| alive(r)).map(title).collect();
    let cells = || world.projects.iter().flat_map(|r| world.cells(r));
    let used: BTreeSet<String> = world
        .projects
        .iter()
        .flat_map(tables)
        .map(|t| world.connections[t.connection].id.to_string())
        .chain(cells().filter_map(|(cell, _)| cell.data_connection_id.map(String::from)))
        .collect();
    // Everyone, through a collection: no group of the generator holds nearly all people.
    let open_collection = |i: &usize| {
        let sharing = &world.collections[*i].sharing;
        sharing
            .workspace
            .as_ref()
            .is_some_and(|w| w.members.as_deref().is_some_and(|access| access != "NONE"))
    };
    let last_run = |r: &ProjectRecord| {
        world.runs(r).iter().filter(|run| run.status != "PENDING").map(|run| run.triggered).max()
    };
    let notifies =
        |r: &ProjectRecord| r.index % 9 == 4 && world.runs(r).iter().any(|run| run.trigger == "SCHEDULED");
    let connections = |keep: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
        (0..world.connections.len())
            .filter(|i| keep(*i))
            .map(|i| world.connections[i].id.to_string())
            .collect()
    };
    let wide = |i: usize| world.connections[i].sharing.clone().unwrap().workspace.unwrap();
    let open = |access: &Option<String>| access.as_deref().is_some_and(|a| a != "NONE");
    let streak = |r: &ProjectRecord| {
        let ended = world.runs(r).iter().filter(|run| run.trigger == "SCHEDULED" && run.elapsed_ms.is_some());
        let since = ended.take_while(|run| run.status != "COMPLETED");
        since.filter(|run| run.status != "KILLED").count()
    };
    let mut rules = BTreeMap::from([
        ("owner-left", projects(&|r| alive(r) && !component(r) && gone(&r.project.owner.email))),
        ("component-owner-left", projects(&|r| alive(r) && component(r) && gone(&r.project.owner.email))),
        (
            "creator-left",
            projects(&|r| alive(r) && gone(&r.project.creator.email) && r.project.creator != r.project.owner),
        ),
        (
            "sensitive-shared-widely",
            projects(&|r| {
                let sharing = r.project.sharing.as_ref().unwrap();
                let wide = sharing.workspace.access != "NONE"
                    || sharing.public_web.access != "NONE"
                    || r.collections.iter().any(open_collection);
                alive(r) && wide && tables(r).iter().any(sensitive)
            }),
        ),
        ("connection-shared-widely", connections(&|i| open(&wide(i).public) || open(&wide(i).guests))),
        (
            "connection-writeback",
            connections(&|i| {
                wide(i).members.as_deref() == Some("QUERY")
                    && world.connections[i].allow_writeback_cells == Some(true)
            }),
        ),
        ("connection-unused", connections(&|i| !used.contains(&*world.connections[i].id))),
        ("schedule-failing", projects(&|r| alive(r) && scheduled(r) && streak(r) >= 3)),
        (
            "schedule-unviewed",
            projects(&|r| {
                alive(r)
                    && scheduled(r)
                    && r.project.analytics.app_views.last_thirty_days == 0
                    && !notifies(r)
            }),
        ),
        ("schedule-on-archived", projects(&|r| !alive(r) && scheduled(r))),
        (
            "project-unused",
            projects(&|r| {
                let uses = [
                    at(&r.project.analytics.last_viewed_at),
                    at(&r.project.last_published_at),
                    at(&Some(r.project.last_edited_at.clone())),
                    last_run(r),
                ];
                let last = uses.into_iter().flatten().max().unwrap();
                let unseen = r.project.analytics.app_views.last_thirty_days == 0;
                alive(r) && published(r) && !component(r) && unseen && last < ago(90)
            }),
        ),
        (
            "draft-stale",
            projects(&|r| {
                alive(r) && !published(r) && at(&Some(r.project.last_edited_at.clone())).unwrap() < ago(180)
            }),
        ),
        ("missing-description", projects(&|r| alive(r) && published(r) && r.project.description.is_none())),
        ("missing-status", projects(&|r| alive(r) && published(r) && r.project.status.is_none())),
        ("missing-category", projects(&|r| alive(r) && published(r) && r.project.categories.is_empty())),
        ("duplicate-title", projects(&|r| alive(r) && titles.iter().filter(|t| **t == title(r)).count() > 1)),
        (
            "group-empty",
            (0..world.groups.len())
                .filter(|g| world.group_members(*g).is_empty())
                .map(|g| world.groups[g].id.to_string())
                .collect(),
        ),
        ("too-many-admins", BTreeSet::from(["workspace".to_owned()])),
        (
            "user-inactive",
            world
                .users
                .iter()
                .filter(|u| at(&u.last_login_date).is_some_and(|login| login < ago(90)))
                .map(|u| u.id.to_string())
                .collect(),
        ),
    ]);
    // Connections of one kind reach one server.
    let mut through: BTreeMap<(String, &str), BTreeSet<usize>> = BTreeMap::new();
    for table in world.projects.iter().flat_map(tables) {
        let kind = world.connections[table.connection].kind.as_str();
        through.entry((table.qualified(), kind)).or_default().insert(table.connection);
    }
    let several = through.into_iter().filter(|(_, c)| c.len() > 1).map(|((table, _), _)| table).collect();
    rules.insert("table-through-several-connections", several);
    rules.into_iter().filter(|(_, ids)| !ids.is_empty()).map(|(rule, ids)| (rule.to_owned(), ids)).collect()
}

#[test]
fn findings_are_exactly_what_the_generator_planted() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(400);
    {
        // One owner is missing altogether, and near misses: a public project that reads nothing sensitive stays.
        let mut world = sim.server.world_mut();
        let at = (0..400).find(|at| {
            world.projects[*at].project.archived_at.is_none()
                && world.projects[*at].project.trashed_at.is_none()
        });
        world.projects[at.unwrap()].project.owner.email = String::new();
    }
    sim.export(dir.path(), &NOW, 0);
    let findings = audit(dir.path(), &[], 0);
    let found = by_rule(&findings);
    let world = sim.server.world();
    let mut expected = truth(&world);
    let ownerless: BTreeSet<String> = world
        .projects
        .iter()
        .filter(|r| r.project.owner.email.is_empty())
        .map(|r| r.project.id.to_string())
        .collect();
    expected.insert("missing-owner".into(), ownerless);
    for (rule, ids) in &expected {
        assert_eq!(found.get(rule).unwrap_or(&BTreeSet::new()), ids, "{rule}");
    }
    // Drift has tests of its own: here nothing was planted.
    let drift = ["runs-slower", "failures-rising", "schedule-missed", "kernel-starvation", "app-stale"];
    let is_unexpected = |rule: &&String| !expected.contains_key(*rule) && !drift.contains(&rule.as_str());
    let unexpected: Vec<&String> = found.keys().filter(is_unexpected).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(expected.len() >= 19, "too few rules have a case: {:?}", expected.keys());
    for finding in findings.as_array().unwrap() {
        for field in ["id", "evidence", "action", "severity", "since"] {
            assert!(!finding[field].as_str().unwrap().is_empty(), "{finding}");
        }
    }
    let order = ["high", "medium", "low", "info"];
    let ranks: Vec<usize> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|f| order.iter().position(|s| *s == f["severity"].as_str().unwrap()).unwrap())
        .collect();
    assert!(ranks.is_sorted(), "the most severe come first");
}

#[test]
fn a_gap_in_the_lineage_is_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    let proxy = sim.block_on(changing_answers(sim.server.url(), |target, body| {
        if target.starts_with("/api/v1/cells") {
            for cell in
                body["values"].as_array_mut().into_iter().flatten().filter(|c| c["cellType"] == "SQL").take(1)
            {
                cell["contents"]["sqlCell"]["source"] = "this is not sql".into();
            }
        }
    }));
    let mut command = sim.hexport(&["export", dir.path().to_str().unwrap()]);
    run(command.env("HEX_API_URL", proxy), 0);
    let gaps = audit(dir.path(), &["--rules", "lineage-gap"], 0);
    assert!(gaps.as_array().unwrap().len() > 10);
    assert!(gaps[0]["evidence"].as_str().unwrap().contains("could not be read"), "{gaps}");
}

#[test]
fn a_finding_tells_since_when_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    let id = sim
        .server
        .world()
        .projects
        .iter()
        .find(|r| r.project.last_published_at.is_some())
        .unwrap()
        .project
        .id
        .clone();
    let set_owner = |email: &str| {
        let mut world = sim.server.world_mut();
        let at = world.find_project(&id).unwrap();
        let project = &mut world.projects[at].project;
        (project.owner.email, project.archived_at, project.trashed_at) = (email.into(), None, None);
    };
    let somebody = sim.server.world().users[1].email.clone();
    for (night, owner) in
        [(1, "left@acme.example"), (2, somebody.as_str()), (3, "left@acme.example"), (4, "left@acme.example")]
    {
        set_owner(owner);
        sim.export(dir.path(), &["--fixed-time", &format!("2026-11-0{night}T06:00:00Z")], 0);
    }
    let findings = audit(dir.path(), &["--rules", "owner-left"], 0);
    let finding = findings.as_array().unwrap().iter().find(|f| f["entity_id"] == id.as_str()).unwrap();
    assert_eq!(finding["since"], "2026-11-03T06:00:00Z", "not since the first time that it was there");
    assert_eq!(finding["severity"], "high");
    let before = audit(dir.path(), &["--rules", "owner-left", "--snapshot", "2026-11-01T060000Z"], 0);
    assert!(before.as_array().unwrap().iter().any(|f| f["id"] == finding["id"]));
}

#[test]
fn severities_thresholds_and_exceptions_are_set_in_the_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(60);
    sim.export(&lake, &NOW, 0);
    let all = by_rule(&audit(&lake, &[], 0));
    let accepted = all["owner-left"].first().unwrap();
    let settings = dir.path().join("hexport.toml");
    let with = |text: &str, more: &[&str], code: i32| {
        std::fs::write(&settings, text).unwrap();
        audit(&lake, &[&["--config", settings.to_str().unwrap()], more].concat(), code)
    };
    let exception = |until: &str| {
        format!(
            "[audit]\nmost_admins = 1000\nunused_days = 10000\n[audit.severities]\nmissing-status = \"off\"\ndraft-stale = \"high\"\n\
             [[audit.exceptions]]\nrule = \"owner-left\"\nentity = \"{accepted}\"\nreason = \"moves next month\"\nuntil = \"{until}\"\n"
        )
    };
    let found = with(&exception("2026-11-02"), &[], 0);
    let rules = by_rule(&found);
    assert!(
        !rules.contains_key("too-many-admins")
            && !rules.contains_key("project-unused")
            && !rules.contains_key("missing-status")
    );
    assert!(!rules.get("owner-left").is_some_and(|ids| ids.contains(accepted)));
    let stale = found.as_array().unwrap().iter().filter(|f| f["rule"] == "draft-stale");
    assert!(stale.clone().count() > 0 && stale.clone().all(|f| f["severity"] == "high"));
    let expired = by_rule(&with(&exception("2026-11-01"), &[], 0));
    assert!(expired["owner-left"].contains(accepted), "an exception ends");
    for (text, said) in [
        ("[audit.severities]\nno-such-rule = \"low\"\n", "no-such-rule"),
        ("[audit]\nmost_wanted = 1\n", "most_wanted"),
        ("[[audit.exceptions]]\nrule = \"owner-left\"\nreason = \"x\"\nuntil = \"soon\"\n", "soon"),
        ("[[audit.exceptions]]\nreason = \"x\"\nuntil = \"2026-12-31\"\n", "every finding"),
    ] {
        std::fs::write(&settings, text).unwrap();
        let args = ["audit", lake.to_str().unwrap(), "--config", settings.to_str().unwrap()];
        let out = stderr(&run(&mut hexport(&args), 2));
        assert!(out.contains(said), "{out}");
    }
}

#[test]
fn ci_fails_on_what_is_severe_enough_and_the_forms_agree() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &NOW, 0);
    let all = audit(dir.path(), &[], 0);
    audit(dir.path(), &["--fail-on", "high"], 7);
    let low = audit(dir.path(), &["--rules", "group-empty", "--fail-on", "medium"], 0);
    assert!(low.as_array().unwrap().iter().all(|f| f["severity"] == "low"));
    let severe = audit(dir.path(), &["--severity", "medium"], 0);
    assert!(severe.as_array().unwrap().len() < all.as_array().unwrap().len());
    let form = |form: &str| {
        stdout(&run(&mut hexport(&["audit", dir.path().to_str().unwrap(), "--output", form]), 0))
    };
    let csv = form("csv");
    let open = |row: &csv::StringRecord| &row[11] == "open";
    assert_eq!(
        csv::Reader::from_reader(csv.as_bytes()).records().map(Result::unwrap).filter(open).count(),
        all.as_array().unwrap().len()
    );
    let markdown = form("markdown");
    assert_eq!(
        markdown.lines().filter(|line| line.starts_with("| ")).count(),
        all.as_array().unwrap().len() + 2
    );
    assert!(!markdown.contains("<script>"), "a title stays text");
    let table = form("table");
    assert!(table.contains(" high, ") && table.contains("owner-left"), "{table}");
    assert!(stdout(&run(&mut hexport(&["audit"]), 0)).contains("schedule-failing"));
    assert!(
        stderr(&run(&mut hexport(&["audit", dir.path().to_str().unwrap(), "--rules", "robots"]), 2))
            .contains("robots")
    );
    let nowhere = dir.path().join("nowhere");
    run(&mut hexport(&["audit", nowhere.to_str().unwrap()]), 2);
}

#[test]
fn other_tools_take_the_findings() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    let blank = {
        let mut world = sim.server.world_mut();
        world.projects[0].project.title = "A <b>title</b> & \u{1}more".into();
        let is_alive = |r: &ProjectRecord| {
            r.project.archived_at.is_none() && r.project.trashed_at.is_none() && r.index > 0
        };
        let at = world.projects.iter().position(is_alive).unwrap();
        let project = &mut world.projects[at].project;
        (project.title, project.owner.email) = (" \t".into(), "left@acme.example".into());
        project.id.to_string()
    };
    sim.export(dir.path(), &NOW, 0);
    let all = audit(dir.path(), &[], 0);
    // Nothing can be pointed at, or clicked on, that has no name.
    let of_blank = all.as_array().unwrap().iter().filter(|f| f["entity_id"] == blank.as_str());
    assert!(of_blank.clone().count() > 0 && of_blank.clone().all(|f| f["entity"] == "(untitled)"));
    let ids: BTreeSet<&str> = all.as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap()).collect();
    let form = |form: &str| {
        stdout(&run(&mut hexport(&["audit", dir.path().to_str().unwrap(), "--output", form]), 0))
    };
    let log: Value = serde_json::from_str(&form("sarif")).unwrap();
    // One pattern of the published schema is no regular expression: it closes a bracket that it never opened.
    let schema = include_str!("../schemas/sarif-2.1.0.json").replace("[a-zA-Z]{2}]?$", "[a-zA-Z]{2}?$");
    let schema = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::draft4::options().should_validate_formats(true).build(&schema).unwrap();
    let faults: Vec<String> =
        validator.iter_errors(&log).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let results = log["runs"][0]["results"].as_array().unwrap();
    for result in results {
        // What GitHub's code scanning documents beyond the schema.
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(!uri.contains(':') && !uri.starts_with('/') && !uri.contains(".."), "{uri}");
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        let hash = result["partialFingerprints"]["primaryLocationLineHash"].as_str().unwrap();
        assert!(hash.ends_with(":1") && hash.len() > 10, "{hash}");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    }
    assert!(results.len() <= 25_000);
    for rule in log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap() {
        assert!(!rule["help"]["text"].as_str().unwrap().is_empty() && rule["help"]["markdown"].is_string());
        assert!(rule["shortDescription"]["text"].as_str().unwrap().len() <= 1024);
        assert!(rule["name"].as_str().unwrap().len() <= 255);
        assert!(rule["properties"]["tags"].as_array().unwrap().len() <= 20);
        let grade: f64 = rule["properties"]["security-severity"].as_str().unwrap().parse().unwrap();
        assert!((0.0..=10.0).contains(&grade));
    }
    let github = form("github");
    let errors = github.lines().filter(|line| line.starts_with("::error title=")).count();
    assert_eq!(errors, results.iter().filter(|r| r["level"] == "error").count());
    assert!(github.lines().all(|line| line.starts_with("::")), "{github}");
    let known: BTreeSet<&str> =
        results.iter().map(|r| r["partialFingerprints"]["hexport/v1"].as_str().unwrap()).collect();
    assert_eq!(known, ids);
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"]);
    }
    let high = all.as_array().unwrap().iter().filter(|f| f["severity"] == "high").count();
    assert_eq!(results.iter().filter(|r| r["level"] == "error").count(), high);
    // Read by a parser of XML that isn't ours.
    let report = script("junit.py", &form("junit"));
    assert_eq!(report["failures"], ids.len());
    let found = by_rule(&all);
    for (suite, failures) in report["suites"].as_object().unwrap() {
        assert_eq!(*failures, found.get(suite).map_or(0, BTreeSet::len), "{suite}");
    }
    assert!(report["suites"].as_object().unwrap().len() >= 22);
}

#[test]
fn the_lake_holds_the_findings_as_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let settings = dir.path().join("hexport.toml");
    std::fs::write(&settings, "[audit.severities]\nmissing-status = \"off\"\n").unwrap();
    let config = ["--config", settings.to_str().unwrap()];
    let sim = Sim::of_projects(60);
    for night in ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z"] {
        sim.export(&lake, &[&["--fixed-time", night], &config[..]].concat(), 0);
    }
    let findings = audit(&lake, &config, 0);
    let said: BTreeSet<Vec<String>> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            ["id", "rule", "severity", "entity_id", "since"].map(|n| f[n].as_str().unwrap().into()).to_vec()
        })
        .collect();
    let rows = ask(
        &lake,
        "SELECT finding_id, rule, severity, entity_id, strftime(since, '%Y-%m-%dT%H:%M:%SZ') FROM audit_findings \
         WHERE status = 'open'",
    );
    let rows: BTreeSet<Vec<String>> =
        rows.into_iter().map(|row| row.iter().map(|v| v.as_str().unwrap().into()).collect()).collect();
    assert_eq!(rows, said);
    assert!(said.iter().any(|row| row[4] == "2026-11-02T06:00:00Z"), "since the first of both");
}

#[test]
fn rules_of_ones_own_are_sql_files() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, rules) = (dir.path().join("lake"), dir.path().join("rules"));
    std::fs::create_dir(&rules).unwrap();
    let sim = Sim::of_projects(30);
    let write = |name: &str, text: &str| std::fs::write(rules.join(name), text).unwrap();
    write(
        "components.sql",
        "-- looks for: Components\n-- severity: high\n-- action: Look at them\n\n\
         SELECT 'component' AS entity_type, project_id AS entity_id, title AS entity,\n\
                'made ' || strftime(created_at, '%Y-%m-%d') AS evidence, owner_email AS owner\n\
         FROM projects WHERE type = 'COMPONENT'; -- all of them\n",
    );
    write(
        "nothing.sql",
        "SELECT 'x' AS entity_type, 'x' AS entity_id, 'x' AS entity, 'x' AS evidence WHERE false",
    );
    write("notes.txt", "no rule");
    let settings = dir.path().join("hexport.toml");
    std::fs::write(&settings, format!("[audit]\nrules = \"{}\"\n", rules.display())).unwrap();
    // At export, too: without DuckDB they are not evaluated on the first night.
    for (night, path) in [("02", "/nonexistent".into()), ("03", path_with_venv()), ("04", path_with_venv())] {
        let at = format!("2026-11-{night}T06:00:00Z");
        let args =
            ["export", lake.to_str().unwrap(), "--fixed-time", &at, "--config", settings.to_str().unwrap()];
        run(sim.hexport(&args).env("PATH", path), 0);
    }
    let evaluated = ask(
        &lake,
        "SELECT evaluated, why FROM audit_rules_history WHERE rule = 'components' ORDER BY snapshot_at",
    );
    assert_eq!(evaluated[0][0], false, "{evaluated:?}");
    assert!(evaluated[0][1].as_str().unwrap().contains("duckdb"), "{evaluated:?}");
    assert_eq!((&evaluated[1][0], &evaluated[2][0]), (&true.into(), &true.into()));
    let run_with = |more: &[&str], code: i32| {
        let mut args = vec!["audit", lake.to_str().unwrap(), "--own-rules", rules.to_str().unwrap()];
        args.extend(more);
        run(hexport(&args).env("PATH", path_with_venv()), code)
    };
    let found: Value =
        serde_json::from_slice(&run_with(&["--output", "json", "--rules", "components"], 0).stdout).unwrap();
    let world = sim.server.world();
    let components: BTreeSet<String> = world
        .projects
        .iter()
        .filter(|r| r.project.kind == "COMPONENT")
        .map(|r| r.project.id.to_string())
        .collect();
    drop(world);
    assert!(!components.is_empty());
    assert_eq!(by_rule(&found["findings"])["components"], components);
    for finding in found["findings"].as_array().unwrap() {
        assert_eq!(finding["severity"], "high");
        assert_eq!(finding["action"], "Look at them");
        assert_eq!(finding["since"], "2026-11-03T06:00:00Z", "since the first night that it could run");
        assert!(finding["url"].as_str().unwrap().ends_with(finding["entity_id"].as_str().unwrap()));
    }
    run_with(&["--rules", "components", "--fail-on", "high"], 7);
    // A rule that no export has run: since when it finds something, nobody knows.
    std::fs::rename(rules.join("components.sql"), rules.join("renamed.sql")).unwrap();
    let renamed: Value =
        serde_json::from_slice(&run_with(&["--output", "json", "--rules", "renamed"], 0).stdout).unwrap();
    assert!(renamed["findings"][0]["since"].is_null(), "{renamed}");
    std::fs::rename(rules.join("renamed.sql"), rules.join("components.sql")).unwrap();
    let log: Value = serde_json::from_slice(&run_with(&["--output", "sarif"], 0).stdout).unwrap();
    assert!(log["runs"][0]["tool"]["driver"]["rules"].to_string().contains("components"));
    let listed = stdout(&run(&mut hexport(&["audit", "--own-rules", rules.to_str().unwrap()]), 0));
    assert!(listed.contains("components") && listed.contains("Look at them"), "{listed}");
    for (text, said) in [
        ("SELECT 1 AS one", "columns"),
        ("SELECT nothing FROM nowhere", "nowhere"),
        ("-- severity: dire\nSELECT 1", "dire"),
    ] {
        write("wrong.sql", text);
        let out = stderr(&run_with(&[], 2));
        assert!(out.contains("wrong") && out.contains(said), "{out}");
    }
    std::fs::remove_file(rules.join("wrong.sql")).unwrap();
    let mut without = hexport(&["audit", lake.to_str().unwrap(), "--own-rules", rules.to_str().unwrap()]);
    let out = stderr(&run(without.env("PATH", "/nonexistent"), 2));
    assert!(out.contains("Install DuckDB"), "{out}");
}

/// A server before the simulator that refuses some paths.
pub async fn refusing(upstream: String, refuse: fn(&str) -> bool) -> String {
    use axum::body::Body;
    use axum::extract::Request;
    let http = http();
    let handler = move |request: Request| {
        let (http, upstream) = (http.clone(), upstream.clone());
        async move {
            let target = request.uri().path_and_query().unwrap().to_string();
            if refuse(&target) {
                let body = r#"{"message": "not yours", "code": "FORBIDDEN"}"#;
                return axum::http::Response::builder().status(403).body(Body::from(body)).unwrap();
            }
            let answer = http.get(format!("{upstream}{target}")).bearer_auth(SECRET).send().await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.bytes().await.unwrap();
            axum::http::Response::builder().status(status).body(Body::from(body)).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() });
    url
}

#[test]
fn what_was_not_read_is_no_evidence() {
    let sim = Sim::of_projects(40);
    // What is refused, and the rules that can't be evaluated then.
    type Refusal = (fn(&str) -> bool, &'static [&'static str]);
    let cases: [Refusal; 4] = [
        (
            |t| t.starts_with("/api/v1/users?") && !t.contains("groupId"),
            &["owner-left", "creator-left", "component-owner-left", "too-many-admins", "user-inactive"],
        ),
        (|t| t.contains("groupId"), &["group-empty"]),
        (|t| t.contains("/runs"), &["schedule-failing", "schedule-unviewed", "project-unused"]),
        (
            |t| t.starts_with("/api/v1/cells") || t.contains("queriedTables"),
            &["connection-unused", "sensitive-shared-widely"],
        ),
    ];
    for (refuse, rules) in cases {
        let dir = tempfile::tempdir().unwrap();
        let proxy = sim.block_on(refusing(sim.server.url(), refuse));
        let dest = dir.path().to_str().unwrap();
        run(sim.hexport(&["export", dest, NOW[0], NOW[1]]).env("HEX_API_URL", proxy), 0);
        let found = whole_audit(dir.path(), &[], 0);
        let not_evaluated: BTreeSet<&str> = found["not_evaluated"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|n| n["entities"].is_null())
            .map(|n| n["rule"].as_str().unwrap())
            .collect();
        for rule in rules {
            assert!(not_evaluated.contains(rule), "{rule}: {not_evaluated:?}");
            assert!(!by_rule(&found["findings"]).contains_key(*rule), "{rule}");
        }
        let form = |form: &str| stdout(&run(&mut hexport(&["audit", dest, "--output", form]), 0));
        for (name, said) in [
            ("table", format!("{}: not evaluated: ", rules[0])),
            ("markdown", format!("- {}: not evaluated: ", rules[0])),
            ("csv", format!(",{},", rules[0])),
            ("github", format!("::warning title={}::not evaluated", rules[0])),
            ("junit", "<skipped".into()),
            ("sarif", "toolExecutionNotifications".into()),
        ] {
            assert!(form(name).contains(&said), "{name}: {}", form(name));
        }
        let log: Value = serde_json::from_str(&form("sarif")).unwrap();
        let notes = log["runs"][0]["invocations"][0]["toolExecutionNotifications"].as_array().unwrap();
        assert!(notes.iter().any(|n| n["associatedRule"]["id"] == rules[0] && n["level"] == "warning"));
        let rows = ask(dir.path(), "SELECT rule FROM audit_rules WHERE NOT evaluated");
        let rows: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str().unwrap()).collect();
        assert_eq!(rows, not_evaluated);
    }
}

#[test]
fn exceptions_leave_a_trace_in_every_output() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let settings = dir.path().join("hexport.toml");
    let exception = |what: &str, until: &str| {
        format!("[[audit.exceptions]]\n{what}\nreason = \"known; moves soon\"\nuntil = \"{until}\"\n")
    };
    std::fs::write(
        &settings,
        [
            exception("rule = \"missing-status\"", "2026-12-31"),
            exception("owner = \"gone.*@acme.example\"", "2026-12-31"),
            exception("rule = \"missing-category\"", "2026-01-01"),
            exception("entity = \"no-such-thing\"", "2026-12-31"),
        ]
        .concat(),
    )
    .unwrap();
    let config = ["--config", settings.to_str().unwrap()];
    let sim = Sim::of_projects(60);
    let args = [&["export", lake.to_str().unwrap()], &NOW[..], &config[..]].concat();
    let out = run(&mut sim.hexport(&args), 0);
    let said = format!("{}{}", stdout(&out), stderr(&out));
    assert!(said.contains("missing-category") && said.contains("no-such-thing"), "{said}");
    let found = whole_audit(&lake, &config, 0);
    let excepted = found["excepted"].as_array().unwrap();
    assert!(excepted.iter().any(|e| e["rule"] == "missing-status"));
    assert!(excepted.iter().any(|e| e["rule"] == "owner-left" && e["severity"] == "high"));
    assert!(excepted.iter().all(|e| e["reason"] == "known; moves soon" && e["until"] == "2026-12-31"));
    let kinds: BTreeSet<&str> =
        found["exceptions"].as_array().unwrap().iter().map(|n| n["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains("expired") && kinds.contains("unmatched"), "{kinds:?}");
    let all = excepted.len() + found["findings"].as_array().unwrap().len();
    let without = audit(&lake, &[], 0);
    assert_eq!(without.as_array().unwrap().len(), all, "nothing is lost");
    let form = |form: &str| {
        stdout(&run(
            &mut hexport(&["audit", lake.to_str().unwrap(), "--output", form, config[0], config[1]]),
            0,
        ))
    };
    for name in ["table", "csv", "markdown", "junit", "sarif", "github"] {
        assert!(form(name).contains("known; moves soon"), "{name}");
    }
    // Those that ended or match nothing are in every form, too.
    for name in ["table", "csv", "markdown", "junit", "sarif", "github"] {
        let text = form(name);
        assert!(text.contains("no-such-thing"), "{name}: {text}");
        assert!(text.contains("missing-category"), "{name}: {text}");
    }
    let reviewed = script("junit.py", &form("junit"));
    assert_eq!(reviewed["skipped"]["exceptions"].as_array().unwrap().len(), 2, "{reviewed}");
    let csv = form("csv");
    let statuses: Vec<String> = csv::Reader::from_reader(csv.as_bytes())
        .records()
        .map(|row| row.unwrap()[11].to_owned())
        .filter(|status| status.ends_with("exception"))
        .collect();
    assert_eq!(statuses.iter().collect::<BTreeSet<_>>().len(), 2, "{statuses:?}");
    let file = lake.with_extension("html");
    let args = ["report", lake.to_str().unwrap(), "-o", file.to_str().unwrap(), config[0], config[1]];
    run(&mut hexport(&args), 0);
    let data = crate::report::carried(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(data["not_covered"]["excepted_count"], excepted.len());
    assert_eq!(data["not_covered"]["notices"].as_array().unwrap().len(), 2);
    let log: Value = serde_json::from_str(&form("sarif")).unwrap();
    let suppressed =
        log["runs"][0]["results"].as_array().unwrap().iter().filter(|r| r["suppressions"].is_array());
    assert_eq!(suppressed.count(), excepted.len());
    let rows = ask(
        &lake,
        "SELECT count(*) FROM audit_findings WHERE status = 'excepted' AND exception_reason IS NOT NULL",
    );
    assert_eq!(rows[0][0], excepted.len());
}
