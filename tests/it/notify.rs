//! Telling people, to receivers that are real servers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use serde_json::Value;

use crate::support::*;

/// A receiver of webhooks: what it was sent, and the statuses that it answers with, the last again and again.
struct Receiver {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start(sim: &Sim, statuses: &'static [u16]) -> Self {
        let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (kept, asked) = (bodies.clone(), Arc::new(Mutex::new(0)));
        let handler = move |body: axum::body::Bytes| {
            let (kept, asked) = (kept.clone(), asked.clone());
            async move {
                let mut asked = asked.lock().unwrap();
                let status = statuses[(*asked).min(statuses.len() - 1)];
                *asked += 1;
                if status == 200 {
                    kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                axum::http::Response::builder()
                    .status(status)
                    .header("retry-after", "0")
                    .body(axum::body::Body::from("said"))
                    .unwrap()
            }
        };
        let url = sim.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/services/s3cretpath", listener.local_addr().unwrap());
            let app = axum::Router::new().fallback(handler);
            tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
            url
        });
        Self { url, bodies }
    }

    fn taken(&self) -> Vec<Value> {
        std::mem::take(&mut self.bodies.lock().unwrap())
    }
}

fn tell(lake: &Path, to: &str, receiver: &Receiver, more: &[&str], code: i32) -> String {
    let variable = format!("HEXPORT_{}_URL", to.to_uppercase());
    let args = [&["notify", lake.to_str().unwrap(), "--to", to], more].concat();
    let out = run(hexport(&args).env(variable, &receiver.url), code);
    let said = format!("{}{}", stdout(&out), stderr(&out));
    assert!(!said.contains("s3cretpath"), "the address is a secret: {said}");
    said
}

/// Nights on which a project has an owner who has left, or one who hasn't.
fn nights(sim: &Sim, lake: &Path, night: &str, owner_left: bool) -> String {
    let mut world = sim.server.world_mut();
    let somebody = world.users[1].email.clone();
    let at = world.projects.iter().position(|r| r.project.last_published_at.is_some()).unwrap();
    let project = &mut world.projects[at].project;
    project.title = "<!channel> *Bold* [link](http://x) & more".into();
    project.owner.email = if owner_left { "left@acme.example".into() } else { somebody };
    (project.archived_at, project.trashed_at) = (None, None);
    drop(world);
    sim.export(lake, &["--fixed-time", &format!("2026-11-{night}T06:00:00Z")], 0);
    "left@acme.example".into()
}

#[test]
fn each_receiver_is_told_what_is_new_and_what_is_resolved_once() {
    for to in ["slack", "teams", "webhook"] {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path();
        let sim = Sim::of_projects(40);
        let receiver = Receiver::start(&sim, &[429, 503, 200]);
        nights(&sim, lake, "02", false);
        let dry = tell(lake, to, &receiver, &["--dry-run"], 0);
        assert!(receiver.taken().is_empty() && dry.contains("2026-11-02T060000Z"), "{dry}");
        // So is one by somebody who has no address yet.
        let nowhere = ["notify", lake.to_str().unwrap(), "--to", to];
        let out = run(&mut hexport(&[&nowhere[..], &["--dry-run"]].concat()), 0);
        assert!(!stdout(&out).is_empty() && dry.starts_with(&stdout(&out)), "{to}: {dry}");
        assert!(stderr(&out).contains("set HEXPORT_"), "{}", stderr(&out));
        assert!(stderr(&run(&mut hexport(&nowhere), 2)).contains("set HEXPORT_"));
        // First one summary, after two refusals.
        tell(lake, to, &receiver, &[], 0);
        let first = receiver.taken();
        assert_eq!(first.len(), 1, "{to}");
        tell(lake, to, &receiver, &[], 0);
        assert!(receiver.taken().is_empty(), "{to}: nothing is new");
        let owner = nights(&sim, lake, "03", true);
        tell(lake, to, &receiver, &[], 0);
        let second = receiver.taken();
        assert_eq!(second.len(), 1, "{to}");
        let text = second[0].to_string();
        assert!(text.contains("owner-left") && text.contains(&owner), "{text}");
        assert!(!text.contains("<!channel>") || to != "slack", "{text}");
        checked(to, &second[0]);
        checked(to, &first[0]);
        nights(&sim, lake, "04", false);
        tell(lake, to, &receiver, &[], 0);
        let third = receiver.taken();
        assert!(third[0].to_string().to_lowercase().contains("resolved"), "{}", third[0]);
        assert!(third[0].to_string().contains("owner-left"), "{}", third[0]);
    }
}

