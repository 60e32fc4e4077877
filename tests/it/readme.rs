//! Every command and snippet of the README and the documentation works as written, with places replaced by a simulator,
//! a local server or a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use hexport::sim::history::{Form, render};
use hexport::sim::{SimConfig, SimToken};

use crate::support::*;

/// Pages whose snippets are run.
const PAGES: [&str; 10] = [
    "README.md",
    ".github/docs/audit.md",
    ".github/docs/catalogs.md",
    ".github/docs/cost.md",
    ".github/docs/dbt.md",
    ".github/docs/inside.md",
    ".github/docs/lake.md",
    ".github/docs/nightly.md",
    ".github/docs/operations.md",
    ".github/docs/settings.md",
];

/// Lines that are not run here, by what they contain, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo install", "builds a release, which takes a quarter of an hour"),
    ("tests/run", "is what runs this test"),
    ("cargo bench", "takes minutes, and is no part of what a user runs"),
    ("benches/e2e.py", "needs a release build"),
    ("cargo fuzz", "needs a nightly toolchain"),
    (
        "s3://",
        "needs an object store: tests/it/stores.rs exports to servers of S3, Google Cloud Storage and Azure",
    ),
    (
        "az://",
        "needs an object store: tests/it/stores.rs exports to servers of S3, Google Cloud Storage and Azure",
    ),
    (
        "openmetadata_load.py",
        "needs an OpenMetadata server: tests/it/openmetadata.rs has it send to one that checks each body",
    ),
    (
        "ann@example.com",
        "every later export of the lake would need the key: tests/it/forget.rs forgets and verifies",
    ),
    ("manifest.json", "needs dbt projects: tests/it/handoff.rs and tests/it/impact.rs make them"),
    ("main/catalog.json", "needs dbt projects: tests/it/impact.rs makes them"),
    ("datahub ingest", "needs a DataHub: tests/it/datahub.rs reads the file with DataHub's own source"),
    ("set -e", "is a script that tests/it/operate.rs runs"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
    let fences: Vec<&str> = text.split("```").collect();
    assert!(fences.len() % 2 == 1, "{page} has a fence that isn't closed");
    fences
        .iter()
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .collect()
}

fn why_not_run(text: &str) -> Option<&'static str> {
    NOT_RUN.iter().find(|(part, _)| text.contains(part)).map(|(_, why)| *why)
}

/// Commands in a block, however the language writes them.
fn commands(language: &str, text: &str) -> Option<String> {
    match language {
        "sh" => Some(text.to_owned()),
        "cron" => text
            .lines()
            .map(|line| line.splitn(6, char::is_whitespace).nth(5).unwrap().trim().to_owned() + "\n")
            .reduce(|a, b| a + &b),
        "ini" => {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("ExecStart="))
                .expect("a service runs something");
            Some(line.to_owned())
        }
        "yaml" => {
            // Of a pod; other files of YAML run nothing of ours.
            let args = text.lines().find_map(|line| line.trim().strip_prefix("args: ["))?;
            Some(format!("hexport {}", args.trim_end_matches(']').replace(", ", " ")))
        }
        _ => None,
    }
}

/// A workspace, a lake with a history, and a server that takes everything.
struct Stage {
    sim: Sim,
    dir: tempfile::TempDir,
    sink: String,
    lake: PathBuf,
    table: String,
    connection: String,
    person: String,
}

