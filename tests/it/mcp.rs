//! `hexport mcp`, driven by the protocol's own client.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::client;
use crate::handoff::{NIGHT, text};
use crate::support::*;

/// Asks a server each question. Gives what it says of itself, and the answers.
fn ask_server(lake: &Path, flags: &[&str], calls: &Value) -> (Value, Vec<Value>) {
    let mut args = vec!["mcp", lake.to_str().unwrap()];
    args.extend(flags);
    let asked = json!({
        "command": env!("CARGO_BIN_EXE_hexport"),
        "args": args,
        // What an assistant's environment may hold.
        "env": {"PATH": path_with_venv().to_str().unwrap(), "HEX_API_TOKEN": SECRET, "HOME": "/nowhere"},
        "calls": calls,
    });
    let seen = client("mcp", &asked).expect("the environment isn't heavy");
    assert_no_secret(seen.to_string().as_bytes(), "an answer");
    let answers = seen["answers"].as_array().unwrap().clone();
    assert_eq!(answers.len(), calls.as_array().unwrap().len());
    (seen, answers)
}

fn said(answer: &Value) -> &Value {
    assert_eq!(answer["error"], false, "{answer}");
    &answer["said"]
}

fn why(answer: &Value) -> String {
    assert_eq!(answer["error"], true, "{answer}");
    text(&answer["said"]["error"])
}

fn column(rows: &[Vec<Value>], at: usize) -> BTreeSet<String> {
    rows.iter().map(|row| text(&row[at])).collect()
}

fn fields(items: &Value, name: &str) -> BTreeSet<String> {
    items.as_array().unwrap().iter().map(|item| text(&item[name])).collect()
}

#[test]
fn an_assistant_is_told_what_the_lake_says() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &NIGHT, 0);
    let busiest = ask(
        dir.path(),
        "SELECT table_key FROM lineage WHERE database_name IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1",
    );
    let table = text(&busiest[0][0]);
    let users =
        ask(dir.path(), &format!("SELECT project_id, owner_email FROM lineage WHERE table_key = '{table}'"));
    let project = text(&users[0][0]);
    let calls = json!([
        ["who_uses_table", {"table": table.to_lowercase()}],
        ["what_project_uses", {"project": project}],
        ["findings", {"severity": "high"}],
        ["access", {"project": project}],
        ["impact", {"sql": format!("DROP TABLE {table}")}],
        ["query_sql", {"sql": "SELECT status, count(*) AS n -- by status\nFROM runs GROUP BY ALL ORDER BY 1"}],
        ["list_tables", {}],
    ]);
    let (seen, answers) = ask_server(dir.path(), &["--personal"], &calls);
    assert_eq!(seen["server"]["serverInfo"]["name"], "hexport");
    let tools = seen["tools"].as_array().unwrap();
    let names: BTreeSet<String> = tools.iter().map(|tool| text(&tool["name"])).collect();
    assert_eq!(names, calls.as_array().unwrap().iter().map(|call| text(&call[0])).collect());
    for tool in tools {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
        assert!(tool["description"].as_str().unwrap().len() > 20, "{tool}");
    }
    assert_eq!(fields(&said(&answers[0])["edges"], "project_id"), column(&users, 0));
    assert_eq!(fields(&said(&answers[0])["edges"], "owner"), column(&users, 1));
    let tables = ask(dir.path(), &format!("SELECT table_key FROM lineage WHERE project_id = '{project}'"));
    assert_eq!(fields(&said(&answers[1])["edges"], "table"), column(&tables, 0));
    let findings = ask(dir.path(), "SELECT finding_id FROM audit_findings WHERE severity = 'high'");
    assert_eq!(fields(&said(&answers[2])["findings"], "finding_id"), column(&findings, 0));
    assert!(!findings.is_empty());
    let access = ask(
        dir.path(),
        &format!(
            "SELECT DISTINCT principal FROM effective_access WHERE project_id = '{project}' AND is_active_user IS NOT FALSE"
        ),
    );
    let found = fields(&said(&answers[3])["access"], "principal");
    assert!(!found.is_empty() && found.is_subset(&column(&access, 0)), "{found:?}");
    assert_eq!(fields(&said(&answers[4])["impact"]["hits"], "project_id"), column(&users, 0));
    let runs = ask(dir.path(), "SELECT status, count(*) FROM runs GROUP BY ALL ORDER BY 1");
    let counted: Vec<Vec<Value>> = said(&answers[5])["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| vec![row["status"].clone(), row["n"].clone()])
        .collect();
    assert_eq!(counted, runs);
    let listed = fields(&said(&answers[6])["tables"], "table");
    assert_eq!(
        listed,
        hexport::registry::all()
            .filter(|table| !hexport::registry::is_of_history(table))
            .map(|table| table.name.to_owned())
            .collect()
    );
    // The next snapshot answers the next question.
    assert_eq!(said(&answers[6])["snapshot"], "2026-11-02T060000Z");
}

