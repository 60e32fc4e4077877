//! `hexport check`: token, URL, reach and limits.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::exit::{Code, Failure};
use super::progress::Reporter;
use super::settings::{ApiArgs, Settings};
use super::{Output, Ui, render};
use crate::client::users::Me;
use crate::client::{ApiRequest, Client, Error, GroupPace, LimitHeaders, Response, operation, split_page};
use crate::crawl::{Endpoint, Need, ProjectFacts, Scope};

/// Attempts at `Me`, which may fail for good.
const ATTEMPTS: u32 = 3;

/// Arguments of `hexport check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    api: ApiArgs,
}

/// Answer of one endpoint.
#[derive(Debug, Serialize)]
struct Reach {
    endpoint: &'static str,
    answer: &'static str,
    detail: String,
}

/// Asks each endpoint once, for one item, and prints what came of it.
///
/// # Errors
/// If the token or the URL doesn't work.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let api = args.api.connect_briefly(settings, Arc::new(Reporter::new(ui)))?;
    show(&api.client, args.output).await?;
    Ok(Code::Complete)
}

/// Checks the API behind a client and prints what it answers.
///
/// # Errors
/// If the token or the URL doesn't work.
pub async fn show(client: &Client, output: Output) -> Result<(), Failure> {
    let mut reach = Vec::new();
    let mut last = LimitHeaders::default();
    let me = match client.send(&ApiRequest::new(&operation::ME, &[]).at_most(ATTEMPTS)).await {
        Ok(response) => {
            last = response.limit.clone();
            Some(serde_json::from_slice(&response.body).unwrap_or_default())
        }
        // Nothing depends on Me alone: it was seen to fail for workspace tokens (hex-api.md).
        Err(error @ Error::Api { .. }) => {
            let (answer, detail) =
                refusal(error, "this token can't say who it acts as; name the workspace with --workspace-id");
            reach.push(Reach { endpoint: operation::ME.id, answer, detail });
            None
        }
        Err(error) => return Err(error.into()),
    };
    let mut project = None;
    let mut group = None;
    for endpoint in Endpoint::ALL {
        let entity = match endpoint.scope() {
            Scope::Workspace => None,
            Scope::Group => group.as_deref(),
            Scope::Project => project.as_deref(),
        };
        if endpoint.scope() != Scope::Workspace && entity.is_none() {
            let detail = "there is nothing to ask about".to_owned();
            reach.push(Reach { endpoint: endpoint.name(), answer: "not asked", detail });
            continue;
        }
        let result = client.send(&one_item(endpoint, entity)).await;
        if let Ok(response) = &result {
            last = response.limit.clone();
            if endpoint == Endpoint::PROJECTS {
                project = first_project(response);
            } else if endpoint == Endpoint::GROUPS {
                group = first_id(response);
            }
        }
        reach.push(outcome(endpoint, result)?);
    }
    match output {
        Output::Json => print_json(client, &me.unwrap_or_default(), &last, &reach),
        Output::Table => print_text(client, me.as_ref(), &reach),
    }
    Ok(())
}

fn one_item(endpoint: Endpoint, entity: Option<&str>) -> ApiRequest {
    // One published project tells about all three things asked of projects.
    let most = if endpoint == Endpoint::PROJECTS { 100 } else { 1 };
    let request = endpoint.first_request(entity);
    if endpoint.operation().listing.is_some() { request.with_query("limit", most) } else { request }
}

fn first_project(response: &Response) -> Option<String> {
    let page = split_page(&operation::LIST_PROJECTS.listing?, &response.body).ok()?;
    let projects: Vec<ProjectFacts> =
        page.items.iter().filter_map(|item| ProjectFacts::read(item.get())).collect();
    let published = projects.iter().find(|p| p.published.is_some()).or(projects.first())?;
    Some(published.id.to_string())
}

fn first_id(response: &Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    Some(body.pointer("/values/0/id")?.as_str()?.to_owned())
}

