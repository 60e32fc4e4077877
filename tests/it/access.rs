//! Who can reach what, against the generator's truth by a path of its own.

use std::collections::{BTreeMap, BTreeSet};

use hexport::sim::{ProjectRecord, World};
use serde_json::Value;

use crate::support::*;

const LEVELS: [&str; 5] = ["NONE", "APP_ONLY", "CAN_VIEW", "CAN_EDIT", "FULL_ACCESS"];

/// Who can do what with a project, person by person, worked out person by person: for each, all grants are gone
/// through. The web is a person of its own.
fn truth(world: &World, record: &ProjectRecord) -> BTreeMap<String, &'static str> {
    let sharing = record.project.sharing.as_ref().unwrap();
    let level = |access: &str| LEVELS.iter().position(|l| *l == access).unwrap();
    let in_group = |user: &str, group: &str| {
        (0..world.groups.len())
            .any(|g| world.groups[g].name == group && world.group_members(g).iter().any(|m| m.id == user))
    };
    let mut truth = BTreeMap::new();
    for user in &world.users {
        let mut best = 0;
        if record.project.owner.email.eq_ignore_ascii_case(&user.email) {
            best = 4;
        }
        for grant in &sharing.users {
            if grant.user.email.eq_ignore_ascii_case(&user.email) {
                best = best.max(level(&grant.access));
            }
        }
        for grant in &sharing.groups {
            if in_group(&user.id, &grant.group.name) {
                best = best.max(level(&grant.access));
            }
        }
        let is_member = user.role != "GUEST";
        for grant in &sharing.collections {
            for collection in world.collections.iter().filter(|c| c.name == grant.collection.name) {
                let may = |access: &str| access != "NONE";
                let of = &collection.sharing;
                let by_name = of.users.iter().flatten().any(|u| u.id == user.id && may(&u.access));
                let by_group = of.groups.iter().flatten().filter(|g| may(&g.access)).any(|g| {
                    world.groups.iter().any(|group| group.id == g.id && in_group(&user.id, &group.name))
                });
                let by_all = of.workspace.as_ref().and_then(|w| w.members.as_deref()).is_some_and(may);
                if by_name || by_group || (by_all && is_member) {
                    best = best.max(level(&grant.access));
                }
            }
        }
        if is_member {
            best = best.max(level(&sharing.workspace.access));
        }
        if best > 0 {
            truth.insert(user.email.to_lowercase(), LEVELS[best]);
        }
    }
    if sharing.public_web.access != "NONE" {
        truth.insert("public".into(), LEVELS[level(&sharing.public_web.access)]);
    }
    truth
}

fn access(lake: &str, args: &[&str]) -> Value {
    let all = [&["access", lake], args, &["--output", "json"]].concat();
    serde_json::from_slice(&run(&mut hexport(&all), 0).stdout).unwrap()
}

