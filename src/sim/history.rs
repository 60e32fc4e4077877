//! Query histories of the simulated workspace's warehouses: what its runs and its people sent, with Hex's comment, among
//! queries of others, repeated and cut off as real histories have them.

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::rng::{self, chance, skewed};
use super::sql::TableRef;
use super::world::{ProjectRecord, RunSpec, World, iso};
use crate::client::runs::Run;

/// Days that histories go back before the workspace's own moment.
const DAYS: i64 = 30;

/// Form in which the history stores a query's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Whole.
    Whole,
    /// Cut off within Hex's comment: its first fields are left.
    CommentCut,
    /// Cut off before Hex's comment.
    Cut,
}

/// A query of a history, and the truth about it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryQuery {
    /// Index of the connection.
    pub connection: usize,
    /// Identifier in the warehouse.
    pub id: String,
    /// SQL as the history has it.
    pub text: String,
    /// Form in which its text is stored.
    pub cut: Text,
    /// Whether Hex sent it.
    pub of_hex: bool,
    /// Project.
    pub project_id: String,
    /// Cell.
    pub cell_id: String,
    /// Why Hex sent it.
    pub context: &'static str,
    /// User.
    pub user: Option<String>,
    /// The run that it belongs to.
    pub run_id: Option<String>,
    /// Whether its comment has the run's trace id.
    pub has_trace: bool,
    /// Start.
    pub started: DateTime<Utc>,
    /// Time in the warehouse.
    pub milliseconds: i64,
    /// Whether it failed.
    pub failed: bool,
    /// Bytes scanned.
    pub bytes: i64,
    /// Whether the result came from a cache.
    pub cached: bool,
    /// Tables that it reads.
    pub tables: Vec<TableRef>,
}

impl HistoryQuery {
    /// Whether an import can know what it is of: Hex sent it, and enough of its comment is left.
    pub fn is_attributable(&self) -> bool {
        self.of_hex && self.cut != Text::Cut
    }

    /// End.
    pub fn ended(&self) -> DateTime<Utc> {
        self.started + TimeDelta::milliseconds(self.milliseconds)
    }

    /// Credits or DBUs that the warehouse attributes to it.
    pub fn credits(&self) -> f64 {
        self.milliseconds as f64 / 4_000_000.0
    }

    /// Slot or CPU time in milliseconds.
    pub fn slot_ms(&self) -> i64 {
        self.milliseconds * 3
    }
}

impl World {
    /// The queries that a connection's warehouse ran, in the order of their start, each once.
    pub fn query_history(&self, connection: usize) -> Vec<HistoryQuery> {
        let since = self.config.epoch - TimeDelta::days(DAYS);
        let mut queries = Vec::new();
        for record in &self.projects {
            let published = self.published_cells(record);
            let cells: Vec<(String, &Vec<TableRef>)> = published
                .iter()
                .filter(|(_, truth)| truth.tables.iter().any(|table| table.connection == connection))
                .map(|(cell, truth)| (cell.static_id.clone(), &truth.tables))
                .collect();
            let python = self.python_reads(record, connection);
            let python_cell = published.iter().find(|(cell, _)| cell.cell_type == "CODE");
            let python_cell = python_cell.map(|(cell, _)| cell.static_id.clone());
            for spec in self.runs(record).iter().filter(|spec| spec.triggered >= since) {
                let run = self.run(record, spec);
                let Some(started) = run.start_time.as_deref().and_then(|at| at.parse().ok()) else {
                    continue;
                };
                let sender = Sender { world: self, record, connection, spec: Some((spec, &run)) };
                let code =
                    python_cell.iter().zip(&python).map(|(cell, table)| (cell, "CODE", vec![table.clone()]));
                let sql = cells.iter().map(|(cell, tables)| (cell, "SQL", (*tables).clone()));
                for (at, (cell, kind, tables)) in sql.chain(code).enumerate() {
                    queries.push(sender.send(at, started, cell, kind, tables));
                }
            }
            // People try queries out in drafts.
            let r = &mut rng::of(self.config.seed, "logic", record.index * 64 + connection as u64);
            for (at, (cell, tables)) in cells.iter().enumerate().filter(|(at, _)| at % 2 == 0) {
                let ago = TimeDelta::milliseconds(r.random_range(0..DAYS * 86_400_000));
                let sender = Sender { world: self, record, connection, spec: None };
                queries.push(sender.send(at, self.config.epoch - ago, cell, "SQL", (*tables).clone()));
            }
        }
        self.add_foreign(connection, since, &mut queries);
        queries.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        queries
    }

