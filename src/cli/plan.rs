//! `hexport plan`: what an export would cost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::exit::{Code, Failure};
use super::export::{WhatArgs, parse_freshness};
use super::progress::{Reporter, stop_on_signals};
use super::settings::{Api, ApiArgs, Settings, StoreArgs};
use super::{Output, Ui, render};
use crate::client::Client;
use crate::crawl::{Estimate, Freshness, Source, Stop};
use crate::export::{self, Options, Plan, Reuse};
use crate::snapshot::Lake;

/// Arguments of `hexport plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    what: WhatArgs,
    /// Plan for re-reading everything
    #[arg(long)]
    full: bool,
    /// Maximum delay in seeing a run, as in hexport export [default: exact]
    #[arg(long, value_name = "exact|DURATION", value_parser = parse_freshness)]
    freshness: Option<Freshness>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    api: ApiArgs,
}

/// Plans, and says what came of it.
///
/// # Errors
/// If the lists can't be read.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let file = &settings.file.export;
    let reporter = Arc::new(Reporter::new(ui));
    let api = args.api.connect(settings, reporter.clone())?;
    let options = Options {
        tables: args.what.tables(file)?,
        freshness: args.freshness.or(file.freshness).unwrap_or(Freshness::Exact),
        reuse: if args.full { Reuse::Nothing } else { Reuse::Unchanged },
        ..Options::default()
    };
    let lake = args.store.open(&args.dest)?;
    show(&api, &lake, options, &reporter, args.output).await
}

/// Plans an export and prints its cost.
///
/// # Errors
/// If the lists can't be read.
pub async fn show(
    api: &Api,
    lake: &Lake,
    options: Options,
    reporter: &Arc<Reporter>,
    output: Output,
) -> Result<Code, Failure> {
    let freshness = options.freshness;
    let options =
        Options { base_url: api.client.base_url().to_string(), concurrency: api.concurrency, ..options };
    let stop = Stop::default();
    stop_on_signals(&stop);
    let plan = export::plan(Source::Api(api.client.clone()), lake, &options, reporter.clone(), stop).await;
    reporter.end();
    let plan = plan?;
    let costs = Costs {
        exact: Cost::of(&plan.exact, &api.client),
        within: Cost::of(&plan.within, &api.client),
        first: Cost::of(&plan.first, &api.client),
    };
    let (estimates, cost) = match freshness {
        Freshness::Exact => (&plan.exact, &costs.exact),
        Freshness::Within(_) => (&plan.within, &costs.within),
    };
    match output {
        Output::Json => print_json(&plan, estimates, cost, &costs, &api.client),
        Output::Table => print_text(&plan, estimates, cost, &costs, &api.client),
    }
    Ok(Code::Complete)
}

/// Duration of a plan: limit groups run in parallel, so the slowest one decides.
struct Cost {
    requests: u64,
    /// Requests and minutes of each group.
    groups: BTreeMap<&'static str, (u64, Option<f64>)>,
    /// Minutes, if anything limits the rate.
    minutes: Option<f64>,
}

/// Costs of both kinds of freshness, and of a first export.
struct Costs {
    exact: Cost,
    within: Cost,
    first: Cost,
}

impl Cost {
    fn of(estimates: &[Estimate], client: &Client) -> Self {
        let limits = client.limits();
        let mut groups: BTreeMap<&'static str, (u64, Option<f64>)> = BTreeMap::new();
        for estimate in estimates {
            groups.entry(estimate.group).or_default().0 += estimate.requests;
        }
        for (name, (requests, minutes)) in &mut groups {
            let limit = limits.iter().find(|group| group.name == *name);
            let rates = limit.into_iter().flat_map(|l| [l.per_minute, l.per_hour.map(|hour| hour / 60.0)]);
            *minutes = rates.flatten().min_by(f64::total_cmp).map(|rate| *requests as f64 / rate);
        }
        let requests = estimates.iter().map(|e| e.requests).sum();
        let together = client.total_limit().map(|rate| requests as f64 / rate);
        let minutes =
            groups.values().filter_map(|(_, minutes)| *minutes).chain(together).max_by(f64::total_cmp);
        Self { requests, groups, minutes }
    }

    fn json(&self) -> Value {
        let groups = self.groups.iter().map(|(name, (requests, minutes))| {
            (name.to_string(), json!({"requests": requests, "minutes": minutes}))
        });
        json!({"requests": self.requests, "minutes": self.minutes, "groups": groups.collect::<serde_json::Map<_, _>>()})
    }

    fn time(&self) -> String {
        self.minutes.map_or("no rate limit".into(), |m| format!("about {}", render::seconds(m * 60.0)))
    }
}

fn print_json(plan: &Plan, estimates: &[Estimate], cost: &Cost, costs: &Costs, client: &Client) {
    let text = json!({
        "endpoints": estimates, "requests": cost.requests, "minutes": cost.minutes,
        "requests_per_minute": client.total_limit(), "groups": cost.json()["groups"],
        "freshness": {"exact": costs.exact.json(), "within": costs.within.json()},
        "first_export": costs.first.json(), "has_base": plan.has_base,
        "requests_spent_on_planning": client.requests_sent(),
    });
    println!("{}", serde_json::to_string_pretty(&text).unwrap_or_default());
}

fn print_text(plan: &Plan, estimates: &[Estimate], cost: &Cost, costs: &Costs, client: &Client) {
    let columns = ["Endpoint", "Group", "Requests", "Read", "Reused", "Skipped", "Why"];
    let mut table = render::table(&columns, &[2, 3, 4, 5]);
    for e in estimates {
        let count = |n| if n == 0 { String::new() } else { render::count(n) };
        table.add_row([
            e.endpoint.into(),
            e.group.into(),
            render::count(e.requests),
            count(e.read),
            count(e.reused),
            count(e.skipped),
            e.why.into(),
        ]);
    }
    println!("{table}\n");
    for (group, (requests, minutes)) in &cost.groups {
        let time = minutes.map_or(String::new(), |m| format!(", {}", render::seconds(m * 60.0)));
        println!("group {group}: {}{time}", render::counted(*requests, "request"));
    }
    println!(
        "an export sends at least {} ({}; groups run side by side); planning spent {}",
        render::counted(cost.requests, "request"),
        cost.time(),
        render::counted(client.requests_sent(), "request")
    );
    if !plan.has_base {
        println!("before a first export the number of pages isn't known: it will send more than that");
        return;
    }
    let saved = costs.exact.requests.saturating_sub(costs.within.requests);
    println!(
        "--freshness exact: {} requests, {}; 7d: {} requests, {}, {} saved; a first export: {}, {}",
        render::count(costs.exact.requests),
        costs.exact.time(),
        render::count(costs.within.requests),
        costs.within.time(),
        render::count(saved),
        render::count(costs.first.requests),
        costs.first.time()
    );
}
