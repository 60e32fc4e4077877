//! From a row of a warehouse's history to a row of `warehouse_queries`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use serde_json::Value as Json;

use super::comment;
use super::kind::{Ending, Field, Kind, ending};
use super::read::Raw;
use crate::derive::fingerprint;
use crate::derive::names::{Defaults, TableName, reported};
use crate::derive::sql::{self, Evidence, Setting};
use crate::schema::{Datum, Row};

/// Parsed queries to keep: the same query runs many times.
const READINGS: usize = 20_000;
/// Milliseconds, in seconds, by which a query that has no duration may have ended before it started.
const CLOCK_SLACK: f64 = 0.001;

/// Whether queries' SQL is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sql {
    /// It is.
    Kept,
    /// Only its fingerprint is.
    Dropped,
}

/// A connection of the workspace.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// Default database and schema of its queries.
    pub defaults: Defaults,
}

/// The connections of the workspace.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    all: Vec<Connection>,
    by_name: HashMap<String, Option<usize>>,
}

impl Connections {
    /// Indexes the connections by identifier and name.
    pub fn new(all: Vec<Connection>) -> Self {
        let mut by_name: HashMap<String, Option<usize>> = HashMap::new();
        for (at, connection) in all.iter().enumerate() {
            // A name that two connections share identifies neither.
            let name = connection.name.to_lowercase();
            by_name.entry(name).and_modify(|known| *known = None).or_insert(Some(at));
        }
        by_name.extend(all.iter().enumerate().map(|(at, connection)| (connection.id.clone(), Some(at))));
        Self { all, by_name }
    }

    /// The connection of this name, in any case, or identifier.
    pub fn named(&self, name: &str) -> Option<&Connection> {
        let at = self.by_name.get(name).or_else(|| self.by_name.get(&name.to_lowercase()))?;
        self.all.get((*at)?)
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|connection| connection.name.clone()).collect()
    }
}

/// Reason for leaving out a row of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// Hex didn't send it: Hex's comment is missing.
    Foreign,
    /// Hex's comment is missing, but the end of the query was cut off.
    CutOff,
    /// Hex's comment is in its middle: something wrapped the query, or joined it with others.
    Wrapped,
    /// It is still running; a later extraction has it again.
    Open,
    /// Its comment is of another workspace.
    OtherWorkspace,
    /// Its row can't be read.
    Unreadable,
    /// An earlier import has it.
    Known,
    /// The files have it more than once.
    Repeated,
    /// Its day was imported before, and the snapshot with its queries was removed since: nobody can tell whether it was
    /// among them.
    Removed,
}

impl Left {
    /// In words, after a count.
    pub fn words(self) -> &'static str {
        match self {
            Left::Foreign => "not sent by Hex (without Hex's comment)",
            Left::CutOff => "without a comment, but cut off at the length that the warehouse keeps",
            Left::Wrapped => {
                "with Hex's comment neither at the beginning nor at the end: wrapped, or joined with others"
            }
            Left::Open => "still running: extract them again later",
            Left::OtherWorkspace => "from another workspace",
            Left::Unreadable => "unreadable",
            Left::Known => "imported before",
            Left::Repeated => "repeated in the files",
            Left::Removed => "from days that were imported before and whose queries have been pruned since",
        }
    }
}

/// Result of mapping a row of a history.
pub enum Outcome {
    /// A row of `warehouse_queries`, without the common columns.
    Query(Row),
    /// It is left out, with the reason if it is unreadable.
    Left(Left, &'static str),
}

/// Tables that a query reads and writes, and how they are known.
#[derive(Debug, Clone, Default)]
struct Touched {
    reads: Vec<String>,
    writes: Vec<String>,
    by: Option<&'static str>,
}

/// Counts of peculiarities in the rows that were used.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Remarks {
    /// Times without a zone.
    pub times_without_zone: u64,
    /// Comments whose JSON is damaged.
    pub repaired_comments: u64,
    /// Queries whose comment names no project.
    pub without_project: u64,
    /// Queries whose connection isn't in the lake.
    pub unknown_connection: u64,
    /// Queries whose tables could not be determined.
    pub tables_unknown: u64,
    /// Queries that start after the import: their zone is likely wrong.
    pub in_the_future: u64,
    /// Values that could not be read, by column; the rest of their rows was.
    pub values_unread: BTreeMap<&'static str, u64>,
}

/// A query's fingerprint, the database and schema of its unqualified names, and its connection.
type ReadingKey = (String, Option<String>, Option<String>, Option<String>);

