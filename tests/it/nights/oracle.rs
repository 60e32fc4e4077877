//! The oracle: every row that ever was in the workspace, when it had which value, and a snapshot as a reader sees it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use hexport::client::users::ActingAs;
use hexport::crawl::{Endpoint, Scope, State};
use hexport::registry;
use hexport::sim::{SimToken, World};
use hexport::snapshot::{Lake, Manifest, TableReader, TableState, rows};
use serde_json::{Value, json};

/// Tables that are compared, with the columns that [`truth`] gives.
pub const WATCHED: [(&str, &[&str]); 9] = [
    (
        "projects",
        &[
            "title",
            "last_edited_at",
            "last_published_at",
            "archived_at",
            "trashed_at",
            "published_results_updated_at",
        ],
    ),
    ("users", &["email", "role"]),
    ("groups", &["name"]),
    ("group_members", &["email", "role"]),
    ("collections", &["name"]),
    ("component_imports", &["component_version"]),
    ("cells", &["cell_id", "cell_type", "label", "source"]),
    ("runs", &["status", "start_time"]),
    ("queried_tables", &["data_connection_name"]),
];

/// A row: its table, and the values of its key.
pub type Key = (&'static str, String);
pub type Rows = BTreeMap<Key, String>;

/// The rows of the workspace that a token sees.
pub fn truth(world: &World, token: &SimToken) -> Rows {
    let mut rows = Rows::new();
    let mut add = |table, key: &[&str], values: Value| rows.insert((table, key.join("/")), plain(&values));
    for user in &world.users {
        add("users", &[&user.id], json!([user.email, user.role]));
    }
    for (at, group) in world.groups.iter().enumerate() {
        add("groups", &[&group.id], json!([group.name]));
        for user in world.group_members(at) {
            add("group_members", &[&group.id, &user.id], json!([user.email, user.role]));
        }
    }
    for collection in &world.collections {
        add("collections", &[&collection.id], json!([collection.name]));
    }
    for record in world.projects.iter().filter(|record| !token.hidden.contains(&*record.project.id)) {
        let p = &record.project;
        let (edited, published, refreshed) =
            (&p.last_edited_at, &p.last_published_at, &p.analytics.published_results_updated_at);
        let values = json!([p.title, edited, published, p.archived_at, p.trashed_at, refreshed]);
        add("projects", &[&p.id], values);
        for (cell, truth) in world.cells(record) {
            if cell.cell_type == "COMPONENT_IMPORT" {
                // Where the workspace has no component, the file doesn't say which is imported.
                let (component, version) = truth.component.unzip();
                let key = [p.id.as_str(), &cell.static_id, component.as_deref().unwrap_or("")];
                add("component_imports", &key, json!([version.map(|version| version.to_string())]));
            }
            let of_sql = cell.contents.sql_cell.map(|sql| sql.source);
            let text = cell.contents.code_cell.or(cell.contents.markdown_cell).map(|text| text.source);
            let values = json!([cell.id, cell.cell_type, cell.label, of_sql.or(text)]);
            add("cells", &[&p.id, &cell.static_id], values);
        }
        for run in world.runs(record).iter().map(|spec| world.run(record, spec)) {
            add("runs", &[&p.id, &run.run_id], json!([run.status, run.start_time]));
        }
        for table in world.queried_tables(record) {
            let key = [p.id.as_str(), &table.data_connection_id, &table.table_name];
            add("queried_tables", &key, json!([table.data_connection_name]));
        }
    }
    rows
}

/// Values as one text; times as numbers, however they are written.
pub fn plain(values: &Value) -> String {
    let number = |value: &Value| micros(value).map_or_else(|| value.clone(), Value::from);
    values.as_array().into_iter().flatten().map(number).collect::<Value>().to_string()
}

pub fn micros(value: &Value) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(value.as_str()?).ok()?.timestamp_micros())
}