impl Stage {
    fn new() -> Self {
        let token = SimToken { secret: Some(SECRET.into()), ..SimToken::default() };
        let sim = Sim::start(SimConfig { world: world_of(30), token, ..SimConfig::default() });
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("lake");
        for day in ["2025-11-01", "2026-11-01", "2026-11-24"] {
            sim.export(&lake, &["--fixed-time", &format!("{day}T02:00:00Z"), "--keep-journal"], 0);
        }
        let text = |sql: &str| ask_one(&lake, sql).as_str().unwrap().to_owned();
        let table = text("SELECT min(table_key) FROM lineage");
        let connection = text("SELECT min(connection_name) FROM lineage");
        let person = text("SELECT min(email) FROM users");
        let history = sim.server.world().query_history(0);
        let file = dir.path().join("history.csv");
        std::fs::write(&file, render("snowflake", &history, Form::Csv)).unwrap();
        let import = ["import", "query-history", lake.to_str().unwrap(), file.to_str().unwrap()];
        run(&mut hexport(&[&import[..], &["--warehouse", "snowflake"]].concat()), 0);
        std::fs::write(dir.path().join("token"), SECRET).unwrap();
        std::fs::write(dir.path().join("catalog.json"), r#"{"nodes": {}, "sources": {}}"#).unwrap();
        let sink = sim.block_on(sink());
        // The program by the name that the pages call it.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hexport"), dir.path().join("hexport")).unwrap();
        Self { sim, lake, dir, sink, table, connection, person }
    }

    /// The text with every place that isn't on this machine replaced.
    fn replaced(&self, text: &str) -> String {
        let dir = self.dir.path().to_str().unwrap();
        let lake = self.lake.to_str().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut text = text.to_owned();
        for (from, to) in [
            ("/usr/local/bin/hexport", "hexport"),
            ("cargo run -- demo", "hexport demo --projects 20"),
            ("cargo run --", "hexport"),
            ("/data/lake/hex", lake),
            ("/tmp/lake", &format!("{dir}/other")),
            ("export, /lake", "export, LAKE"),
            ("https://app.hex.tech", &self.sim.server.url()),
            ("hxtp_...", SECRET),
            ("OPENLINEAGE_API_KEY=...", "OPENLINEAGE_API_KEY=key"),
            ("/run/secrets/hex-token", &format!("{dir}/token")),
            ("/etc/hexport/token", &format!("{dir}/token")),
            ("/var/lib/node_exporter", dir),
            ("https://catalog.example", &self.sink),
            ("history.parquet", &format!("{dir}/history.csv")),
            ("https://datahub.example", &self.sink),
            ("ada@acme.example", &self.person),
            ("core.orders", &self.table),
            ("core.raw_orders", "core.raw_orders"),
            ("--connection Warehouse", &format!("--connection '{}'", self.connection)),
            ("hexport init ", &format!("hexport init {lake} --force ")),
            ("--projects 3000 --limit 60", &format!("--projects 20 --limit 9999 --port {port}")),
            ("127.0.0.1:8787", &format!("127.0.0.1:{port}")),
            ("$(cat /run/secrets/pseudonym-key)", "of-the-test-and-long-enough"),
            ("\"catalog.json\"", &format!("\"{dir}/catalog.json\"")),
        ] {
            text = text.replace(from, to);
        }
        text.replace("hexport export /lake ", &format!("hexport export {lake} "))
    }

    /// A command of the shell that has what a user has.
    fn shell(&self, script: &str) -> Command {
        let path = std::env::join_paths(
            std::iter::once(self.dir.path().to_owned()).chain(std::env::split_paths(&path_with_venv())),
        );
        let mut command = Command::new("bash");
        let like = self.sim.hexport(&[]);
        command
            .env_clear()
            .envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("PATH", path.unwrap())
            .env("HEXPORT_SLACK_URL", &self.sink)
            .current_dir(self.dir.path())
            .args(["-c", script]);
        command
    }

    /// Runs a block as one script. A line may end with 7 if it asks for that.
    fn run(&self, page: &str, text: &str) {
        let mut script = String::from(
            "ended() { [ \"$1\" = 7 ] && [ \"$2\" = audited ] || { echo \"ended with $1: line $3\" >&2; exit 1; }; }\n",
        );
        for line in self.replaced(text).lines() {
            let line = line.split("  #").next().unwrap().trim_end();
            let kind = if line.contains("--fail-on") { "audited" } else { "plain" };
            match line {
                "" => {}
                line if line.starts_with('#') => {}
                line if line.starts_with("export HEX_") || line.ends_with('&') => {
                    script += &format!("{line}\n")
                }
                line => script += &format!("{line} || ended $? {kind} '{}'\n", line.replace('\'', "")),
            }
        }
        script += "kill $(jobs -p) 2>/dev/null\nexit 0\n";
        let out = self.shell(&script).stdin(std::process::Stdio::null()).output().unwrap();
        assert_no_secret(&out.stdout, page);
        assert!(out.status.success(), "{page}:\n{script}\n{}{}", stdout(&out), stderr(&out));
    }
}

/// A server that answers 200 to everything. Gives its address.
async fn sink() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(async || "ok");
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

#[test]
fn every_command_of_the_pages_works() {
    let stage = Stage::new();
    let mut run = 0;
    for page in PAGES {
        for (language, text) in blocks(page) {
            let Some(commands) = commands(&language, &text) else { continue };
            let lines: Vec<&str> = match commands.contains("set -e") {
                true => Vec::new(),
                false => commands.lines().filter(|line| why_not_run(line).is_none()).collect(),
            };
            if !lines.is_empty() {
                stage.run(page, &lines.join("\n"));
                run += lines.len();
            }
        }
    }
    assert!(run > 40, "only {run} lines were found");
}

#[test]
fn every_exception_is_still_needed() {
    let all: String = PAGES.iter().flat_map(|page| blocks(page)).map(|(_, text)| text).collect();
    for (part, why) in NOT_RUN {
        assert!(all.contains(part), "no page has '{part}' ({why})");
    }
}

#[test]
fn every_setting_of_the_pages_is_one() {
    let stage = Stage::new();
    let file = stage.dir.path().join("snippet.toml");
    let lake = stage.lake.to_str().unwrap();
    let mut checked = 0;
    for page in PAGES {
        for (_, text) in blocks(page).into_iter().filter(|(language, _)| language == "toml") {
            std::fs::write(&file, stage.replaced(&text)).unwrap();
            for command in
                [vec!["audit", lake], vec!["plan", lake], vec!["access", lake, "--person", &stage.person]]
            {
                let mut args = vec!["--config", file.to_str().unwrap()];
                args.extend(command);
                run(&mut stage.sim.hexport(&args), 0);
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 5);
}

#[test]
fn every_sql_of_the_pages_runs() {
    let stage = Stage::new();
    let rules = stage.dir.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let mut checked = 0;
    for page in PAGES {
        for (_, text) in blocks(page).into_iter().filter(|(language, _)| language == "sql") {
            assert!(text.starts_with("-- looks for: "), "{page}: not a rule: {text}");
            // So that it finds something: any table, whoever views it.
            let sql = text.replace("= 'orders'", "IS NOT NULL").replace("app_views_last_30_days = 0", "true");
            assert_ne!(sql, text);
            std::fs::write(rules.join("from-the-page.sql"), sql.replace("p.true", "true")).unwrap();
            let script = format!(
                "hexport audit '{}' --own-rules '{}' --rules from-the-page --output json",
                stage.lake.display(),
                rules.display()
            );
            let out = run(&mut stage.shell(&script), 0);
            let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            let first = &found["findings"][0];
            assert!(first["evidence"].as_str().unwrap().starts_with("it reads "), "{found}");
            assert!(first["owner"].is_string(), "{found}");
            std::fs::write(rules.join("from-the-page.sql"), &text).unwrap();
            run(&mut stage.shell(&script), 0);
            checked += 1;
        }
    }
    assert_eq!(checked, 1);
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let mut links = 0;
    for page in
        PAGES.iter().chain(&[".github/CONTRIBUTING.md", ".github/CHANGELOG.md", ".github/SECURITY.md"])
    {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        // What stands between fences is code.
        let text: String = text.split("```").step_by(2).collect();
        let folder = root().join(page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{page}: {link}");
                links += 1;
            }
        }
    }
    assert!(links > 10);
}

#[test]
fn the_settings_page_lists_the_exit_codes_and_flags_that_help_lists() {
    let page = std::fs::read_to_string(root().join(".github/docs/settings.md")).unwrap();
    let help = stdout(&run(&mut hexport(&["--help"]), 0));
    let codes = help.split("Exit codes:").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut listed = 0;
    for line in codes.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(page.contains(&format!("| {code} | {} |", meaning.trim())), "{line}");
        listed += 1;
    }
    assert_eq!(listed, 13);
    let export = stdout(&run(&mut hexport(&["export", "--help"]), 0));
    for flag in page.split("`--").skip(1).filter_map(|rest| rest.split(['`', ' ', '=', '[']).next()) {
        assert!(export.contains(&format!("--{flag}")), "--{flag}");
    }
}

#[test]
fn the_page_of_the_lake_names_every_table() {
    let page = std::fs::read_to_string(root().join(".github/docs/lake.md")).unwrap();
    let listed = page.split("## Tables").nth(1).unwrap().split("## Other engines").next().unwrap();
    for table in hexport::registry::all() {
        assert!(listed.contains(&format!("`{}`", table.name)), "{}", table.name);
    }
}