/// Maps rows.
pub struct Mapper<'a> {
    /// Kind of warehouse.
    pub kind: Kind,
    /// Whether SQL is kept.
    pub sql: Sql,
    /// The connections of the workspace.
    pub connections: &'a Connections,
    /// The connection that a person named.
    pub connection: Option<&'a Connection>,
    /// The workspace, if it is known.
    pub workspace: Option<&'a str>,
    /// Now, in microseconds since 1970.
    pub now: i64,
    /// Remark about the row.
    pub remarks: Remarks,
    /// Parts of the tables' names, by their keys.
    pub tables: HashMap<String, TableName>,
    readings: HashMap<ReadingKey, Rc<Touched>>,
}

impl<'a> Mapper<'a> {
    /// A mapper that has read nothing yet.
    pub fn new(kind: Kind, sql: Sql, connections: &'a Connections, now: i64) -> Self {
        Self {
            kind,
            sql,
            connections,
            connection: None,
            workspace: None,
            now,
            remarks: Remarks::default(),
            tables: HashMap::new(),
            readings: HashMap::new(),
        }
    }

    /// Maps a row.
    pub fn map(&mut self, raw: &Raw) -> Outcome {
        let left = |why| Outcome::Left(why, "");
        let unreadable = |why| Outcome::Left(Left::Unreadable, why);
        let Some(text) = raw.text(Field::QueryText) else { return left(Left::Foreign) };
        let Some(parted) = comment::read(text) else {
            let is_cut = self.kind.cuts_after().is_some_and(|length| text.chars().count() >= length);
            return left(match is_cut {
                _ if comment::is_within(text) => Left::Wrapped,
                true => Left::CutOff,
                false => Left::Foreign,
            });
        };
        let comment = parted.comment;
        let sql = match self.kind {
            Kind::Redshift => comment::unescaped(parted.sql),
            _ => parted.sql.into(),
        };
        if let (Some(ours), Some(theirs)) = (self.workspace, &comment.workspace)
            && !ours.eq_ignore_ascii_case(theirs)
        {
            return left(Left::OtherWorkspace);
        }
        let error = raw.text(Field::ErrorCode).filter(|code| !matches!(code.trim(), "0" | "00000"));
        let outcome = match ending(raw.text(Field::Status), error) {
            Ending::Open => return left(Left::Open),
            Ending::Failed => "failed",
            Ending::Success => "success",
        };
        let Some(query_id) = raw.text(Field::QueryId).filter(|id| !id.trim().is_empty()) else {
            return unreadable("its identifier is missing");
        };
        let Some(started) = raw.time(Field::StartedAt) else {
            return unreadable("its start can't be read as a time");
        };
        let ended = raw.time(Field::EndedAt);
        let seconds = raw.number(Field::Seconds).or_else(|| {
            let seconds = (ended?.micros - started.micros) as f64 / 1e6;
            (seconds >= -CLOCK_SLACK).then_some(seconds.max(0.0))
        });
        let named = comment.connection.as_deref();
        let connection = self.connection.or_else(|| self.connections.named(named?));
        let fingerprint = fingerprint::of(&sql, self.kind.warehouse());
        let is_whole = comment.state == comment::State::Whole
            && self.kind.cuts_after().is_none_or(|length| text.len() < length);
        let touched = self.touched(raw, &sql, &fingerprint, connection);
        let counts = [
            (&mut self.remarks.times_without_zone, !started.has_zone),
            (&mut self.remarks.repaired_comments, comment.state == comment::State::Repaired),
            (&mut self.remarks.without_project, comment.project_id.is_none()),
            (&mut self.remarks.unknown_connection, connection.is_none()),
            (&mut self.remarks.tables_unknown, touched.by.is_none()),
            (&mut self.remarks.in_the_future, started.micros > self.now),
        ];
        counts.into_iter().filter(|(_, is)| *is).for_each(|(count, _)| *count += 1);
        for field in &raw.unread {
            *self.remarks.values_unread.entry(field.name()).or_default() += 1;
        }
        let text = |value: Option<&str>| Datum::text(value.map(str::trim).filter(|value| !value.is_empty()));
        let number = |field| raw.number(field).map_or(Datum::Null, Datum::Float);
        let whole = |field| raw.number(field).map_or(Datum::Null, |n| Datum::Int(n.round() as i64));
        let list = |names: &[String]| match touched.by {
            Some(_) => Datum::List(names.iter().map(|name| Datum::Text(name.clone())).collect()),
            None => Datum::Null,
        };
        Outcome::Query(vec![
            Datum::Text(self.kind.name().into()),
            Datum::Text(query_id.trim().into()),
            text(comment.project_id.as_deref()),
            text(connection.map(|connection| connection.name.as_str()).or(named)),
            text(connection.map(|connection| connection.id.as_str())),
            text(comment.cell_id.as_deref()),
            text(comment.cell_type.as_deref()),
            text(comment.context.as_deref()),
            text(comment.trace_id.as_deref()),
            text(comment.user_email.as_deref()),
            text(raw.text(Field::WarehouseUser)),
            Datum::Time(started.micros),
            ended.map_or(Datum::Null, |ended| Datum::Time(ended.micros)),
            seconds.map_or(Datum::Null, Datum::Float),
            Datum::Text(outcome.into()),
            text(error),
            text(raw.text(Field::StatementType)),
            raw.flag(Field::IsCached).map_or(Datum::Null, Datum::Bool),
            whole(Field::BytesScanned),
            whole(Field::RowsProduced),
            number(Field::Credits),
            number(Field::SlotSeconds),
            Datum::Text(fingerprint),
            list(&touched.reads),
            list(&touched.writes),
            Datum::text(touched.by),
            Datum::Text(comment.state.name().into()),
            if self.sql == Sql::Kept { Datum::Text(sql.to_string()) } else { Datum::Null },
            match is_whole {
                true => Datum::Text(fingerprint::of_text(&sql)),
                false => Datum::Null,
            },
        ])
    }