/// The entity that a row is of: the first value of its key.
pub fn entity(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

/// Every row that ever was, and when it had which value. Times are states of the world, counted from 0.
#[derive(Default)]
pub struct History {
    /// When each state began, and its night.
    pub states: Vec<(i64, u32)>,
    pub values: HashMap<Key, Vec<(usize, Option<String>)>>,
    pub now: Rows,
    /// Fixed times, and the states that answers of that time may be from.
    pub fixed: HashMap<i64, (usize, usize)>,
}

impl History {
    pub fn record(&mut self, night: u32, rows: Rows) {
        let state = self.states.len();
        self.states.push((Utc::now().timestamp_micros(), night));
        let changed = rows.iter().filter(|(key, value)| self.now.get(*key) != Some(*value));
        let changed = changed.map(|(key, value)| (key.clone(), Some(value.clone())));
        let gone = self.now.keys().filter(|key| !rows.contains_key(*key)).map(|key| (key.clone(), None));
        for (key, value) in changed.chain(gone) {
            self.values.entry(key).or_default().push((state, value));
        }
        self.now = rows;
    }

    pub fn last(&self) -> usize {
        self.states.len() - 1
    }

    pub fn first_of(&self, night: u32) -> usize {
        self.states.partition_point(|(_, of)| *of < night)
    }

    pub fn value(&self, key: &Key, state: usize) -> Option<&str> {
        let values = self.values.get(key)?;
        let after = values.partition_point(|(from, _)| *from <= state);
        values[..after].last()?.1.as_deref()
    }

    /// The states that something read at `at` may be of: while the world changes during a night, all of that night
    /// until then.
    pub fn states_at(&self, at: i64) -> RangeInclusive<usize> {
        if let Some((first, last)) = self.fixed.get(&at) {
            return *first..=*last;
        }
        let last = self.states.partition_point(|(from, _)| *from <= at).saturating_sub(1);
        self.first_of(self.states[last].1)..=last
    }

    pub fn was_ever(&self, key: &Key, value: &str, mut states: RangeInclusive<usize>) -> bool {
        states.any(|state| self.value(key, state) == Some(value))
    }

    pub fn was_always_there(&self, key: &Key, mut states: RangeInclusive<usize>) -> bool {
        states.all(|state| self.value(key, state).is_some())
    }
}

/// A row of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub value: String,
    pub fetched_at: i64,
    pub gone: bool,
    pub given_up: bool,
}

/// What came of an endpoint and entity.
#[derive(Debug, Clone, Copy)]
pub struct Covered {
    pub state: State,
    pub last_read_at: Option<i64>,
}

/// A snapshot as a reader sees it.
pub struct Snapshot {
    pub manifest: Manifest,
    pub tables: BTreeMap<&'static str, BTreeMap<String, Row>>,
    pub coverage: BTreeMap<(Endpoint, Option<String>), Covered>,
    /// Entities that a list no longer names.
    pub missing: BTreeSet<(Endpoint, String)>,
}

impl Snapshot {
    pub fn read(lake: &Lake, manifest: Manifest) -> Self {
        let rows_of = |name| -> Vec<Value> {
            rows::all(&|table| TableReader::open(lake, &manifest, table), registry::by_name(name).unwrap())
                .expect("a table that can be read")
        };
        let mut tables = BTreeMap::new();
        for (name, columns) in WATCHED {
            let Some(entry) = manifest.tables.get(name) else { continue };
            let table = registry::by_name(name).unwrap();
            let row = |row: Value| {
                let key: Vec<&str> =
                    table.key.iter().map(|column| row[*column].as_str().unwrap_or("")).collect();
                let values: Value = columns.iter().map(|column| row[*column].clone()).collect();
                let is = |column| row.get(column).is_some_and(|value| *value == true);
                let (gone, given_up) = (is("no_longer_listed"), is("given_up"));
                let fetched_at = micros(&row["fetched_at"]).expect("a time");
                (key.join("/"), Row { value: plain(&values), fetched_at, gone, given_up })
            };
            let rows: BTreeMap<String, Row> = rows_of(name).into_iter().map(row).collect();
            assert_eq!(rows.len() as u64, entry.rows, "{name}: each key once");
            tables.insert(name, rows);
        }
        let (mut coverage, mut missing) = (BTreeMap::new(), BTreeSet::new());
        for row in rows_of("crawl_coverage") {
            let state = State::by_name(row["state"].as_str().unwrap()).expect("a state");
            let id = row["entity_id"].as_str().map(str::to_owned);
            let is_missing = state == State::Missing;
            let endpoint =
                Endpoint::of(row["operation"].as_str().unwrap(), id.is_some() && !is_missing).unwrap();
            if let (true, Some(id)) = (is_missing, &id) {
                missing.insert((endpoint, id.to_string()));
            } else {
                coverage
                    .insert((endpoint, id), Covered { state, last_read_at: micros(&row["last_read_at"]) });
            }
        }
        Self { manifest, tables, coverage, missing }
    }

    pub fn id(&self) -> &str {
        &self.manifest.snapshot_id
    }

    pub fn state(&self, table: &str) -> TableState {
        self.manifest.tables[table].state.expect("a state")
    }

    pub fn covered(&self, endpoint: Endpoint, entity: Option<&str>) -> Option<State> {
        self.coverage.get(&(endpoint, entity.map(str::to_owned))).map(|covered| covered.state)
    }

    /// Who saw the rows of a table.
    pub fn seen_by(&self, table: &str) -> ActingAs {
        let of_table = self.manifest.tables[table].seen_by.clone();
        of_table.or(self.manifest.acting_as.clone()).unwrap_or_default()
    }
}

pub fn endpoint_of(table: &str) -> Endpoint {
    Endpoint::of_table(registry::by_name(table).unwrap()).unwrap()
}

/// The table whose rows name the entities that a table's rows are of.
pub fn names_of(table: &'static str) -> &'static str {
    match endpoint_of(table).scope() {
        Scope::Workspace => table,
        Scope::Group => "groups",
        Scope::Project => "projects",
    }
}