    /// A table that a project's code reads, which no SQL cell names.
    fn python_reads(&self, record: &ProjectRecord, connection: usize) -> Option<TableRef> {
        let r = &mut rng::of(self.config.seed, "python", record.index * 64 + connection as u64);
        let tables = &self.catalogs[connection].tables;
        (connection == 0 && chance(r, 0.35)).then(|| tables[skewed(r, tables.len())].name.clone())
    }

    fn add_foreign(&self, connection: usize, since: DateTime<Utc>, queries: &mut Vec<HistoryQuery>) {
        let r = &mut rng::of(self.config.seed, "foreign", connection as u64);
        for n in 0..queries.len() / 5 + 3 {
            let after = TimeDelta::milliseconds(r.random_range(0..DAYS * 86_400_000));
            let text = match n % 3 {
                0 => "SELECT 'Hex query metadata: {}' AS lookalike".to_owned(),
                1 => format!("INSERT INTO etl.log VALUES ({n})"),
                _ => "SELECT 1 /* dbt */".to_owned(),
            };
            queries.push(HistoryQuery {
                connection,
                id: rng::uuid(self.config.seed, "foreign", (connection as u64) << 32 | n as u64),
                text,
                cut: Text::Whole,
                of_hex: false,
                project_id: String::new(),
                cell_id: String::new(),
                context: "",
                user: None,
                run_id: None,
                has_trace: false,
                started: since + after,
                milliseconds: r.random_range(5..60_000),
                failed: false,
                bytes: 1 << 20,
                cached: false,
                tables: Vec::new(),
            });
        }
    }
}

/// Who sends queries: a run, or a person who works on a draft.
struct Sender<'a> {
    world: &'a World,
    record: &'a ProjectRecord,
    connection: usize,
    spec: Option<(&'a RunSpec, &'a Run)>,
}