fn outcome(endpoint: Endpoint, result: Result<Response, Error>) -> Result<Reach, Failure> {
    let (answer, detail) = match result {
        Ok(_) => ("ok", String::new()),
        // Without the list of projects there is nothing to export; any other scope may be missing.
        Err(error @ Error::Api { status: 401, .. }) if endpoint.spec().need == Need::Required => {
            return Err(error.into());
        }
        Err(error @ Error::Silent { .. }) => return Err(error.into()),
        // Of the projects looked at none is published: a draft has no runs, and so no queried tables.
        Err(Error::Api { status: 422, .. }) if endpoint.scope() == Scope::Project => {
            ("ok", "no published project to ask about".to_owned())
        }
        Err(error) => {
            let why = if endpoint == Endpoint::QUERIED_TABLES {
                "needs Hex's Enterprise plan; no token helps"
            } else if endpoint == Endpoint::THREADS {
                "needs a manager's or admin's token"
            } else if endpoint == Endpoint::COMPONENT_IMPORTS {
                "Hex enables the export of projects on request"
            } else {
                "the token's user or scope doesn't allow it"
            };
            refusal(error, why)
        }
    };
    Ok(Reach { endpoint: endpoint.name(), answer, detail })
}

/// The word for an error, and what is behind it; `why` is the reason where it is refused.
fn refusal(error: Error, why: &str) -> (&'static str, String) {
    match error {
        Error::Api { status: 401 | 403, body, .. } => ("forbidden", format!("{why}{body}")),
        Error::Api { status: 404, .. } => ("absent", "this server doesn't have it".to_owned()),
        error => ("failed", error.to_string()),
    }
}

fn who(me: &Me) -> String {
    match (&me.name, &me.email) {
        (Some(name), Some(email)) => {
            format!("{name} <{email}>, {}", me.role.as_deref().unwrap_or("role unknown"))
        }
        (None, Some(email)) => email.clone(),
        _ => "a workspace token".into(),
    }
}

/// When the token expires.
fn expiry(me: &Me) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(me.token.as_ref()?.exp? as i64, 0)
}

/// Limits of a group: those that the server announced in this check, else those that hexport keeps unasked.
fn limit_json(group: &GroupPace) -> Value {
    let announced: Vec<Value> = group
        .announced
        .iter()
        .map(|(requests, seconds)| json!({"requests": requests, "window_seconds": seconds}))
        .collect();
    json!({
        "group": group.name, "requests_per_minute": group.per_minute, "requests_per_hour": group.per_hour,
        "announced": announced, "measured": !group.announced.is_empty(), "asked": group.used,
    })
}

fn print_json(client: &Client, me: &Me, last: &LimitHeaders, reach: &[Reach]) {
    let result = json!({
        "url": client.base_url().as_str(), "user": me.email, "name": me.name, "role": me.role, "org_id": me.org.id,
        "token_expires_at": expiry(me),
        "limit": {
            "requests": last.policies.first().map(|policy| policy.requests), "remaining": last.remaining,
            "reset_seconds": last.reset.map(|reset| reset.as_secs_f64()),
        },
        "limits": client.limits().iter().map(limit_json).collect::<Vec<_>>(),
        "requests_per_minute": client.total_limit(), "endpoints": reach,
    });
    println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
}

fn print_text(client: &Client, me: Option<&Me>, reach: &[Reach]) {
    println!("{} answers", client.base_url());
    match me {
        Some(me) => println!("who:    {}, of the workspace {}", who(me), me.org.id),
        None => println!("who:    unknown"),
    }
    match me.and_then(expiry) {
        Some(at) => println!("token:  expires {}", at.format("%Y-%m-%d")),
        None => println!("token:  no expiry announced"),
    }
    match client.total_limit() {
        Some(rate) => println!("rate:   at most {rate:.0} requests a minute over all groups (--rate)"),
        None => println!("rate:   no cap over all groups; each keeps its own limit"),
    }
    let mut limits = render::table(&["Group", "A minute", "An hour", "Where from"], &[1, 2]);
    for group in client.limits() {
        let figure = |figure: Option<f64>| figure.map_or("unlimited".to_owned(), |n| format!("{n:.0}"));
        let hour = group.per_hour.map_or(String::new(), |n| format!("{n:.0}"));
        limits.add_row([group.name.clone(), figure(group.per_minute), hour, origin(&group)]);
    }
    println!("\n{limits}");
    let mut table = render::table(&["Endpoint", "Answer", "Why"], &[]);
    for r in reach {
        table.add_row([r.endpoint, r.answer, &r.detail]);
    }
    println!("\n{table}");
}

/// Origin of a group's figures.
fn origin(group: &GroupPace) -> String {
    let announced: Vec<String> = group
        .announced
        .iter()
        .map(|(requests, seconds)| format!("{requests} requests in {seconds} s"))
        .collect();
    match (announced.is_empty(), group.used) {
        (false, _) => format!("measured: the server announces {}", announced.join(" and ")),
        (true, true) => "documented or set; responses announce none".into(),
        (true, false) => "documented or set; no request of the group was sent".into(),
    }
}
