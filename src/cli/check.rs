//! `hexport check`: token, URL, reach and limit.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::exit::{Code, Failure};
use super::progress::Reporter;
use super::settings::{ApiArgs, Settings};
use super::{Output, Ui, render};
use crate::client::users::Me;
use crate::client::{ApiRequest, Client, Error, LimitHeaders, Response, operation, split_page};
use crate::crawl::{Endpoint, ProjectFacts, Scope};

/// Arguments of `hexport check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    api: ApiArgs,
}

/// What one endpoint answered.
#[derive(Debug, Serialize)]
struct Reach {
    endpoint: &'static str,
    answer: &'static str,
    detail: String,
}

/// Asks each endpoint once, for one item.
///
/// # Errors
/// If the token or the URL is of no use.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let api = args.api.connect(settings, Arc::new(Reporter::new(ui)))?;
    let client = &api.client;
    let response = client.send(&ApiRequest::new(&operation::ME, &[])).await?;
    let me: Me = serde_json::from_slice(&response.body).map_err(|e| {
        Failure::new(Code::Nothing, format!("{} doesn't answer like Hex: {e}", client.base_url()))
            .next("Check HEX_API_URL.")
    })?;
    let mut limit = response.limit;
    let mut reach = Vec::new();
    let mut project = None;
    let mut group = None;
    for endpoint in Endpoint::ALL.into_iter().filter(|e| *e != Endpoint::Me) {
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
            limit = response.limit;
            match endpoint {
                Endpoint::Projects => project = first_project(response),
                Endpoint::Groups => group = first_id(response),
                _ => {}
            }
        }
        reach.push(outcome(endpoint, result)?);
    }
    match args.output {
        Output::Json => print_json(client, &me, &limit, &reach),
        Output::Table => print_text(client, &me, &limit, &reach),
    }
    Ok(Code::Complete)
}

fn one_item(endpoint: Endpoint, entity: Option<&str>) -> ApiRequest {
    // One published project tells about all three things asked of projects.
    let most = if endpoint == Endpoint::Projects { 25 } else { 1 };
    endpoint.first_request(entity).with_query("limit", most)
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
        Err(Error::Api { status: 403, body, .. }) => {
            let why = match endpoint {
                Endpoint::QueriedTables => "needs Hex's Enterprise plan",
                Endpoint::Threads => "needs a manager's or admin's token",
                _ => "the token's user or scope doesn't allow it",
            };
            ("forbidden", format!("{why}{body}"))
        }
        Err(error @ (Error::Api { status: 401, .. } | Error::CircuitOpen { .. })) => return Err(error.into()),
        Err(Error::Api { status: 404, .. }) => ("absent", "this server doesn't have it".to_owned()),
        Err(error) => ("failed", error.to_string()),
    };
    Ok(Reach { endpoint: endpoint.name(), answer, detail })
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

fn print_json(client: &Client, me: &Me, limit: &LimitHeaders, reach: &[Reach]) {
    let result = json!({
        "url": client.base_url().as_str(), "user": me.email, "name": me.name, "role": me.role, "org_id": me.org.id,
        "token_expires_at": expiry(me),
        "limit": {"requests": limit.limit, "remaining": limit.remaining, "reset_seconds": limit.reset.map(|r| r.as_secs_f64())},
        "requests_per_minute": client.per_minute(), "endpoints": reach,
    });
    println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
}

fn print_text(client: &Client, me: &Me, limit: &LimitHeaders, reach: &[Reach]) {
    println!("{} answers", client.base_url());
    println!("who:    {}, of the workspace {}", who(me), me.org.id);
    match expiry(me) {
        Some(at) => println!("token:  expires {}", at.format("%Y-%m-%d")),
        None => println!("token:  no expiry is announced"),
    }
    match limit.limit {
        Some(most) => {
            let left = limit.remaining.map_or("unknown".into(), |n| n.to_string());
            println!("limit:  {most} requests a window by the headers, {left} left");
        }
        None => println!("limit:  the headers announce none; Hex documents 60 requests a minute"),
    }
    if let Some(rate) = client.per_minute() {
        println!("pace:   {rate:.0} requests a minute");
    }
    let mut table = render::table(&["Endpoint", "Answer", "Why"], &[]);
    for r in reach {
        table.add_row([r.endpoint, r.answer, &r.detail]);
    }
    println!("\n{table}");
}