/// What the receivers document.
fn checked(to: &str, body: &Value) {
    match to {
        "slack" => {
            let blocks = body["blocks"].as_array().unwrap();
            assert!(!body["text"].as_str().unwrap().is_empty() && blocks.len() <= 50);
            for block in blocks {
                let text = block["text"]["text"].as_str().unwrap();
                match block["type"].as_str().unwrap() {
                    "header" => {
                        assert!(block["text"]["type"] == "plain_text" && text.chars().count() <= 150)
                    }
                    "section" => assert!(block["text"]["type"] == "mrkdwn" && text.chars().count() <= 3000),
                    other => panic!("{other}"),
                }
            }
            assert!(body.to_string().len() < 13_000);
        }
        "teams" => {
            assert_eq!(body["type"], "message");
            let attachment = &body["attachments"][0];
            assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
            let card = &attachment["content"];
            assert!(card["type"] == "AdaptiveCard" && card["version"] == "1.4");
            for block in card["body"].as_array().unwrap() {
                assert!(block["type"] == "TextBlock" && block["text"].is_string());
            }
            assert!(body.to_string().len() < 28_000);
        }
        _ => {
            assert_eq!(body["version"], 1);
            assert!(body["new"].is_array() && body["resolved"].is_array() && body["open"].is_object());
        }
    }
}

#[test]
fn a_receiver_that_fails_is_told_again_and_an_export_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(30);
    let broken = Receiver::start(&sim, &[404]);
    nights(&sim, &lake, "02", true);
    let said = tell(&lake, "slack", &broken, &[], 6);
    assert!(said.contains("404") && said.contains("127.0.0.1"), "{said}");
    let settings = dir.path().join("hexport.toml");
    std::fs::write(&settings, "[notify]\nto = [\"slack\"]\n").unwrap();
    let metrics = dir.path().join("metrics.prom");
    let export = |receiver: &Receiver, night: &str| {
        let at = format!("2026-11-{night}T06:00:00Z");
        let args = [
            "export",
            lake.to_str().unwrap(),
            "--fixed-time",
            &at,
            "--config",
            settings.to_str().unwrap(),
            "--metrics-file",
            metrics.to_str().unwrap(),
        ];
        let out = run(sim.hexport(&args).env("HEXPORT_SLACK_URL", &receiver.url), 0);
        (format!("{}{}", stdout(&out), stderr(&out)), std::fs::read_to_string(&metrics).unwrap())
    };
    let (said, figures) = export(&broken, "03");
    assert!(said.contains("404") && !said.contains("s3cretpath"), "{said}");
    assert!(figures.contains("hexport_notifications_failed 1"), "{figures}");
    let works = Receiver::start(&sim, &[200]);
    let (_, figures) = export(&works, "04");
    assert!(figures.contains("hexport_notifications_failed 0"), "{figures}");
    assert_eq!(works.taken().len(), 1);
    // No address, and one that isn't one.
    let args = ["notify", lake.to_str().unwrap(), "--to", "slack"];
    assert!(stderr(&run(&mut hexport(&args), 2)).contains("HEXPORT_SLACK_URL"));
    let out = run(hexport(&args).env("HEXPORT_SLACK_URL", "http://hooks.example/s3cretpath"), 2);
    assert!(stderr(&out).contains("unencrypted") && !stderr(&out).contains("s3cretpath"));
    assert!(stderr(&run(&mut hexport(&args[..2]), 2)).contains("--to"));
}

