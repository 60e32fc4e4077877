//! A simulated Hex workspace: a deterministic generator and an HTTP server that follows Hex's published
//! description.
//!
//! The same seed and size give the same workspace, byte for byte, and the generator knows the truth about
//! it: tests compare what an export wrote with [`World`], not with a second run of the exporter.

mod api;
mod call;
mod changes;
mod clock;
mod faults;
pub mod history;
mod in_process;
mod limits;
mod live;
mod page;
mod rng;
mod server;
mod sql;
mod world;

pub use api::{Route, routes};
pub use changes::Change;
pub use clock::Clock;
pub use faults::{Faults, PageFault, Refusal, Refused};
pub use in_process::InProcess;
#[cfg(test)]
pub(crate) use limits::SimCounters;
pub use limits::{Counting, LimitForm, LimitKind, Limits, RateLimit};
pub use server::{RequestRecord, SimConfig, SimServer, SimToken};
pub use sql::{CellTruth, TableRef};
pub use world::{ApiRun, Authored, Plan, ProjectRecord, RunSpec, SemanticProject, World, WorldConfig};

/// Runs an example of the documentation: with a client of a simulated workspace, and the workspace as it was
/// when it began.
///
/// # Panics
/// If the example fails.
pub fn try_out<F>(example: F)
where
    F: AsyncFnOnce(crate::client::Client, World) -> Result<(), crate::client::Error>,
{
    use crate::client::{BaseUrl, Client, ClientConfig, Pace, Token};
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let world = WorldConfig { projects: 20, ..WorldConfig::default() };
        let config = SimConfig { world: world.clone(), ..SimConfig::default() };
        let server = SimServer::start(config, ([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let url = BaseUrl::new(&server.url()).expect("a loopback address");
        let mut config = ClientConfig::new(url, Token::new("example").expect("a token"));
        config.pace = Pace::unlimited();
        let client = Client::new(config).expect("a client");
        example(client, World::generate(world)).await.expect("the example works");
    });
}
