//! The tables that aggregate queries: the row that a query contributes to each.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use super::error::Error;
use super::sort::Totals;
use crate::derive::names::TableName;
use crate::schema::{Datum, Row, Table};
use crate::snapshot::TableReader;
use crate::tables::{
    EXECUTED_TABLES, HISTORY_DAYS, QUERY_DAYS, QUERY_FINGERPRINTS, QUERY_REPEATS, QUERY_RUNS,
    WAREHOUSE_QUERIES,
};

const DAY: i64 = 86_400_000_000;
const MINUTE: i64 = 60_000_000;
/// Days of repeated queries that are kept.
const REPEATS: i32 = 30;

/// The day (UTC) of a time, since 1970.
pub fn day_of(micros: i64) -> i32 {
    micros.div_euclid(DAY) as i32
}

/// Places of the columns of `warehouse_queries`.
static PLACES: LazyLock<HashMap<&str, usize>> =
    LazyLock::new(|| WAREHOUSE_QUERIES.all_columns().enumerate().map(|(at, c)| (c.name, at)).collect());

/// A row of `warehouse_queries`, by its columns' names.
struct Query<'a>(&'a Row);

impl Query<'_> {
    fn get(&self, name: &str) -> &Datum {
        &self.0[PLACES[name]]
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Datum::Text(text) => Some(text),
            _ => None,
        }
    }

    fn started(&self) -> i64 {
        match self.get("started_at") {
            Datum::Time(at) => *at,
            _ => 0,
        }
    }

    fn names(&self, name: &str) -> Vec<&str> {
        let Datum::List(items) = self.get(name) else { return Vec::new() };
        let mut names = Vec::with_capacity(items.len());
        for item in items {
            if let Datum::Text(name) = item {
                names.push(name.as_str());
            }
        }
        names
    }

    /// The columns of usage that every table of totals has at its end, before the common ones.
    fn usage(&self) -> [Datum; 6] {
        let cached = *self.get("is_cached") == Datum::Bool(true);
        let [seconds, bytes, credits, slots] =
            ["duration_seconds", "bytes_scanned", "credits", "slot_seconds"]
                .map(|name| self.get(name).clone());
        [Datum::Int(1), Datum::Int(cached.into()), seconds, bytes, credits, slots]
    }

    /// Whether a cached result could replace it: nobody is working on a draft, it succeeded, the warehouse really ran
    /// it, and its text and the size of its result are known.
    fn is_repeatable(&self) -> bool {
        let is_known = |name: &str| *self.get(name) != Datum::Null;
        let context = self.text("context").unwrap_or("").to_uppercase();
        let is_run = ["SCHEDULED", "API", "APP"].iter().any(|word| context.contains(word));
        is_run
            && self.text("outcome") == Some("success")
            && *self.get("is_cached") != Datum::Bool(true)
            && is_known("text_hash")
            && (is_known("rows_produced") || is_known("bytes_scanned"))
    }

    /// The project; empty if it isn't known.
    fn project(&self) -> Datum {
        Datum::Text(self.text("project_id").unwrap_or("").to_owned())
    }
}

/// All totals of an import.
pub struct AllTotals {
    days: Totals,
    runs: Totals,
    fingerprints: Totals,
    repeats: Totals,
    last_day: i32,
    tables: Totals,
    ledger: Totals,
    now: Datum,
}

impl AllTotals {
    /// Nothing yet; temporary files go to a folder.
    pub fn new(folder: &Path, now: i64) -> Self {
        Self {
            days: Totals::new(&QUERY_DAYS, folder),
            runs: Totals::new(&QUERY_RUNS, folder),
            fingerprints: Totals::new(&QUERY_FINGERPRINTS, folder),
            repeats: Totals::new(&QUERY_REPEATS, folder),
            last_day: i32::MIN,
            tables: Totals::new(&EXECUTED_TABLES, folder),
            ledger: Totals::new(&HISTORY_DAYS, folder),
            now: Datum::Time(now),
        }
    }