#[test]
fn findings_are_routed_by_owner_and_rule() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(40);
    let (usual, routed) = (Receiver::start(&sim, &[200]), Receiver::start(&sim, &[200]));
    let settings = dir.path().join("hexport.toml");
    let file = dir.path().join("address");
    std::fs::write(&file, format!("{}\n", routed.url)).unwrap();
    std::fs::write(
        &settings,
        format!(
            "[[notify.routes]]\nto = \"webhook\"\nowner = \"left@*\"\nrule = \"owner-*\"\naddress_file = \"{}\"\n",
            file.display()
        ),
    )
    .unwrap();
    nights(&sim, &lake, "02", false);
    let config = ["--config", settings.to_str().unwrap()];
    tell(&lake, "webhook", &usual, &config, 0);
    let (all, none) = (usual.taken(), routed.taken());
    assert!(!all[0]["new"].as_array().unwrap().is_empty());
    assert!(none[0]["new"].as_array().unwrap().is_empty());
    nights(&sim, &lake, "03", true);
    tell(&lake, "webhook", &usual, &config, 0);
    let new = routed.taken();
    assert_eq!(new[0]["new"].as_array().unwrap().len(), 1, "{new:?}");
    assert_eq!(new[0]["new"][0]["owner"], "left@acme.example");
    assert!(usual.taken().iter().all(|body| !body["new"].to_string().contains("left@acme.example")));
}

/// A mail server of one conversation: what it was told.
fn mail_server() -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let talk = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut out = stream.try_clone().unwrap();
        let mut lines = Vec::new();
        let mut say = move |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        say("220 mail.example ready");
        let mut in_data = false;
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            lines.push(line.clone());
            match line.as_str() {
                "." if in_data => {
                    in_data = false;
                    say("250 queued");
                }
                _ if in_data => {}
                "DATA" => {
                    in_data = true;
                    say("354 go on");
                }
                "QUIT" => {
                    say("221 bye");
                    break;
                }
                line if line.starts_with("EHLO") => say("250-mail.example\r\n250 AUTH PLAIN"),
                line if line.starts_with("AUTH") => say("235 welcome"),
                _ => say("250 ok"),
            }
        }
        lines
    });
    (port, talk)
}

#[test]
fn email_goes_to_a_mail_server() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(30);
    nights(&sim, &lake, "02", true);
    let (port, talk) = mail_server();
    let settings = dir.path().join("hexport.toml");
    let write = |more: &str| {
        let text = format!(
            "[notify.email]\nserver = \"127.0.0.1:{port}\"\ntls = \"none\"\nfrom = \"hexport@acme.example\"\n\
             to = [\"data@acme.example\", \"ops@acme.example\"]\n{more}"
        );
        std::fs::write(&settings, text).unwrap();
    };
    write("user = \"hexport\"\n");
    let args = ["notify", lake.to_str().unwrap(), "--to", "email", "--config", settings.to_str().unwrap()];
    run(hexport(&args).env("HEXPORT_SMTP_PASSWORD", "pässword"), 0);
    let lines = talk.join().unwrap();
    let login = base64::prelude::BASE64_STANDARD.encode("\0hexport\0pässword");
    assert!(lines.contains(&format!("AUTH PLAIN {login}")), "{lines:?}");
    assert!(lines.contains(&"MAIL FROM:<hexport@acme.example>".to_owned()));
    for to in ["data", "ops"] {
        assert!(lines.contains(&format!("RCPT TO:<{to}@acme.example>")));
    }
    let body = lines.iter().position(String::is_empty).unwrap();
    let subject = lines.iter().find_map(|line| line.strip_prefix("Subject: =?utf-8?B?")).unwrap();
    let subject = base64::prelude::BASE64_STANDARD.decode(subject.trim_end_matches("?=")).unwrap();
    assert!(String::from_utf8(subject).unwrap().starts_with("Hex audit of"));
    let text: String = lines[body + 1..].iter().take_while(|line| *line != ".").map(String::as_str).collect();
    assert!(lines.iter().all(|line| line.len() <= 998));
    let text = String::from_utf8(base64::prelude::BASE64_STANDARD.decode(text).unwrap()).unwrap();
    assert!(text.contains("owner-left: "), "{text}");
    // A server that isn't there, and settings that can't be used.
    write("");
    std::fs::remove_dir_all(lake.join("_state")).unwrap();
    let out = stderr(&run(&mut hexport(&args), 6));
    assert!(out.contains("can't be reached"), "{out}");
    std::fs::write(
        &settings,
        "[notify.email]\nserver = \"mail.example:25\"\ntls = \"none\"\nfrom = \"a@b\"\nto = [\"c@d\"]\n",
    )
    .unwrap();
    assert!(stderr(&run(&mut hexport(&args), 6)).contains("this machine"));
}