impl Sender<'_> {
    fn send(
        &self,
        at: usize,
        from: DateTime<Utc>,
        cell: &str,
        cell_type: &str,
        tables: Vec<TableRef>,
    ) -> HistoryQuery {
        let run_number = self.spec.map_or(0xff_ffff, |(spec, _)| u64::from(spec.number));
        let key =
            (self.record.index << 40) ^ (run_number << 12) ^ (at as u64) ^ ((self.connection as u64) << 56);
        let r = &mut rng::of(self.world.config.seed, "query", key);
        let tables: Vec<TableRef> =
            tables.into_iter().filter(|table| table.connection == self.connection).collect();
        let context = match self.spec.map(|(spec, _)| spec.trigger) {
            Some("SCHEDULED") => "SCHEDULED_RUN",
            Some("API") => "API_RUN",
            Some(_) => "APP_REFRESH",
            None => "LOGIC",
        };
        // The queries of a run are within it; a short run has short ones.
        let elapsed = self.spec.and_then(|(spec, _)| spec.elapsed_ms).map_or(30_000, i64::from);
        let started = from + TimeDelta::milliseconds(elapsed * (at as i64 % 16) / 20);
        let milliseconds = (elapsed / 20).clamp(1, 600_000) + r.random_range(0..5);
        let (has_trace, cached) = (chance(r, 0.9), chance(r, 0.1));
        let failed =
            chance(r, if self.spec.is_some_and(|(spec, _)| spec.status == "ERRORED") { 0.5 } else { 0.01 });
        let cut = match r.random::<f64>() {
            x if x < 0.01 => Text::Cut,
            x if x < 0.03 => Text::CommentCut,
            _ => Text::Whole,
        };
        let trace = match self.spec {
            Some((_, run)) if has_trace => Some(run.trace_id.clone()),
            _ => None,
        };
        let user = Some(self.record.project.owner.email.clone()).filter(|email| !email.is_empty());
        let sql = select(self.world.catalogs[self.connection].kind, &tables, r);
        let comment = self.comment(cell, cell_type, context, user.as_deref(), trace.as_deref());
        let text = match cut {
            Text::Whole => format!("{sql}\n-- Hex query metadata: {comment}"),
            Text::CommentCut => {
                let left = comment.find("\"status\"").unwrap_or(comment.len());
                format!("{sql}\n-- Hex query metadata: {}", &comment[..left])
            }
            Text::Cut => sql,
        };
        HistoryQuery {
            connection: self.connection,
            id: rng::uuid(self.world.config.seed, "query", key),
            text,
            cut,
            of_hex: true,
            project_id: self.record.project.id.to_string(),
            cell_id: cell.to_owned(),
            context,
            user: user.filter(|_| cut == Text::Whole),
            run_id: self.spec.map(|(_, run)| run.run_id.to_string()),
            has_trace: has_trace && cut == Text::Whole && self.spec.is_some(),
            started,
            milliseconds,
            failed,
            bytes: r.random_range(1..500) << 20,
            cached,
            tables,
        }
    }

    /// Hex's comment: its fields in the order of their names.
    fn comment(
        &self,
        cell: &str,
        kind: &str,
        context: &str,
        user: Option<&str>,
        trace: Option<&str>,
    ) -> String {
        let project = &self.record.project;
        let url = format!(
            "https://app.hex.tech/{}/hex/{}/draft/logic?selectedCellId={cell}",
            self.world.org_id, project.id
        );
        let mut fields = vec![
            ("categories", json!([])),
            ("cell_type", json!(kind)),
            ("connection", json!(self.world.connections[self.connection].name)),
            ("context", json!(context)),
            ("project_id", json!(project.id)),
            ("project_name", json!(project.title)),
            ("project_url", json!(url)),
            ("status", json!(project.status.as_ref().map(|status| &status.name))),
        ];
        fields.extend(trace.map(|trace| ("trace_id", json!(trace))));
        fields.extend(user.map(|user| ("user_email", json!(user))));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{{}}}", fields.join(", "))
    }
}

/// A query of some tables, with a literal that differs each time.
fn select(kind: &str, tables: &[TableRef], r: &mut ChaCha8Rng) -> String {
    let name = |table: &TableRef| match kind {
        "bigquery" => format!("`{}`", table.qualified()),
        _ => table.qualified(),
    };
    let from: Vec<String> =
        tables.iter().enumerate().map(|(at, table)| format!("{} AS t{at}", name(table))).collect();
    format!(
        "SELECT count(*)\nFROM {}\nWHERE t0.id > {}",
        from.join(" CROSS JOIN "),
        r.random_range(0..1_000_000)
    )
}

/// Form of a history's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// CSV with a header.
    Csv,
    /// A JSON object a line.
    JsonLines,
}

/// A history as a kind of warehouse has it: with its own columns, units and forms of times, and every tenth row twice.
pub fn render(kind: &str, queries: &[HistoryQuery], form: Form) -> String {
    let mut rows: Vec<Value> = Vec::with_capacity(queries.len() + queries.len() / 10);
    for (at, query) in queries.iter().enumerate() {
        let row = native(kind, query);
        if at % 10 == 3 {
            rows.push(row.clone());
        }
        rows.push(row);
    }
    match form {
        Form::JsonLines => rows.iter().map(|row| format!("{row}\n")).collect(),
        Form::Csv => csv(&rows),
    }
}

fn csv(rows: &[Value]) -> String {
    let cell = |value: &Value| {
        let text = match value {
            Value::Null => return String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!("\"{}\"", text.replace('"', "\"\""))
    };
    let names: Vec<&String> =
        rows.first().and_then(Value::as_object).into_iter().flat_map(|row| row.keys()).collect();
    let mut out = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",") + "\n";
    for row in rows {
        out += &names.iter().map(|name| cell(&row[name.as_str()])).collect::<Vec<_>>().join(",");
        out.push('\n');
    }
    out
}