#[test]
fn effective_access_is_the_truth_of_the_generator() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(80);
    {
        // The same person in another case, and a grant of nothing.
        let mut world = sim.server.world_mut();
        let email = world.users[3].email.to_uppercase();
        let sharing = world.projects[5].project.sharing.as_mut().unwrap();
        sharing.users.push(
            serde_json::from_value(serde_json::json!({"access": "CAN_EDIT", "user": {"email": email}}))
                .unwrap(),
        );
        let other = world.users[4].email.clone();
        let sharing = world.projects[6].project.sharing.as_mut().unwrap();
        sharing.users.push(
            serde_json::from_value(serde_json::json!({"access": "NONE", "user": {"email": other}})).unwrap(),
        );
    }
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let world = sim.server.world();
    // The table, expanded in SQL.
    let rows = ask(
        dir.path(),
        "WITH reached AS (
             SELECT project_id, lower(principal) AS who, access FROM effective_access
             WHERE principal_type = 'public' OR (principal_type = 'person' AND is_active_user)
             UNION ALL
             SELECT a.project_id, lower(u.email), a.access FROM effective_access a, users u
             WHERE a.principal_type = 'workspace' AND u.role <> 'GUEST'
         )
         SELECT project_id, who, max_by(access, list_position(['APP_ONLY', 'CAN_VIEW', 'CAN_EDIT', 'FULL_ACCESS'], access))
         FROM reached GROUP BY ALL",
    );
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in &rows {
        let [project, who, level] = [0, 1, 2].map(|i| row[i].as_str().unwrap().to_owned());
        assert!(found.entry(project).or_default().insert(who, level).is_none());
    }
    let owned = |of: BTreeMap<String, &str>| -> BTreeMap<String, String> {
        of.into_iter().map(|(who, level)| (who, level.to_owned())).collect()
    };
    let mut through = BTreeSet::new();
    for record in &world.projects {
        let expected = owned(truth(&world, record));
        assert_eq!(found.remove(&*record.project.id).unwrap_or_default(), expected, "{}", record.project.id);
    }
    assert!(found.is_empty());
    for row in ask(
        dir.path(),
        "SELECT DISTINCT path, via_group IS NULL, via_collection IS NULL FROM effective_access",
    ) {
        through.insert(format!("{row:?}"));
    }
    assert!(through.len() >= 7, "every kind of path is there: {through:?}");
    // The command says the same, by project and by person.
    for record in world.projects.iter().take(8) {
        let answer = access(lake, &["--project", &record.project.id, "--expand"]);
        let said: BTreeMap<String, String> = answer["access"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|a| matches!(a["principal_type"].as_str(), Some("person" | "public")))
            .map(|a| {
                (a["principal"].as_str().unwrap().to_lowercase(), a["access"].as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(said, owned(truth(&world, record)));
        assert!(answer["assumptions"].as_array().unwrap().len() >= 5);
    }
    let user = &world.users[3];
    let answer = access(lake, &["--person", &user.email.to_uppercase()]);
    let said: BTreeSet<&str> = answer["access"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["principal_type"] == "person")
        .map(|a| a["project_id"].as_str().unwrap())
        .collect();
    let expected: BTreeSet<&str> = world
        .projects
        .iter()
        .filter(|r| truth(&world, r).contains_key(&user.email.to_lowercase()))
        .map(|r| r.project.id.as_str())
        .collect();
    assert_eq!(said, expected);
    // A table: who can see what a project shows of it.
    let row = &ask(dir.path(), "SELECT table_key, project_id FROM lineage ORDER BY ALL LIMIT 1")[0];
    let (table, project) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
    let answer = access(lake, &["--table", table]);
    assert!(answer["access"].as_array().unwrap().iter().any(|a| a["project_id"] == project));
    assert!(answer["reads"][project].as_array().unwrap().iter().all(|r| r["table"] == table));
    let tree = stdout(&run(&mut hexport(&["access", lake, "--person", &user.email]), 0));
    assert!(tree.contains("Assumed, since the API doesn't say") && tree.contains("reads through"), "{tree}");
    let csv = stdout(&run(&mut hexport(&["access", lake, "--project", project, "--output", "csv"]), 0));
    assert!(csv.lines().count() > 1 && csv.starts_with("change,before,principal_type"));
    let settings = dir.path().join("hexport.toml");
    std::fs::write(&settings, "[access]\nroles = { ADMIN = \"FULL_ACCESS\" }\n").unwrap();
    let admin = world.users.iter().find(|u| u.role == "ADMIN").unwrap();
    let answer = access(lake, &["--person", &admin.email, "--config", settings.to_str().unwrap()]);
    let projects: BTreeSet<&str> =
        answer["access"].as_array().unwrap().iter().map(|a| a["project_id"].as_str().unwrap()).collect();
    assert!(projects.len() >= world.projects.len() - 3, "an admin has every project: {}", projects.len());
    for (args, said) in [
        (&["--person", "nobody@nowhere.example"][..], "nobody@nowhere.example"),
        (&["--project", "no such project"], "no such project"),
        (&["--table", "no.such.table"], "no.such.table"),
    ] {
        let out = stderr(&run(&mut hexport(&[&["access", lake], args].concat()), 2));
        assert!(out.contains(said), "{out}");
    }
}

#[test]
fn a_review_names_who_gained_and_lost_access() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(30);
    let night = |night: &str| {
        sim.export(dir.path(), &["--fixed-time", &format!("2026-11-0{night}T06:00:00Z")], 0);
    };
    night("2");
    let before: Vec<BTreeMap<String, String>> = {
        let world = sim.server.world();
        world
            .projects
            .iter()
            .map(|r| truth(&world, r).into_iter().map(|(k, v)| (k, v.to_owned())).collect())
            .collect()
    };
    {
        let mut world = sim.server.world_mut();
        // A group gets a member and loses another; a grant goes; a link is made public.
        let outsider = (0..world.users.len()).find(|u| !world.members[0].contains(u)).unwrap();
        world.members[0].remove(0);
        world.members[0].push(outsider);
        world.members[0].sort();
        world.projects[2].project.sharing.as_mut().unwrap().users.truncate(1);
        world.projects[3].project.sharing.as_mut().unwrap().public_web.access = "APP_ONLY".into();
        world.projects[4].project.sharing.as_mut().unwrap().workspace.access = "FULL_ACCESS".into();
    }
    night("3");
    let args = ["access", "review", lake, "--since", "2026-11-02T060000Z", "--expand"];
    let out = run(&mut hexport(&[&args[..], &["--output", "json"]].concat()), 0);
    let review: Value = serde_json::from_slice(&out.stdout).unwrap();
    let said: BTreeSet<(String, String, String)> = review["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| matches!(c["principal_type"].as_str(), Some("person" | "public")))
        .map(|c| {
            let text = |name: &str| c[name].as_str().unwrap().to_owned();
            (text("project_id"), text("principal").to_lowercase(), text("kind"))
        })
        .collect();
    let world = sim.server.world();
    let mut expected = BTreeSet::new();
    for (record, before) in world.projects.iter().zip(&before) {
        let after = truth(&world, record);
        let rank = |level: &str| LEVELS.iter().position(|l| *l == level).unwrap();
        let everyone: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for who in everyone {
            let kind = match (before.get(who), after.get(who)) {
                (None, Some(_)) => "gained",
                (Some(_), None) => "lost",
                (Some(a), Some(b)) if rank(a) < rank(b) => "raised",
                (Some(a), Some(b)) if rank(a) > rank(b) => "lowered",
                _ => continue,
            };
            expected.insert((record.project.id.to_string(), who.clone(), kind.to_owned()));
        }
    }
    assert!(expected.iter().any(|(_, who, kind)| who == "public" && kind == "gained"));
    assert!(review["changes"].as_array().unwrap().iter().all(|change| change["sure"] == true));
    assert_eq!(said, expected);
    let markdown = stdout(&run(&mut hexport(&[&args[..], &["--output", "markdown"]].concat()), 0));
    assert!(markdown.contains("Signature") && markdown.contains("- [ ] gained"), "{markdown}");
}

#[test]
fn people_of_other_domains_and_former_groups_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(30);
    let (outside, orphaned) = {
        let mut world = sim.server.world_mut();
        let email = "eve@elsewhere.example".to_owned();
        world.users[6].email.clone_from(&email);
        let alive: Vec<usize> = (0..world.projects.len())
            .filter(|i| {
                let project = &world.projects[*i].project;
                project.archived_at.is_none() && project.trashed_at.is_none()
            })
            .collect();
        let sharing = world.projects[alive[0]].project.sharing.as_mut().unwrap();
        sharing.users.push(
            serde_json::from_value(serde_json::json!({"access": "CAN_VIEW", "user": {"email": email}}))
                .unwrap(),
        );
        let sharing = world.projects[alive[1]].project.sharing.as_mut().unwrap();
        sharing.groups.push(
            serde_json::from_value(serde_json::json!({"access": "CAN_VIEW", "group": {"name": "Disbanded"}}))
                .unwrap(),
        );
        (world.projects[alive[0]].project.id.to_string(), world.projects[alive[1]].project.id.to_string())
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let found = |rule: &str, more: &[&str]| -> BTreeSet<String> {
        let args = [&["audit", lake, "--rules", rule, "--output", "json"], more].concat();
        let audit: Value = serde_json::from_slice(&run(&mut hexport(&args), 0).stdout).unwrap();
        let findings = audit["findings"].as_array().unwrap().iter();
        findings.map(|f| f["entity_id"].as_str().unwrap().to_owned()).collect()
    };
    let world = sim.server.world();
    let expected: BTreeSet<String> = world
        .projects
        .iter()
        .filter(|r| r.project.archived_at.is_none() && r.project.trashed_at.is_none())
        .filter(|r| {
            // By what is granted to her by name, group or collection, or as owner: not as one of everybody.
            let sharing = r.project.sharing.as_ref().unwrap();
            let user = &world.users[6];
            let in_group = |name: &str| {
                (0..world.groups.len()).any(|g| {
                    world.groups[g].name == name && world.group_members(g).iter().any(|m| m.id == user.id)
                })
            };
            let in_collection =
                |name: &str| {
                    world.collections.iter().filter(|c| c.name == name).any(|c| {
                        let by_group =
                            c.sharing.groups.iter().flatten().any(|grant| {
                                world.groups.iter().any(|g| g.id == grant.id && in_group(&g.name))
                            });
                        by_group || c.sharing.users.iter().flatten().any(|grant| grant.id == user.id)
                    })
                };
            r.project.owner.email == user.email
                || sharing.users.iter().any(|g| g.user.email == user.email)
                || sharing.groups.iter().any(|g| in_group(&g.group.name))
                || sharing.collections.iter().any(|g| in_collection(&g.collection.name))
        })
        .map(|r| r.project.id.to_string())
        .collect();
    assert!(expected.contains(&outside));
    assert_eq!(found("access-external", &[]), expected);
    assert_eq!(found("access-through-former-group", &[]), BTreeSet::from([orphaned]));
    // Nobody is external whose domain is named.
    let settings = dir.path().join("hexport.toml");
    std::fs::write(&settings, "[audit]\ndomains = [\"acme.example\", \"elsewhere.example\"]\n").unwrap();
    assert!(found("access-external", &["--config", settings.to_str().unwrap()]).is_empty());
}

#[test]
fn a_review_is_not_sure_of_what_one_of_its_snapshots_could_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(40);
    // The first night, who is in groups and collections could not be read; the second, one grant is gone.
    let members = |target: &str| target.contains("groupId") || target.starts_with("/api/v1/collections");
    let proxy = sim.block_on(crate::audit::refusing(sim.server.url(), members));
    let mut first = sim.hexport(&["export", lake, "--fixed-time", "2026-11-02T06:00:00Z"]);
    run(first.env("HEX_API_URL", proxy), 0);
    let (project, person) = {
        let mut world = sim.server.world_mut();
        let is_fit = |r: &ProjectRecord| {
            let sharing = r.project.sharing.as_ref().unwrap();
            let is_closed = sharing.workspace.access == "NONE"
                && sharing.groups.is_empty()
                && sharing.collections.is_empty();
            is_closed
                && sharing
                    .users
                    .last()
                    .is_some_and(|g| g.access != "NONE" && g.user.email != r.project.owner.email)
        };
        let at = world.projects.iter().position(is_fit).unwrap();
        let project = &mut world.projects[at].project;
        let grant = project.sharing.as_mut().unwrap().users.pop().unwrap();
        (project.id.to_string(), grant.user.email.to_lowercase())
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    for expand in [&[][..], &["--expand"]] {
        let args = [&["access", "review", lake, "--since", "2026-11-02T060000Z"], expand].concat();
        let form = |form: &str| stdout(&run(&mut hexport(&[&args[..], &["--output", form]].concat()), 0));
        let review: Value = serde_json::from_str(&form("json")).unwrap();
        let changes = review["changes"].as_array().unwrap();
        let (sure, unsure): (Vec<&Value>, Vec<&Value>) =
            changes.iter().partition(|change| change["sure"] == true);
        let goes_through = |change: &&Value| {
            let mut paths = change["paths"].as_array().unwrap().iter();
            paths.any(|path| path["via_group"].is_string() || path["via_collection"].is_string())
        };
        // Of all that seems to have changed, one did.
        assert_eq!(sure.len(), 1, "{sure:?}");
        assert_eq!((&sure[0]["kind"], &sure[0]["project_id"]), (&"lost".into(), &project.as_str().into()));
        assert_eq!(sure[0]["principal"].as_str().unwrap().to_lowercase(), person);
        assert!(unsure.len() > 5 && unsure.iter().all(goes_through));
        assert_eq!(review["not_known"].as_array().unwrap().len(), 3, "{}", review["not_known"]);
        let said = format!("{} changes, of which {} are not certain", changes.len(), unsure.len());
        for (name, mark) in [("tree", "perhaps "), ("markdown", "- [ ] perhaps ")] {
            let text = form(name);
            assert!(text.contains(&said), "{name}: {text}");
            assert_eq!(text.matches(mark).count(), unsure.len(), "{name}: {text}");
        }
        let csv = form("csv");
        let rows = csv::Reader::from_reader(csv.as_bytes()).into_records().map(Result::unwrap);
        let sure: BTreeSet<String> =
            rows.filter(|row| &row[13] == "true").map(|row| row[6].to_owned()).collect();
        assert_eq!(sure, BTreeSet::from([project.clone()]));
    }
}
