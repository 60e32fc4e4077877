//! What crawls cost at Hex's own limits, in simulated time: the real client, pacer, scheduler and simulator, under a
//! clock that jumps to the next moment at which anything happens. `cargo bench --bench crawl` prints the figures;
//! nothing is asserted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hexport::client::operation::by_id;
use hexport::client::{BaseUrl, Client, ClientConfig, Token};
use hexport::crawl::{Quiet, Source, Stop};
use hexport::export::{Options, export};
use hexport::sim::{Counting, InProcess, LimitForm, LimitKind, Limits, SimConfig, SimServer, WorldConfig};
use hexport::snapshot::Lake;
use tokio::time::Instant;

const PROJECTS: usize = 3000;

fn client_of(server: &SimServer) -> Client {
    let mut config = ClientConfig::new(BaseUrl::default(), Token::new("bench").expect("a token"));
    config.transport = Some(Arc::new(InProcess::to(server)));
    Client::new(config).expect("a client")
}

fn serve(limits: Limits) -> SimServer {
    let world = WorldConfig { projects: PROJECTS, ..WorldConfig::default() };
    let faults = "latency=300ms".parse().expect("faults");
    SimServer::unbound(SimConfig { world, limit: Some(limits), faults, ..SimConfig::default() })
}

/// A first crawl: its time against the least that the limits allow.
async fn first_crawl(name: &str, limits: Limits, together: Option<f64>) {
    let server = serve(limits);
    let dir = tempfile::tempdir().expect("a folder");
    let client = client_of(&server);
    let options = Options { base_url: "bench".into(), ..Options::default() };
    let began = Instant::now();
    let done =
        export(Source::Api(client), &Lake::new(dir.path()), options, Arc::new(Quiet), Stop::default()).await;
    let took = began.elapsed();
    done.expect("an export");
    let mut accepted: BTreeMap<&str, u32> = BTreeMap::new();
    let mut refused = 0;
    for request in server.requests() {
        match request.status {
            429 => refused += 1,
            _ => {
                let operation = request.operation().and_then(by_id);
                let group = operation.map_or("default", |operation| operation.group.name);
                *accepted.entry(group).or_default() += 1;
            }
        }
    }
    let minute_of =
        |name: &str| hexport::client::limits::by_name(name).map_or(60.0, |group| f64::from(group.per_minute));
    let least = match together {
        Some(minute) => accepted.values().sum::<u32>() as f64 / minute,
        None => accepted.iter().map(|(name, n)| f64::from(*n) / minute_of(name)).fold(0.0, f64::max),
    };
    let minutes = took.as_secs_f64() / 60.0;
    let ratio = minutes / least;
    println!(
        "  {name}: {minutes:.1} min, {ratio:.3} x the least of {least:.1} min; {refused} refused; {accepted:?}"
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    println!("first crawl of {PROJECTS} projects, latency 300 ms");
    for form in [LimitForm::Fields, LimitForm::Named, LimitForm::Silent] {
        let hex = Limits { headers: form, ..Limits::hex() };
        runtime.block_on(first_crawl(&format!("Hex's groups, headers {form:?}"), hex, None));
    }
    for form in [LimitForm::Fields, LimitForm::Named, LimitForm::Silent] {
        let counting = Counting::Together(vec![(60, Duration::from_secs(60))]);
        let one = Limits { kind: LimitKind::FixedWindow, counting, headers: form };
        runtime.block_on(first_crawl(
            &format!("one counter of 60 a minute, headers {form:?}"),
            one,
            Some(60.0),
        ));
    }
}