    fn touched(
        &mut self,
        raw: &Raw,
        text: &str,
        fingerprint: &str,
        connection: Option<&Connection>,
    ) -> Rc<Touched> {
        let [database, schema] = [Field::DatabaseName, Field::SchemaName].map(|field| raw.text(field));
        let none = Defaults::default();
        let of_connection = connection.map_or(&none, |connection| &connection.defaults);
        let warehouse = self.kind.warehouse();
        let defaults = match (database, schema) {
            (None, None) => of_connection.clone(),
            (database, schema) => Defaults::of_connection(
                warehouse,
                database.or(of_connection.database.as_deref()),
                schema.or(of_connection.schema.as_deref()),
                None,
            ),
        };
        let told = |field| raw.text(field).and_then(|text| told(text, &defaults, self.kind));
        let (reads, writes) = (told(Field::TablesRead), told(Field::TablesWritten));
        let is_told = reads.is_some() || writes.is_some();
        let read = match (&reads, &writes) {
            (Some(_), Some(_)) => Rc::default(),
            _ => self.read(text, fingerprint, &defaults, connection),
        };
        if !is_told {
            return read;
        }
        let mut keys = |told: Option<Vec<TableName>>, read: &[String]| match told {
            None => read.to_vec(),
            Some(names) => {
                let mut keys: Vec<String> = names
                    .into_iter()
                    .map(|name| {
                        let key = name.key();
                        self.tables.entry(key.clone()).or_insert(name);
                        key
                    })
                    .collect();
                keys.sort();
                keys.dedup();
                keys
            }
        };
        let (reads, writes) = (keys(reads, &read.reads), keys(writes, &read.writes));
        Rc::new(Touched { reads, writes, by: Some("referenced") })
    }

    /// Tables and fingerprint, from the query's SQL.
    fn read(
        &mut self,
        text: &str,
        fingerprint: &str,
        defaults: &Defaults,
        connection: Option<&Connection>,
    ) -> Rc<Touched> {
        let key = (
            fingerprint.to_owned(),
            defaults.database.clone(),
            defaults.schema.clone(),
            connection.map(|connection| connection.id.clone()),
        );
        if let Some(known) = self.readings.get(&key) {
            return known.clone();
        }
        let nothing = HashSet::new();
        let warehouse = self.kind.warehouse();
        let setting = Setting { warehouse, defaults, dataframes: &nothing, dataframes_only: false };
        let touched = match sql::read(text, setting) {
            Err(_) => Touched::default(),
            Ok(reading) => {
                let all = || reading.reads.values().chain(reading.writes.values());
                let by = all().max().copied().unwrap_or(Evidence::Sql).name();
                for name in reading.reads.keys().chain(reading.writes.keys()) {
                    self.tables.entry(name.key()).or_insert_with(|| name.clone());
                }
                let keys = |names: &BTreeMap<TableName, Evidence>| {
                    let mut keys: Vec<String> = names.keys().map(TableName::key).collect();
                    keys.sort();
                    keys
                };
                Touched { reads: keys(&reading.reads), writes: keys(&reading.writes), by: Some(by) }
            }
        };
        if self.readings.len() >= READINGS {
            self.readings.clear();
        }
        let touched = Rc::new(touched);
        self.readings.insert(key, touched.clone());
        touched
    }
}

