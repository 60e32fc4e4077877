//! `hexport simulate`: the simulator as a server.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::exit::{Code, Failure};
use crate::client::limits::DEFAULT;
use crate::sim::{
    Counting, Faults, LimitForm, LimitKind, Limits, PageFault, Plan, Refusal, SimConfig, SimServer, SimToken,
    WorldConfig, routes,
};
use crate::units::parse_duration;

/// Arguments of `hexport simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 for any free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Seed of the workspace
    #[arg(long, default_value_t = WorldConfig::default().seed)]
    seed: u64,
    /// Projects and components
    #[arg(long, default_value_t = WorldConfig::default().projects as u32, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    projects: u32,
    /// Mean number of runs of a published project
    #[arg(long, default_value_t = WorldConfig::default().runs_per_project)]
    runs_per_project: f64,
    /// Mean number of cells of a project
    #[arg(long, default_value_t = WorldConfig::default().cells_per_project)]
    cells_per_project: f64,
    /// The workspace's plan; queried tables need enterprise
    #[arg(long, value_enum, default_value_t = Plan::Enterprise)]
    plan: Plan,
    /// Request limits of each token: 'hex' for those that Hex documents for each group of operations, or a
    /// number of requests in a window for each group; no limit if not given
    #[arg(long, value_name = "hex|N")]
    limit: Option<LimitArg>,
    /// Way of counting requests against the limit
    #[arg(long, value_enum, default_value_t = LimitKind::FixedWindow)]
    limit_kind: LimitKind,
    /// Length of the window that --limit N counts in
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    limit_window: Duration,
    /// Count all operations together: with 'hex', 60 per minute
    #[arg(long, requires = "limit")]
    limit_together: bool,
    /// Headers that announce the limit
    #[arg(long, value_enum, default_value_t = LimitForm::Fields)]
    limit_headers: LimitForm,
    /// Faults, such as 429=0.05,500=0.05,reset=0.05,timeout=0.05,truncate=0.05,malformed=0.05,duplicate=0.1,
    /// shift=0.1,latency=20ms,hang=60s,retry-after=1s,seed=1
    #[arg(long, value_name = "FAULTS", default_value = "")]
    faults: Faults,
    /// Refuse an operation: OPERATION=STATUS, OPERATION:ID=STATUS for one project or group, OPERATION@2=STATUS
    /// from the second page on, *:ID=STATUS; STATUS is 400 to 599, 401-text (a bare text), html (200 and a page), lost (carried out, no response),
    /// append x3 to refuse only three requests. May be given more than once
    #[arg(long, value_name = "REFUSAL")]
    refuse: Vec<Refusal>,
    /// Break a list's pagination: OPERATION=empty (an empty page before each page), repeat (the same cursor
    /// again), circle, endless. May be given more than once
    #[arg(long, value_name = "OPERATION=FAULT", value_parser = paging)]
    paging: Vec<(String, PageFault)>,
    /// The only token accepted; any is, if none is set
    #[arg(long, env = "HEXPORT_SIM_TOKEN", hide_env_values = true)]
    accept_token: Option<String>,
    /// Treat the token as a workspace token, which has no user
    #[arg(long)]
    workspace_token: bool,
    /// Treat the token as expired
    #[arg(long)]
    expired_token: bool,
    /// Act as this user, by email, instead of the workspace's first
    #[arg(long, value_name = "EMAIL")]
    token_user: Option<String>,
    /// Operations that the token may use, separated by commas; all others are refused with 403
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',', value_parser = operation)]
    scopes: Option<Vec<String>>,
    /// Projects that the token sees, separated by commas; it sees no other
    #[arg(long, value_name = "PROJECTS", value_delimiter = ',')]
    sees: Option<Vec<String>>,
    /// Projects that the token can no longer see, separated by commas
    #[arg(long, value_name = "PROJECTS", value_delimiter = ',')]
    hide: Vec<String>,
    /// Operations that the token may not use, separated by commas
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',', value_parser = operation)]
    forbid: Vec<String>,
    /// List data connections in the short form
    #[arg(long)]
    short_connections: bool,
    /// Simulated seconds per second
    #[arg(long, default_value_t = 1.0)]
    clock_scale: f64,
    /// Time in the workspace when the server starts, such as 2026-11-02T06:00:00Z
    #[arg(long, value_name = "TIME")]
    now: Option<DateTime<Utc>>,
    /// Make the clock jump at a request: REQUEST=DURATION, such as 100=2h or 100=-1d
    #[arg(long, value_name = "REQUEST=DURATION", value_parser = clock_jump)]
    clock_jump: Option<(u64, TimeDelta)>,
    /// Maximum number of kernels running at once
    #[arg(long, default_value_t = 25)]
    kernels: usize,
    /// Changes to the workspace per request, such as 0.1: projects made, edited, published, archived,
    /// deleted, runs started
    #[arg(long, default_value_t = 0.0)]
    churn: f64,
}

