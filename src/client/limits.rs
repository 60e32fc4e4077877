//! Groups of operations that Hex counts together, with the limits that its description states.

/// A group of operations that share a request limit.
///
/// Hex names most groups in its description ("subject to the following rate limits: `hex-api`"). The figures
/// are defaults that "may vary" by workspace: what a server announces, and `[limits]` in `hexport.toml`,
/// replace them.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitGroup {
    /// Name, as Hex's description spells it where it names the group.
    pub name: &'static str,
    /// Requests a minute, counted from the first request of a window.
    pub per_minute: u32,
    /// Requests an hour, where an hourly limit exists.
    pub per_hour: Option<u32>,
}

/// Every operation for which the description states no other limit.
pub static DEFAULT: LimitGroup = LimitGroup { name: "default", per_minute: 60, per_hour: None };
/// Most of the newer operations: cells, users, threads, topics, guides, single projects.
pub static HEX_API: LimitGroup = LimitGroup { name: "hex-api", per_minute: 30, per_hour: Some(1800) };
/// Rendering charts.
pub static HEX_CHART_IMAGE: LimitGroup =
    LimitGroup { name: "hex-chart-image", per_minute: 20, per_hour: None };
/// Prompting agent threads. The description states no figure, so the general one stands in.
pub static HEX_SEND_THREAD_MESSAGE: LimitGroup =
    LimitGroup { name: "hex-send-thread-message", per_minute: 60, per_hour: None };
/// Starting runs.
pub static RUN_PROJECT: LimitGroup = LimitGroup { name: "run-project", per_minute: 20, per_hour: Some(60) };
/// Ingesting semantic projects.
pub static INGEST_SEMANTIC_PROJECT: LimitGroup =
    LimitGroup { name: "ingest-semantic-project", per_minute: 3, per_hour: None };

/// Every group.
pub static ALL: [&LimitGroup; 6] =
    [&DEFAULT, &HEX_API, &HEX_CHART_IMAGE, &HEX_SEND_THREAD_MESSAGE, &RUN_PROJECT, &INGEST_SEMANTIC_PROJECT];

/// The group of this name.
pub fn by_name(name: &str) -> Option<&'static LimitGroup> {
    ALL.into_iter().find(|group| group.name == name)
}
