//! A read-only Model Context Protocol server over a lake: assistants ask who reads a table, what a project reads,
//! what the audit finds, who can open what. No request goes to Hex, and no token is needed.
//!
//! <https://modelcontextprotocol.io>

mod personal;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, ServiceExt, schemars, tool, tool_handler, tool_router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::{self, Expand};
use crate::audit::{self, Severity};
use crate::handoff::impact::{self, Change};
use crate::lineage;
use crate::registry;
use crate::snapshot::{self, Lake, Manifest, TableReader, rows};
use crate::tables::AUDIT_FINDINGS;

pub use personal::Personal;

/// Rows that an answer has at most, unless it asks for fewer.
const ROWS: usize = 200;

/// Errors of a tool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lake can't be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// Access can't be determined.
    #[error(transparent)]
    Access(#[from] access::Failure),
    /// The change can't be read.
    #[error(transparent)]
    Change(#[from] impact::SqlError),
    /// The impact can't be determined.
    #[error(transparent)]
    Impact(#[from] impact::Error),
    /// The lake has no snapshot.
    #[error("the lake holds no snapshot that can be read")]
    Empty,
    /// No snapshot holds what the answer comes from. It isn't taken for an empty one.
    #[error("no snapshot holds the table {0}: export it")]
    NoTable(&'static str),
    /// Nothing has the name that was asked about.
    #[error("{0}")]
    Unknown(String),
    /// The question is about a person, and the server was started without `--personal`.
    #[error("this server was started without --personal: it answers no questions about people")]
    Personal,
    /// There is no DuckDB.
    #[error("the duckdb command isn't installed on the server's machine: SQL can't be run")]
    NoDuckDb,
    /// The query fails.
    #[error("{0}")]
    Sql(String),
    /// The query takes too long.
    #[error("the query was stopped after {} s (--sql-timeout)", .0.as_secs())]
    Late(Duration),
}

/// State of a server: the lake, and its rules about people.
#[derive(Debug, Clone)]
pub struct Config {
    /// The lake. The newest snapshot of the moment answers each question.
    pub lake: Lake,
    /// Whether answers name people.
    pub personal: Personal,
    /// Assumptions about access.
    pub access: access::Config,
    /// Patterns of sensitive tables and columns.
    pub audit: audit::Config,
    /// Maximum duration of a query.
    pub deadline: Duration,
}

/// The server.
#[derive(Debug, Clone)]
pub struct Server {
    config: Arc<Config>,
}

/// Errors that end a server before its client.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client doesn't speak the protocol.
    #[error("the client didn't begin a Model Context Protocol session")]
    Begin(#[source] Box<rmcp::service::ServerInitializeError>),
    /// The session ended by a fault.
    #[error("the Model Context Protocol session broke off")]
    Broken(#[from] tokio::task::JoinError),
}

/// Serves on standard input and output until the client ends.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let server = Server { config: Arc::new(config) };
    let running = server.serve(rmcp::transport::stdio()).await.map_err(|e| ServeError::Begin(Box::new(e)))?;
    running.waiting().await?;
    Ok(())
}

pub use sql::end_all as end_queries;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct TableArgs {
    /// A warehouse table: its whole name or the end of it, such as core.orders, in any case
    table: String,
    /// Only where this column is read
    column: Option<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct ProjectArgs {
    /// A Hex project: its identifier or its exact title
    project: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct FindingsArgs {
    /// Only findings of this severity or a higher one: info, low, medium or high
    severity: Option<String>,
    /// Only findings of this rule
    rule: Option<String>,
    /// Only findings on this entity: its identifier or exact title
    entity: Option<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct AccessArgs {
    /// Identifier or exact title of a project, to list who can open it
    project: Option<String>,
    /// Warehouse table, to list who can reach it through projects
    table: Option<String>,
    /// Email address of a person, to list what they can open; needs a server that was started with --personal
    person: Option<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct ImpactArgs {
    /// Statements: ALTER TABLE that drops or renames columns or the table, RENAME TABLE, DROP TABLE, DROP VIEW
    sql: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct QueryArgs {
    /// One SELECT in DuckDB's dialect over the tables that list_tables names
    sql: String,
}

#[tool_router]
impl Server {
    /// Lists the tables of the lake.
    #[tool(
        description = "The tables of the lake with their columns and what they mean, for query_sql",
        annotations(read_only_hint = true)
    )]
    async fn list_tables(&self) -> CallToolResult {
        self.answer(|config, manifest| {
            let is_shown =
                |column: &_| config.personal == Personal::Shown || !personal::is_personal(column);
            let tables = registry::all().filter_map(|table| {
                let entry = manifest.tables.get(table.name).filter(|entry| !entry.files.is_empty())?;
                let columns: serde_json::Map<String, Value> = table
                    .all_columns()
                    .filter(|column| is_shown(column))
                    .map(|column| (column.name.to_owned(), json!(column.doc)))
                    .collect();
                let state = entry.state.map(|state| state.name());
                Some(json!({"table": table.name, "doc": table.doc, "rows": entry.rows, "state": state, "columns": columns}))
            });
            Ok(json!({"tables": tables.collect::<Vec<_>>()}))
        })
        .await
    }

    /// Who reads and writes a table.
    #[tool(
        description = "Which Hex projects read or write a warehouse table, by which evidence, and which columns they read",
        annotations(read_only_hint = true)
    )]
    async fn who_uses_table(&self, Parameters(args): Parameters<TableArgs>) -> CallToolResult {
        self.edges(lineage::Question::Table(args.table), args.column).await
    }

    /// Tables that a project reads and writes.
    #[tool(
        description = "Which warehouse tables and columns a Hex project reads or writes",
        annotations(read_only_hint = true)
    )]
    async fn what_project_uses(&self, Parameters(args): Parameters<ProjectArgs>) -> CallToolResult {
        self.edges(lineage::Question::Project(args.project), None).await
    }

    /// Findings of the audit.
    #[tool(
        description = "What the audit found: governance problems with their severity, evidence and what to do",
        annotations(read_only_hint = true)
    )]
    async fn findings(&self, Parameters(args): Parameters<FindingsArgs>) -> CallToolResult {
        self.answer(move |config, manifest| findings(&config.lake, manifest, &args)).await
    }

    /// Who can open what.
    #[tool(
        description = "Who can open a project or reach a warehouse table, and by which grants; or what a person can open",
        annotations(read_only_hint = true)
    )]
    async fn access(&self, Parameters(args): Parameters<AccessArgs>) -> CallToolResult {
        self.answer(move |config, manifest| access_of(config, manifest, args)).await
    }

    /// Breakage that a change causes.
    #[tool(
        description = "What a change of the warehouse breaks: projects, cells, views, the next scheduled run, severity",
        annotations(read_only_hint = true)
    )]
    async fn impact(&self, Parameters(args): Parameters<ImpactArgs>) -> CallToolResult {
        self.answer(move |config, manifest| {
            require(manifest, &["lineage", "projects"])?;
            let changes: Vec<Change> = impact::of_sql(&args.sql)?;
            let mut found = impact::impact(&config.lake, manifest, changes, &[], Utc::now())?;
            let projects = found.projects();
            let total = found.hits.len();
            found.hits.truncate(ROWS);
            Ok(json!({"projects": projects, "total": total, "impact": found}))
        })
        .await
    }

    /// Runs a query.
    #[tool(
        description = "Rows of one SELECT in DuckDB's dialect over the lake's tables; see list_tables for their columns",
        annotations(read_only_hint = true)
    )]
    async fn query_sql(&self, Parameters(args): Parameters<QueryArgs>) -> CallToolResult {
        let config = self.config.clone();
        let answer = async {
            let manifest = newest(&config.lake)?;
            let found =
                sql::query(&config.lake, &manifest, &args.sql, config.personal, ROWS, config.deadline)
                    .await?;
            shown(&config, &manifest, json!({"rows": found.rows, "more": found.is_cut}))
        };
        result(&config, answer.await)
    }
}