#[test]
fn people_are_left_out_of_every_answer_unless_the_server_may_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    {
        let mut world = sim.server.world_mut();
        let owner = world.projects[0].project.owner.email.clone();
        world.projects[0].project.title = format!("For {owner} only");
    }
    sim.export(dir.path(), &NIGHT, 0);
    let people = ask(dir.path(), "SELECT email, name FROM users");
    let (email, name) = (text(&people[0][0]), text(&people[0][1]));
    let project = text(&ask_one(dir.path(), "SELECT project_id FROM projects WHERE title LIKE 'For %'"));
    let table = text(&ask_one(dir.path(), "SELECT any_value(table_key) FROM lineage"));
    let calls = json!([
        ["who_uses_table", {"table": table}],
        ["what_project_uses", {"project": project}],
        ["findings", {}],
        ["access", {"project": project}],
        ["access", {"person": email}],
        ["impact", {"sql": format!("DROP TABLE {table}")}],
        ["query_sql", {"sql": "SELECT * FROM projects"}],
        ["query_sql", {"sql": "SELECT * FROM users"}],
        ["query_sql", {"sql": "SELECT * FROM project_sharing"}],
        ["query_sql", {"sql": "SELECT hex(title) AS t, replace(title, '@', ' at ') AS r FROM projects WHERE title LIKE 'For %'"}],
        ["query_sql", {"sql": "SELECT evidence, entity FROM audit_findings"}],
        ["query_sql", {"sql": "SELECT reverse(entity || evidence) AS r FROM audit_findings WHERE entity_type = 'user'"}],
        ["query_sql", {"sql": "SELECT email FROM users"}],
        ["list_tables", {}],
    ]);
    let (_, answers) = ask_server(dir.path(), &[], &calls);
    let all = Value::from(answers.clone()).to_string();
    for row in &people {
        assert!(!all.contains(&text(&row[0])), "{} is named", text(&row[0]));
        assert!(!all.contains(&text(&row[1])), "{} is named", text(&row[1]));
    }
    assert!(why(&answers[4]).contains("--personal"));
    assert_eq!(
        said(&answers[7])["rows"].as_array().unwrap().len(),
        people.len(),
        "rows stay, without their people"
    );
    // Not even in a form that a filter over the answer wouldn't see.
    let hidden = &said(&answers[9])["rows"][0];
    assert_eq!(text(&hidden["r"]), "For [hidden] only");
    assert!(!said(&answers[10])["rows"].as_array().unwrap().is_empty());
    assert!(why(&answers[12]).contains("email"), "{}", answers[12]);
    let backwards = said(&answers[11])["rows"].to_string();
    assert!(!backwards.contains("elpmaxe") && backwards.contains("]neddih["), "{backwards}");
    assert!(!said(&answers[3])["people"].as_object().unwrap().is_empty());
    let (_, answers) = ask_server(dir.path(), &["--personal"], &calls);
    let all = Value::from(answers).to_string();
    assert!(all.contains(&email) && all.contains(&name));
}

#[test]
fn sql_reads_the_tables_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(5);
    sim.export(dir.path(), &NIGHT, 0);
    let secret = dir.path().join("secret.txt");
    std::fs::write(&secret, "s3cr3t").unwrap();
    let (secret, file) = (secret.display(), dir.path().join("made.txt"));
    let marker = file.display();
    let sqls = [
        format!("SELECT * FROM read_text('{secret}')"),
        "SELECT * FROM read_parquet('snapshot=*/users.parquet')".into(),
        format!("COPY (SELECT 1) TO '{marker}'"),
        "SELECT 1; SELECT 2".into(),
        "DROP TABLE runs".into(),
        "SET enable_external_access = true".into(),
        format!(".shell touch {marker}"),
        format!("SELECT 1\n.shell touch {marker}\n"),
        format!("SELECT '\n.shell touch {marker}\n'') LIMIT 1; ATTACH '{marker}'"),
        "SELECT getenv('HEX_API_TOKEN') AS t".into(),
        "SELECT nonsense FROM runs".into(),
    ];
    let calls: Vec<Value> = sqls.iter().map(|sql| json!(["query_sql", {"sql": sql}])).collect();
    let (_, answers) = ask_server(dir.path(), &["--personal"], &json!(calls));
    for (sql, answer) in sqls.iter().zip(&answers) {
        assert_eq!(answer["error"], true, "{sql}: {answer}");
        assert!(!answer.to_string().contains("s3cr3t"));
    }
    assert!(!file.exists());
    assert!(why(&answers[10]).contains("nonsense"), "the assistant reads what is wrong: {}", answers[10]);
    // Quotes and comments are the query's own, and long answers are cut and say so.
    let (_, answers) = ask_server(
        dir.path(),
        &[],
        &json!([
            ["query_sql", {"sql": "SELECT 'it''s \\n' AS a -- a 'comment'\n, \"range\" FROM range(300)"}],
            ["query_sql", {"sql": "SELECT 1 AS one WHERE false"}],
        ]),
    );
    let answer = said(&answers[0]);
    assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["more"]), (200, &json!(true)));
    assert_eq!(answer["rows"][0]["a"], "it's \\n");
    assert_eq!((&said(&answers[1])["rows"], &said(&answers[1])["more"]), (&json!([]), &json!(false)));
}