    /// Adds a query.
    ///
    /// # Errors
    /// If a chunk can't be written.
    pub fn add(&mut self, row: &Row, names: &HashMap<String, TableName>) -> Result<(), Error> {
        let query = Query(row);
        let get = |name: &str| query.get(name).clone();
        let started = query.started();
        let (at, day) = (Datum::Time(started), Datum::Date(day_of(started)));
        let is_failed = query.text("outcome") == Some("failed");
        let finish = |mut row: Row, usage: &[Datum]| {
            row.extend_from_slice(usage);
            row.extend([self.now.clone(), self.now.clone()]);
            row
        };
        let usage = query.usage();
        let by_day = vec![
            query.project(),
            day.clone(),
            get("context"),
            get("user_email"),
            get("warehouse"),
            get("connection_name"),
            get("cell_id"),
            get("outcome"),
            get("data_connection_id"),
        ];
        self.days.add(finish(by_day, &usage))?;
        let fingerprint = vec![
            get("warehouse"),
            get("fingerprint"),
            query.project(),
            get("connection_name"),
            get("data_connection_id"),
            at.clone(),
            at.clone(),
        ];
        self.fingerprints.add(finish(fingerprint, &usage))?;
        let ledger = vec![
            get("warehouse"),
            get("connection_name"),
            day.clone(),
            Datum::Int(1),
            at.clone(),
            at.clone(),
        ];
        self.ledger.add(finish(ledger, &[]))?;
        let Some(project) = query.text("project_id") else { return Ok(()) };
        self.last_day = self.last_day.max(day_of(started));
        if query.is_repeatable() {
            let row = vec![
                Datum::Text(project.to_owned()),
                day.clone(),
                get("warehouse"),
                get("connection_name"),
                get("fingerprint"),
                get("text_hash"),
                get("rows_produced"),
                get("bytes_scanned"),
                at.clone(),
                at.clone(),
                Datum::Int(1),
                get("duration_seconds"),
            ];
            self.repeats.add(finish(row, &[]))?;
        }
        let group = query.text("trace_id").map_or_else(|| minute(started), str::to_owned);
        let run = vec![
            Datum::Text(project.to_owned()),
            Datum::Text(group),
            get("warehouse"),
            get("connection_name"),
            get("trace_id"),
            get("context"),
            get("data_connection_id"),
            at.clone(),
            at.clone(),
            Datum::Int(is_failed.into()),
        ];
        self.runs.add(finish(run, &usage))?;
        for (column, direction) in [("tables_read", "read"), ("tables_written", "write")] {
            for key in query.names(column) {
                let name = names.get(key);
                let part = |of: fn(&TableName) -> Option<String>| Datum::text(name.and_then(of));
                let table = vec![
                    Datum::Text(project.to_owned()),
                    get("data_connection_id"),
                    get("connection_name"),
                    Datum::Text(key.to_owned()),
                    Datum::Text(direction.into()),
                    day.clone(),
                    get("warehouse"),
                    get("tables_by"),
                    part(|name| name.database.clone()),
                    part(|name| name.schema.clone()),
                    Datum::Text(name.map_or_else(|| key.to_owned(), |name| name.table.clone())),
                    at.clone(),
                    at.clone(),
                ];
                self.tables.add(finish(table, &usage))?;
            }
        }
        Ok(())
    }

    /// Gives each table's totals, those of the snapshot before added: `earlier` opens its tables, `take` gets the
    /// rows in the order of the key.
    ///
    /// # Errors
    /// If rows can't be read; and what `take` gives.
    pub fn finish(
        self,
        earlier: impl Fn(&'static Table) -> Result<Option<TableReader>, Error>,
        mut take: impl FnMut(&'static Table, Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // A day's queries may come in two imports; those that ran once in each are not counted together. In return the
        // table doesn't grow with the number of queries.
        let oldest = self.last_day.saturating_sub(REPEATS - 1);
        self.repeats.finish(earlier(&QUERY_REPEATS)?, |row| {
            let is_kept =
                matches!((&row[1], &row[10]), (Datum::Date(day), Datum::Int(n)) if *day >= oldest && *n > 1);
            if is_kept { take(&QUERY_REPEATS, row) } else { Ok(()) }
        })?;
        let all = [
            (&QUERY_DAYS, self.days),
            (&QUERY_RUNS, self.runs),
            (&QUERY_FINGERPRINTS, self.fingerprints),
            (&EXECUTED_TABLES, self.tables),
            (&HISTORY_DAYS, self.ledger),
        ];
        for (table, totals) in all {
            totals.finish(earlier(table)?, |row| take(table, row))?;
        }
        Ok(())
    }
}

/// The minute (UTC) of a time.
fn minute(micros: i64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(micros.div_euclid(MINUTE) * MINUTE).unwrap_or_default();
    at.format("%Y-%m-%dT%H:%MZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_columns_of_their_tables() {
        let dir = tempfile::tempdir().unwrap();
        let mut totals = AllTotals::new(dir.path(), 0);
        let mut row = vec![Datum::Null; WAREHOUSE_QUERIES.all_columns().count()];
        let mut set = |name: &str, value: Datum| row[WAREHOUSE_QUERIES.index_of(name).unwrap()] = value;
        for name in ["warehouse", "project_id", "outcome", "fingerprint", "tables_by"] {
            set(name, Datum::Text("failed".into()));
        }
        set("started_at", Datum::Time(DAY + 61_000_000));
        set("duration_seconds", Datum::Float(2.5));
        set("tables_read", Datum::List(vec![Datum::Text("a.b".into())]));
        let names = HashMap::from([(
            "a.b".to_owned(),
            TableName { schema: Some("a".into()), table: "b".into(), ..TableName::default() },
        )]);
        totals.add(&row, &names).unwrap();
        totals.add(&row, &names).unwrap();
        let mut given: HashMap<&str, Vec<Row>> = HashMap::new();
        let take = |table: &'static Table, row| {
            given.entry(table.name).or_default().push(row);
            Ok(())
        };
        totals.finish(|_| Ok(None), take).unwrap();
        assert_eq!(given.len(), 5);
        for (name, mut rows) in given {
            let table = crate::registry::by_name(name).unwrap();
            assert_eq!(rows.len(), 1, "{name}");
            let row = rows.remove(0);
            let value = |column: &str| row[table.index_of(column).unwrap()].clone();
            assert_eq!(value("queries"), Datum::Int(2), "{name}");
            if name == "query_runs" {
                assert_eq!(value("group_id"), Datum::Text("1970-01-02T00:01Z".into()));
                assert_eq!(value("failures"), Datum::Int(2));
            }
            if name == "executed_tables" {
                assert_eq!(
                    (value("schema_name"), value("table_name")),
                    (Datum::Text("a".into()), Datum::Text("b".into()))
                );
            }
            let batch = crate::schema::batch_of(table, vec![row]).unwrap();
            assert_eq!(batch.num_rows(), 1);
        }
    }
}
