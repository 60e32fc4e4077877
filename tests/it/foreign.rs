//! Servers that we didn't write: older, newer, sloppier than the description.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, header};
use serde_json::{Value, json};

use crate::support::*;

/// What a foreign server answers, by path and query.
type Answers = fn(&str, &HashMap<String, String>) -> Option<Value>;

struct Foreign {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

/// Serves `answers`; the first three requests are refused, with each form of `Retry-After` and without.
fn foreign(answers: Answers) -> Foreign {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, count) = (asked.clone(), Arc::new(AtomicU32::new(0)));
    let handler = move |request: Request| {
        let (log, number) = (log.clone(), count.fetch_add(1, Ordering::SeqCst));
        async move {
            let path = request.uri().path().strip_prefix("/custom/v1").unwrap_or("").to_owned();
            let query = url::form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes())
                .into_owned()
                .collect();
            if number < 3 {
                let refusal = Response::builder().status(429);
                let soon =
                    httpdate::fmt_http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(1));
                let refusal = match number {
                    0 => refusal.header(header::RETRY_AFTER, "1"),
                    1 => refusal.header(header::RETRY_AFTER, soon),
                    _ => refusal,
                };
                return refusal.body(Body::from("<html>slow down</html>")).unwrap();
            }
            log.lock().unwrap().push(request.uri().to_string());
            match answers(&path, &query) {
                Some(value) => Response::new(Body::from(value.to_string())),
                None => Response::builder().status(404).body(Body::from("nothing here")).unwrap(),
            }
        }
    };
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/custom/v1", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() });
    Foreign { url, asked, _runtime: runtime }
}

fn export(server: &Foreign, lake: &std::path::Path, code: i32) -> String {
    let mut command = hexport(&["export", lake.to_str().unwrap(), "--rate", "unlimited"]);
    stderr(&run(command.env("HEX_API_URL", &server.url).env("HEX_API_TOKEN", SECRET), code))
}

/// Runs of the sloppy server, the oldest first.
fn runs() -> Vec<Value> {
    let run = |n: u32| {
        json!({"runId": format!("run/{n}"), "status": if n == 4 { "WAITING_FOR_GODOT" } else { "COMPLETED" },
               "startTime": format!("2026-10-0{}T01:02:03", n + 1), "elapsedTime": "1500", "runTrigger": null})
    };
    (0..5).map(run).collect()
}

/// Small pages whatever was asked for, cursors with signs that mean something in a URL, identifiers that are no
/// UUIDs, numbers as text, times without a zone, nulls and omissions, runs in the wrong order.
fn sloppy(path: &str, query: &HashMap<String, String>) -> Option<Value> {
    let after = query.get("after").map(String::as_str);
    Some(match (path, after) {
        ("/users/me", _) => json!({"org": {"id": "org-1"}, "somethingElse": true}),
        ("/projects", None) => {
            json!({"values": [{"id": "A/1", "title": "First", "lastPublishedAt": "2026-10-01 02:03:04+02:00",
            "analytics": {"appViews": {"allTime": "12"}}, "owner": null, "categories": null, "schedules": null, "sharing": null}],
            "pagination": {"after": "a+b/c=&d", "before": null}})
        }
        ("/projects", Some("a+b/c=&d")) => json!({"values": [{"id": "B 2"}], "pagination": {"after": ""}}),
        ("/users", _) => json!({"values": [{"id": "u1", "email": "a@b.example", "role": "WIZARD"}]}),
        ("/groups" | "/collections" | "/data-connections", _) => json!({"values": [], "pagination": null}),
        ("/projects/A%2F1/queriedTables", _) => {
            json!({"values": [{"dataConnectionId": "c1", "tableName": "x.y.z"}]})
        }
        ("/projects/A%2F1/runs", _) => {
            let offset: usize = query.get("offset").map_or(0, |o| o.parse().unwrap());
            let page: Vec<Value> = runs().into_iter().skip(offset).take(2).collect();
            let next = (offset + 2 < 5).then(|| format!("/projects/A%2F1/runs?offset={}", offset + 2));
            json!({"runs": page, "nextPage": next})
        }
        ("/cells", _) if query["projectId"] == "A/1" => json!({"values": [{"id": "cell", "cellType": "SQL",
            "contents": {"sqlCell": {"source": "select 1"}}}], "pagination": {}}),
        ("/cells", _) => json!({"values": []}),
        // Threads, topics and guides are too new for it.
        _ => return None,
    })
}

#[test]
fn a_sloppy_server_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = foreign(sloppy);
    let said = export(&server, dir.path(), 0);
    assert!(said.contains("was refused (429)"), "{said}");
    let rows = |sql: &str| json!(ask(dir.path(), sql));
    assert_eq!(
        rows(
            "SELECT project_id, title, app_views_all_time, last_published_at::VARCHAR FROM projects ORDER BY ALL"
        ),
        json!([["A/1", "First", 12, "2026-10-01 00:03:04+00"], ["B 2", null, null, null]])
    );
    assert_eq!(rows("SELECT email, role FROM users"), json!([["a@b.example", "WIZARD"]]));
    assert_eq!(
        rows("SELECT count(*), count(DISTINCT run_id), sum(duration_seconds) FROM runs"),
        json!([[5, 5, 7.5]])
    );
    assert_eq!(rows("SELECT static_id, source FROM cells"), json!([["cell", "select 1"]]));
    assert_eq!(rows("SELECT table_key, evidence FROM lineage"), json!([["x.y.z", ["queried"]]]));
    assert_eq!(
        rows(
            "SELECT operation FROM crawl_coverage WHERE state = 'failed' AND entity_id IS NULL ORDER BY ALL"
        ),
        json!([["ListDraftGuides"], ["ListThreads"], ["ListTopics"]])
    );

    // Its runs come in the wrong order: a known one on the first page doesn't mean that all others are known.
    server.asked.lock().unwrap().clear();
    export(&server, dir.path(), 0);
    let pages = server.asked.lock().unwrap().iter().filter(|target| target.contains("/runs")).count();
    assert_eq!(pages, 3, "{:?}", server.asked.lock().unwrap());
}

#[test]
fn a_cursor_that_goes_round_in_a_circle_is_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = foreign(|path, query| {
        let next = match query.get("after").map(String::as_str) {
            None | Some("two") => "one",
            _ => "two",
        };
        match path {
            "/users/me" => Some(json!({"org": {"id": "o"}})),
            "/projects" => {
                Some(json!({"values": [{"id": format!("p-{next}")}], "pagination": {"after": next}}))
            }
            "/cells" => Some(json!({"values": []})),
            _ => None,
        }
    });
    let said = export(&server, dir.path(), 5);
    assert!(said.contains("go in a circle"), "{said}");
    assert!(verify(dir.path()).is_none(), "half a list of projects is not committed");
}

#[test]
fn a_page_that_is_not_hex_is_told_and_nothing_is_committed() {
    for (answer, expected) in
        [("<html>Sign in</html>", "other than Hex's JSON"), ("{\"hello\": 1}", "has no array")]
    {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(move || async move { answer });
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut command = hexport(&["export", dir.path().to_str().unwrap(), "--rate", "unlimited"]);
        let said = stderr(&run(command.env("HEX_API_URL", url).env("HEX_API_TOKEN", SECRET), 5));
        assert!(said.contains(expected) && said.contains("HEX_API_URL"), "{said}");
        assert!(verify(dir.path()).is_none());
    }
}