impl Server {
    async fn edges(&self, question: lineage::Question, column: Option<String>) -> CallToolResult {
        self.answer(move |config, manifest| {
            require(manifest, &["lineage"])?;
            let found = lineage::find(&config.lake, manifest, &question, column.as_deref())?;
            let mut edges = found.ok_or(Error::NoTable("lineage"))?;
            let total = edges.len();
            edges.truncate(ROWS);
            Ok(json!({"total": total, "edges": edges}))
        })
        .await
    }

    /// Answers from the newest snapshot, on a thread that may wait.
    async fn answer(
        &self,
        ask: impl FnOnce(&Config, &Manifest) -> Result<Value, Error> + Send + 'static,
    ) -> CallToolResult {
        let config = self.config.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let manifest = newest(&config.lake)?;
            let answer = ask(&config, &manifest)?;
            shown(&config, &manifest, answer)
        });
        result(
            &self.config,
            asking.await.unwrap_or_else(|e| Err(Error::Unknown(format!("the question failed: {e}")))),
        )
    }
}

/// An answer as this server may give it, with the snapshot that it is from.
fn shown(config: &Config, manifest: &Manifest, mut answer: Value) -> Result<Value, Error> {
    if config.personal == Personal::Hidden {
        personal::without_people(&mut answer, &personal::People::load(&config.lake, manifest)?);
    }
    answer["snapshot"] = json!(manifest.snapshot_id);
    Ok(answer)
}