/// Tables that a warehouse names: JSON, or text with commas. `None` if it names none: histories leave them out where
/// the edition or a permission doesn't give them.
fn told(text: &str, defaults: &Defaults, kind: Kind) -> Option<Vec<TableName>> {
    let items = match serde_json::from_str::<Json>(text) {
        Ok(Json::Array(items)) => items,
        Ok(Json::Object(object)) => vec![Json::Object(object)],
        Ok(Json::Null) => Vec::new(),
        _ => text.trim_matches(['[', ']']).split(',').map(|name| Json::from(name.trim())).collect(),
    };
    let names: Vec<TableName> = items.iter().filter_map(|item| name(item, defaults, kind)).collect();
    (!names.is_empty()).then_some(names)
}

fn name(item: &Json, defaults: &Defaults, kind: Kind) -> Option<TableName> {
    let warehouse = kind.warehouse();
    let text = |names: &[&str]| {
        names.iter().find_map(|name| item.get(*name)?.as_str()).filter(|part| !part.is_empty())
    };
    if let Some(whole) = item.as_str() {
        let whole = whole.trim_matches(|c: char| c.is_whitespace() || c == '\'');
        return reported(whole, warehouse, defaults);
    }
    if let Some(whole) = text(&["objectName"]) {
        // Stages and functions are no tables.
        let domain = text(&["objectDomain"]).unwrap_or("Table").to_lowercase();
        return (domain.contains("table") || domain.contains("view"))
            .then(|| reported(whole, warehouse, defaults))?;
    }
    let table = text(&["table_id", "tableId", "table", "table_name", "tableName"])?;
    let schema = text(&["dataset_id", "datasetId", "schema", "schemaName", "table_schema", "database"]);
    // Anonymous results of BigQuery.
    if kind == Kind::BigQuery && schema.is_some_and(|schema| schema.starts_with('_')) {
        return None;
    }
    let database = text(&["project_id", "projectId", "catalogName", "catalog", "table_catalog"]);
    let fold = |part: &str| warehouse.fold(part, true);
    Some(TableName {
        database: database.map(fold).or_else(|| defaults.database.clone()),
        schema: schema.map(fold).or_else(|| defaults.schema.clone()),
        table: fold(table),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_warehouses_name_are_read_in_all_their_forms() {
        for (kind, text, expected) in [
            (Kind::BigQuery, r#"[{"project_id":"p","dataset_id":"d","table_id":"t"}]"#, &["p.d.t"][..]),
            (Kind::BigQuery, r#"[{"project_id":"p","dataset_id":"_abc","table_id":"anon"}]"#, &[]),
            (Kind::BigQuery, r#"["p.d.t","p.d.u$20260101"]"#, &["p.d.t", "p.d.u"]),
            (
                Kind::Snowflake,
                r#"[{"columns":[],"objectDomain":"Table","objectId":1,"objectName":"DB.CORE.ORDERS"},{"objectDomain":"Stage","objectName":"DB.CORE.S"}]"#,
                &["DB.CORE.ORDERS"],
            ),
            (Kind::Trino, r#"{"catalogName":"hive","schema":"Web","table":"clicks"}"#, &["hive.web.clicks"]),
            (Kind::ClickHouse, "['core.orders','core.users']", &["core.orders", "core.users"]),
            (Kind::Databricks, "main.core.orders, main.core.users", &["main.core.orders", "main.core.users"]),
            (Kind::Databricks, "", &[]),
            (Kind::Databricks, "[]", &[]),
            (Kind::Databricks, "null", &[]),
        ] {
            let names = told(text, &Defaults::default(), kind);
            let keys: Vec<String> = names.iter().flatten().map(TableName::key).collect();
            assert_eq!(keys, expected, "{kind} {text}");
            assert_eq!(names.is_none(), expected.is_empty());
        }
    }

    #[test]
    fn a_connection_of_an_ambiguous_name_is_nobodys() {
        let connection = |id: &str, name: &str| Connection {
            id: id.into(),
            name: name.into(),
            defaults: Defaults::default(),
        };
        let all =
            Connections::new(vec![connection("1", "Prod"), connection("2", "prod"), connection("3", "Lake")]);
        let id = |name: &str| all.named(name).map(|c| c.id.as_str());
        assert_eq!([id("prod"), id("LAKE"), id("2"), id("x")], [None, Some("3"), Some("2"), None]);
    }
}