/// A row with the columns of a kind's own history.
fn native(kind: &str, query: &HistoryQuery) -> Value {
    let (start, end) = (query.started, query.ended());
    let seconds = query.milliseconds as f64 / 1e3;
    let names: Vec<String> = query.tables.iter().map(TableRef::qualified).collect();
    // Los Angeles, as Snowflake has it by default.
    let west = |at: DateTime<Utc>| {
        let zone = chrono::FixedOffset::west_opt(8 * 3600).expect("an offset");
        at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S%.3f %z").to_string()
    };
    match kind {
        "snowflake" => json!({
            "QUERY_ID": query.id,
            "QUERY_TEXT": query.text,
            "START_TIME": west(start),
            "END_TIME": west(end),
            "TOTAL_ELAPSED_TIME": query.milliseconds,
            "EXECUTION_STATUS": if query.failed { "FAILED_WITH_ERROR" } else { "SUCCESS" },
            "USER_NAME": "HEX",
            "QUERY_TYPE": "SELECT",
            "BYTES_SCANNED": query.bytes,
            "CREDITS_ATTRIBUTED_COMPUTE": query.credits(),
        }),
        "bigquery" => json!({
            "job_id": query.id,
            "query": query.text,
            "start_time": start.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string(),
            "end_time": end.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string(),
            "state": "DONE",
            "error_result": query.failed.then(|| json!({"reason": "invalidQuery"})),
            "user_email": "hex@acme.iam.gserviceaccount.com",
            "total_bytes_billed": query.bytes,
            "total_slot_ms": query.slot_ms(),
            "cache_hit": query.cached,
            "referenced_tables": query.tables.iter().map(|table| json!({
                "project_id": table.database, "dataset_id": table.schema, "table_id": table.table,
            })).collect::<Vec<_>>(),
        }),
        "databricks" => json!({
            "statement_id": query.id,
            "statement_text": query.text,
            "start_time": iso(start),
            "end_time": iso(end),
            "total_duration_ms": query.milliseconds,
            "execution_status": if query.failed { "FAILED" } else { "FINISHED" },
            "read_bytes": query.bytes,
            "credits": query.credits(),
            "from_result_cache": query.cached,
        }),
        "redshift" => json!({
            "query_id": query.id,
            "query_text": query.text,
            "start_time": start.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
            "end_time": end.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
            "elapsed_time": query.milliseconds * 1000,
            "status": if query.failed { "failed" } else { "success" },
            "result_cache_hit": if query.cached { "t" } else { "f" },
        }),
        "athena" => json!({
            "QueryExecutionId": query.id,
            "Query": query.text,
            "StatementType": "DML",
            "Status": {
                "State": if query.failed { "FAILED" } else { "SUCCEEDED" },
                "SubmissionDateTime": iso(start),
                "CompletionDateTime": iso(end),
            },
            "Statistics": {"DataScannedInBytes": query.bytes, "TotalExecutionTimeInMillis": query.milliseconds},
        }),
        "clickhouse" => json!({
            "query_id": query.id,
            "query": query.text,
            "query_start_time_microseconds": start.timestamp_micros(),
            "query_duration_ms": query.milliseconds,
            "type": if query.failed { "ExceptionWhileProcessing" } else { "QueryFinish" },
            "exception_code": if query.failed { 60 } else { 0 },
            "read_bytes": query.bytes,
            "tables": names,
        }),
        "postgres" => json!({
            "query_id": query.id,
            "query_text": query.text,
            "started_at": start.to_rfc3339(),
            "duration_seconds": seconds,
            "status": if query.failed { "failed" } else { "success" },
        }),
        _ => json!({
            "query_id": query.id,
            "query": query.text,
            "create_time": format!("{} UTC", start.format("%Y-%m-%d %H:%M:%S%.3f")),
            "end_time": format!("{} UTC", end.format("%Y-%m-%d %H:%M:%S%.3f")),
            "wall_time_millis": query.milliseconds,
            "query_state": if query.failed { "FAILED" } else { "FINISHED" },
            "physical_input_bytes": query.bytes,
            "cpu_time_millis": query.slot_ms(),
            "inputs_json": query.tables.iter().map(|table| json!({
                "catalogName": table.database, "schema": table.schema, "table": table.table,
            })).collect::<Vec<_>>(),
        }),
    }
}