/// An answer as the protocol has it. What fails is an answer too, so that the assistant reads why.
fn result(config: &Config, answer: Result<Value, Error>) -> CallToolResult {
    match answer {
        Ok(answer) => CallToolResult::success(vec![ContentBlock::text(answer.to_string())]),
        Err(e) => {
            let mut said = json!({"error": e.to_string()});
            if config.personal == Personal::Hidden {
                // It may name what is like what was asked about.
                personal::without_people(&mut said, &personal::People::default());
            }
            CallToolResult::error(vec![ContentBlock::text(said.to_string())])
        }
    }
}

#[tool_handler]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let people = match self.config.personal {
            Personal::Hidden => " Names and email addresses of people are left out.",
            Personal::Shown => "",
        };
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("hexport", env!("CARGO_PKG_VERSION")))
            .with_instructions(format!(
                "Answers about a Hex workspace from its last snapshot: lineage between warehouse tables and projects, \
                 audit findings, access, runs. Nothing is asked of Hex, and nothing is changed.{people}"
            ))
    }
}

fn newest(lake: &Lake) -> Result<Manifest, Error> {
    Ok(lake.manifests()?.newest_of_all().ok_or(Error::Empty)?.manifest)
}

fn require(manifest: &Manifest, tables: &[&'static str]) -> Result<(), Error> {
    let is_missing = |name: &&&str| manifest.tables.get(**name).is_none_or(|table| table.files.is_empty());
    tables.iter().find(is_missing).map_or(Ok(()), |name| Err(Error::NoTable(name)))
}

fn findings(lake: &Lake, manifest: &Manifest, args: &FindingsArgs) -> Result<Value, Error> {
    require(manifest, &["audit_findings"])?;
    let severity = Severity::named;
    let least = match &args.severity {
        None => Severity::Info,
        Some(name) => severity(name).ok_or_else(|| {
            Error::Unknown(format!("'{name}' is no severity: there are info, low, medium and high"))
        })?,
    };
    let open = |table| TableReader::open(lake, manifest, table);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("").to_owned();
    let is_wanted = |row: &Value| {
        severity(&text(row, "severity")).is_none_or(|own| own >= least)
            && args.rule.as_ref().is_none_or(|rule| text(row, "rule") == *rule)
            && args.entity.as_ref().is_none_or(|name| {
                text(row, "entity_id") == *name || text(row, "entity").trim() == name.trim()
            })
    };
    let mut found: Vec<Value> = rows::some(&open, &AUDIT_FINDINGS, is_wanted)?;
    found.sort_by_key(|row| (std::cmp::Reverse(severity(&text(row, "severity"))), text(row, "rule")));
    let total = found.len();
    found.truncate(ROWS);
    Ok(json!({"total": total, "findings": found}))
}

fn access_of(config: &Config, manifest: &Manifest, args: AccessArgs) -> Result<Value, Error> {
    use access::Question;
    let question = match (args.person, args.project, args.table) {
        (Some(_), None, None) if config.personal == Personal::Hidden => return Err(Error::Personal),
        (Some(person), None, None) => Question::Person(person),
        (None, Some(project), None) => Question::Project(project),
        (None, None, Some(table)) => Question::Table(table),
        _ => return Err(Error::Unknown("ask about one of project, table or person".into())),
    };
    require(manifest, &["effective_access", "projects"])?;
    let answer = access::ask(&config.lake, manifest, &question, Expand::No, &config.access, &config.audit)?;
    let total = answer.access.len();
    let mut answer = json!(answer);
    if config.personal == Personal::Hidden {
        // People are counted; groups, collections and everybody are named.
        let all = answer["access"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let (people, others): (Vec<Value>, Vec<Value>) =
            all.into_iter().partition(|access| access["principal_type"] == "person");
        let mut counts = std::collections::BTreeMap::<String, u64>::new();
        for access in &people {
            let key = format!(
                "{} {}",
                access["project_id"].as_str().unwrap_or(""),
                access["access"].as_str().unwrap_or("")
            );
            *counts.entry(key).or_default() += 1;
        }
        answer["access"] = json!(others);
        answer["people"] = json!(counts);
    } else if let Some(all) = answer["access"].as_array_mut() {
        all.truncate(ROWS);
    }
    answer["total"] = json!(total);
    Ok(answer)
}
