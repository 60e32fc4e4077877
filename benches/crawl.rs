//! What a crawl costs, over real HTTP: time against the server's limit for each way of limiting, and the
//! requests of a second night. `cargo bench --bench crawl` prints the figures; nothing is asserted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use hexport::client::{BaseUrl, Client, ClientConfig, Pace, Token};
use hexport::crawl::{Quiet, Source, Stop};
use hexport::export::{Options, Outcome, export};
use hexport::sim::{Change, LimitKind, RateLimit, SimConfig, SimServer, WorldConfig};
use hexport::snapshot::Lake;

/// Requests that the limited server lets through in a second: Hex's limit, sixty times as fast.
const LIMIT: u32 = 60;

async fn serve(projects: usize, limit: Option<RateLimit>) -> SimServer {
    let world = WorldConfig { projects, ..WorldConfig::default() };
    let config = SimConfig { world, limit: limit.map(Into::into), ..SimConfig::default() };
    SimServer::start(config, ([127, 0, 0, 1], 0).into()).await.expect("a free port")
}

async fn run(server: &SimServer, lake: &Path, per_minute: Option<f64>) -> (Outcome, u64) {
    let url = BaseUrl::new(&server.url()).expect("the simulator's address");
    let mut config = ClientConfig::new(url, Token::new("bench").expect("a token"));
    config.pace = Pace { total: per_minute, ..Pace::unlimited() };
    let client = Client::new(config).expect("a client");
    let options = Options { base_url: "bench".into(), concurrency: 16, ..Options::default() };
    let source = Source::Api(client.clone());
    let outcome = export(source, &Lake::new(lake), options, Arc::new(Quiet), Stop::default()).await;
    (outcome.expect("an export"), client.requests_sent())
}

async fn pace() {
    println!("time of the crawl against requests / limit, and refusals, at {LIMIT} requests a second");
    for kind in [LimitKind::FixedWindow, LimitKind::SlidingWindow, LimitKind::TokenBucket] {
        for (name, factor) in [("at the limit", 1.0), ("3 x too high", 3.0)] {
            let limit = RateLimit { kind, requests: LIMIT, window: Duration::from_secs(1) };
            let server = serve(500, Some(limit)).await;
            let dir = tempfile::tempdir().expect("a folder");
            let (outcome, sent) = run(&server, dir.path(), Some(f64::from(LIMIT) * 60.0 * factor)).await;
            let refused = server.requests().iter().filter(|r| r.status == 429).count();
            let least = (sent - refused as u64) as f64 / f64::from(LIMIT);
            let ratio = outcome.crawl_seconds / least;
            println!("  {kind:?}, pace {name}: {ratio:.3} x {least:.1} s, {refused} of {sent} refused");
        }
    }
}

async fn second_night() {
    let server = serve(3000, None).await;
    let dir = tempfile::tempdir().expect("a folder");
    let (_, first) = run(&server, dir.path(), None).await;
    {
        let mut world = server.world_mut();
        let now = world.config.epoch + TimeDelta::days(1);
        for at in (0..3000).step_by(50) {
            let change = if at % 100 == 0 { Change::Edit } else { Change::Publish };
            world.change(change, at, now);
        }
    }
    let (_, second) = run(&server, dir.path(), None).await;
    let published = server.world().projects.iter().filter(|r| r.project.last_published_at.is_some()).count();
    println!(
        "second night on 3,000 projects, 2 % changed: {second} of {first} requests ({:.1} %)",
        second as f64 / first as f64 * 100.0
    );
    println!(
        "  of these {published} ask each published project for new runs, which Hex announces nowhere else"
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(pace());
    runtime.block_on(second_night());
}