#[test]
fn what_no_snapshot_holds_is_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    sim.export(dir.path(), &["--tables", "projects"], 0);
    let calls = json!([
        ["who_uses_table", {"table": "t"}],
        ["findings", {}],
        ["access", {"project": "x"}],
        ["impact", {"sql": "DROP TABLE t"}],
        ["impact", {"sql": "SELECT 1"}],
        ["findings", {"severity": "grave"}],
        ["access", {}],
        ["query_sql", {"sql": "SELECT count(*) AS n FROM projects"}],
    ]);
    let (_, answers) = ask_server(dir.path(), &[], &calls);
    assert!(why(&answers[0]).contains("no snapshot holds the table lineage"));
    assert!(why(&answers[1]).contains("no snapshot holds the table audit_findings"));
    assert!(why(&answers[2]).contains("effective_access"));
    assert!(why(&answers[3]).contains("no snapshot holds the table lineage"));
    assert!(why(&answers[6]).contains("one of project, table or person"));
    assert_eq!(said(&answers[7])["rows"][0]["n"].as_u64(), Some(3));
    // No lake, no server.
    run(&mut hexport(&["mcp", dir.path().join("nowhere").to_str().unwrap()]), 2);
}

#[test]
fn a_query_that_takes_too_long_is_stopped_and_the_server_answers_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(5);
    sim.export(dir.path(), &NIGHT, 0);
    let endless =
        "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE hash(a.range + b.range) = 1";
    let started = std::time::Instant::now();
    let (_, answers) = ask_server(
        dir.path(),
        &["--sql-timeout", "1"],
        &json!([["query_sql", {"sql": endless}], ["query_sql", {"sql": "SELECT count(*) AS n FROM projects"}]]),
    );
    assert!(why(&answers[0]).contains("stopped after 1 s"), "{}", answers[0]);
    assert_eq!(said(&answers[1])["rows"][0]["n"], ask_one(dir.path(), "SELECT count(*) FROM projects"));
    assert!(started.elapsed().as_secs() < 50);
    // Not the command alone, which may be a script that started another.
    assert_eq!(processes_with("hash(a.range + b.range)"), 0);
    let none = ["mcp", dir.path().to_str().unwrap(), "--sql-timeout", "0"];
    assert!(stderr(&run(&mut hexport(&none), 2)).contains("1..=3600"));
}

/// Processes of this machine whose command line holds a text.
fn processes_with(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

#[test]
fn a_server_that_ends_leaves_no_query_behind() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    sim.export(dir.path(), &NIGHT, 0);
    for (at, by_signal) in [true, false].into_iter().enumerate() {
        let mark = format!("= {at}{}", std::process::id());
        let endless =
            format!("SELECT count(*) FROM range(9999999) a, range(9999999) b WHERE a.range * b.range {mark}");
        let mut command = hexport(&["mcp", dir.path().to_str().unwrap()]);
        command.env("PATH", path_with_venv()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut stdin = server.stdin.take().unwrap();
        let client = json!({"name": "test", "version": "1"});
        let begin = json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": client});
        for message in [
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
                "params": {"name": "query_sql", "arguments": {"sql": endless}}}),
        ] {
            writeln!(stdin, "{message}").unwrap();
        }
        let wait_for = |wanted: &dyn Fn(usize) -> bool, what: &str| {
            let began = Instant::now();
            while !wanted(processes_with(&mark)) {
                assert!(began.elapsed() < Duration::from_secs(60), "{what}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        wait_for(&|processes| processes > 0, "the query never began");
        match by_signal {
            true => drop(Command::new("kill").arg(server.id().to_string()).status().unwrap()),
            false => drop(stdin),
        }
        assert!(server.wait().unwrap().success());
        wait_for(&|processes| processes == 0, "the query goes on");
    }
}