/// A mail server that speaks TLS, and the folder of its certificates.
fn tls_server(
    folder: &Path,
    more: &[&str],
) -> (String, std::process::Child, BufReader<std::process::ChildStdout>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp.py");
    let mut command =
        std::process::Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"));
    command.arg(path).arg(folder).args(more).stdout(std::process::Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let mut port = String::new();
    out.read_line(&mut port).unwrap();
    (port.trim().to_owned(), server, out)
}

#[test]
fn email_changes_to_tls_before_anything_is_said_and_only_with_a_server_that_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(30);
    nights(&sim, &lake, "02", true);
    let settings = dir.path().join("hexport.toml");
    let args = ["notify", lake.to_str().unwrap(), "--to", "email", "--config", settings.to_str().unwrap()];
    let told = |more: &[&str], trusted: bool, dry: &[&str], code: i32| {
        let (port, mut server, mut out) = tls_server(dir.path(), more);
        let text = format!(
            "[notify.email]\nserver = \"localhost:{port}\"\nuser = \"hexport\"\nfrom = \"hexport@acme.example\"\n\
             to = [\"data@acme.example\"]\n"
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = hexport(&[&args[..], dry].concat());
        command.env("HEXPORT_SMTP_PASSWORD", "pässword");
        if trusted {
            command.env("SSL_CERT_FILE", dir.path().join("ca.pem"));
        }
        let done = run(&mut command, code);
        let said = format!("{}{}", stdout(&done), stderr(&done));
        assert!(!said.contains("pässword"), "{said}");
        if dry.is_empty() {
            let mut seen = String::new();
            out.read_line(&mut seen).unwrap();
            server.wait().unwrap();
            return (serde_json::from_str::<Value>(&seen).unwrap(), said);
        }
        server.kill().unwrap();
        server.wait().unwrap();
        (Value::Null, said)
    };
    let lines =
        |seen: &Value, part: &str| -> Vec<String> { serde_json::from_value(seen[part].clone()).unwrap() };
    // A dry run prints the message, and talks to nobody.
    let (_, said) = told(&[], true, &["--dry-run"], 0);
    assert!(said.contains("--- email") && said.contains("owner-left"), "{said}");
    // Nobody vouches for the server; the server has no TLS: neither login nor findings are sent.
    let (seen, said) = told(&[], false, &[], 6);
    assert_eq!(lines(&seen, "before"), ["EHLO hexport", "STARTTLS"]);
    assert!(
        lines(&seen, "within").is_empty() && said.to_lowercase().contains("certificate"),
        "{seen} {said}"
    );
    let (seen, said) = told(&["plain"], true, &[], 6);
    assert_eq!(lines(&seen, "before"), ["EHLO hexport", "STARTTLS"]);
    assert!(said.contains("refused STARTTLS"), "{said}");
    let (seen, _) = told(&[], true, &[], 0);
    assert_eq!(lines(&seen, "before"), ["EHLO hexport", "STARTTLS"]);
    let within = lines(&seen, "within");
    let login = base64::prelude::BASE64_STANDARD.encode("\0hexport\0pässword");
    assert_eq!(within[..2], ["EHLO hexport".to_owned(), format!("AUTH PLAIN {login}")]);
    assert!(within.contains(&"RCPT TO:<data@acme.example>".to_owned()) && within.contains(&".".to_owned()));
}