fn operation(text: &str) -> Result<String, String> {
    let known = routes().find(|route| route.operation == text);
    known.map(|_| text.to_owned()).ok_or_else(|| format!("there is no operation {text}"))
}

fn paging(text: &str) -> Result<(String, PageFault), String> {
    let (name, fault) = text.split_once('=').ok_or("not OPERATION=FAULT")?;
    Ok((if name == "*" { name.to_owned() } else { operation(name)? }, fault.parse()?))
}

fn clock_jump(text: &str) -> Result<(u64, TimeDelta), String> {
    let (request, by) = text.split_once('=').ok_or("not REQUEST=DURATION")?;
    let request = request.parse().map_err(|_| format!("'{request}' is not the number of a request"))?;
    let (sign, by) = match by.strip_prefix('-') {
        Some(by) => (-1, by),
        None => (1, by),
    };
    let by = TimeDelta::from_std(parse_duration(by)?).map_err(|e| e.to_string())?;
    Ok((request, by * sign))
}

/// `--limit` as people write it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum LimitArg {
    /// Hex's own.
    Hex,
    /// So many in a window.
    Of(u32),
}

impl FromStr for LimitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("hex") {
            return Ok(Self::Hex);
        }
        let most = text.parse().ok().filter(|most| *most > 0);
        most.map(Self::Of).ok_or_else(|| "a limit is 'hex' or a number of requests from 1".into())
    }
}

fn limits(args: &Args) -> Option<Limits> {
    let counting = match (args.limit?, args.limit_together) {
        (LimitArg::Hex, false) => Counting::Groups,
        (LimitArg::Hex, true) => Counting::Together(vec![(DEFAULT.per_minute, Duration::from_secs(60))]),
        (LimitArg::Of(most), false) => Counting::GroupsOf(vec![(most, args.limit_window)]),
        (LimitArg::Of(most), true) => Counting::Together(vec![(most, args.limit_window)]),
    };
    Some(Limits { kind: args.limit_kind, counting, headers: args.limit_headers })
}

/// Serves until the process is interrupted.
///
/// # Errors
/// If the address can't be bound.
pub async fn run(args: Args) -> Result<Code, Failure> {
    let finite =
        [("--runs-per-project", args.runs_per_project), ("--cells-per-project", args.cells_per_project)];
    for (name, value) in
        finite.into_iter().chain([("--clock-scale", args.clock_scale), ("--churn", args.churn)])
    {
        if !value.is_finite() || value < 0.0 {
            return Err(Failure::new(Code::Usage, format!("{name} is not a number from 0 up")));
        }
    }
    let limit = limits(&args);
    let config = SimConfig {
        world: WorldConfig {
            seed: args.seed,
            projects: args.projects as usize,
            runs_per_project: args.runs_per_project,
            cells_per_project: args.cells_per_project,
            plan: args.plan,
            epoch: args.now.unwrap_or(WorldConfig::default().epoch),
        },
        limit,
        faults: Faults { refusals: args.refuse, paging: args.paging, ..args.faults },
        token: SimToken {
            secret: args.accept_token,
            workspace: args.workspace_token,
            user: args.token_user,
            expired: args.expired_token,
            allowed: args.scopes,
            sees: args.sees.map(HashSet::from_iter),
            hidden: args.hide.into_iter().collect(),
            forbidden: args.forbid,
            short_connections: args.short_connections,
        },
        clock_scale: args.clock_scale,
        clock_jump: args.clock_jump,
        churn: args.churn,
        kernels: args.kernels,
        record: false,
    };
    let addr = SocketAddr::new(args.host, args.port);
    let server = SimServer::start(config, addr).await.map_err(|e| {
        Failure::new(Code::Usage, format!("can't listen on {addr}: {e}"))
            .next("Name another --port, or 0 for any that is free.")
    })?;
    println!("{}/api/v1", server.url());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|e| Failure::new(Code::Nothing, format!("signals can't be awaited: {e}")))?;
    tokio::select! {
        () = server.forever() => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Ok(Code::Complete)
}
