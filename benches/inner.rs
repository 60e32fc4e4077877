//! The inner parts by themselves: JSON to Arrow for each table, the journal, Parquet, the derived tables, SQL.
//! `cargo bench --bench inner`.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use hexport::client::users::ActingAs;
use hexport::client::{BaseUrl, Client, ClientConfig, Pace, Token, split_page};
use hexport::crawl::{Quiet, Source, Stop};
use hexport::derive::names::{Defaults, Warehouse};
use hexport::derive::sql::{Setting, read};
use hexport::derive::{DERIVATIONS, Given, Inputs, PART_ROWS};
use hexport::export::{JournalFate, Options, export};
use hexport::journal::{CrawlHeader, Entry, FORMAT, Journal, NewEntry};
use hexport::registry;
use hexport::schema::{Context, RowMapper, Table, batch_of};
use hexport::sim::{SimConfig, SimServer, WorldConfig};
use hexport::snapshot::{Format, KeyRange, Lake, SnapshotId, TableReader, TableWriter};
use hexport::tables::ENTITIES;
use serde_json::Value;

/// A snapshot of a workspace with its journal.
struct Sample {
    _dir: tempfile::TempDir,
    folder: PathBuf,
    journal: Journal,
    snapshot_at: DateTime<Utc>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lake = Lake::new(dir.path());
    let manifest = runtime.block_on(async {
        let world = WorldConfig { projects: 400, ..WorldConfig::default() };
        let config = SimConfig { world, ..SimConfig::default() };
        let server = SimServer::start(config, ([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let url = BaseUrl::new(&server.url()).expect("the simulator's address");
        let mut config = ClientConfig::new(url, Token::new("bench").expect("a token"));
        config.pace = Pace::unlimited();
        let client = Client::new(config).expect("a client");
        let options = Options { base_url: "bench".into(), journal: JournalFate::Kept, ..Options::default() };
        let done = export(Source::Api(client), &lake, options, Arc::new(Quiet), Stop::default()).await;
        done.expect("an export").manifest
    });
    let path = &lake.journals().expect("a journal")[0].1;
    Sample {
        folder: dir.path().join(format!("snapshot={}", manifest.snapshot_id)),
        journal: Journal::open(path).expect("a journal"),
        snapshot_at: manifest.snapshot_at,
        _dir: dir,
    }
});

fn main() {
    LazyLock::force(&SAMPLE);
    divan::main();
}

fn table(name: &str) -> &'static Table {
    registry::by_name(name).expect("a table of the registry")
}

fn names() -> Vec<&'static str> {
    ENTITIES.iter().map(|table| table.name).collect()
}

/// Answers that a table's rows come from.
fn answers(table: &Table) -> Vec<(Entry, Vec<u8>)> {
    let entries = SAMPLE.journal.entries().into_iter();
    let of_table = entries.filter(|entry| Some(entry.operation) == table.operation());
    of_table
        .map(|entry| {
            let body = SAMPLE.journal.body(&entry).expect("an answer");
            (entry, body)
        })
        .collect()
}

#[divan::bench(args = names())]
fn json_to_arrow(bencher: Bencher<'_, '_>, name: &str) {
    let table = table(name);
    let answers = answers(table);
    let bytes: usize = answers.iter().map(|(_, body)| body.len()).sum();
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let mut mapper = RowMapper::new(table);
        let mut rows = Vec::new();
        for (entry, body) in &answers {
            let (fetched_at, snapshot_at) = (entry.fetched_at, SAMPLE.snapshot_at);
            let context = Context { entity: entry.entity.as_deref(), fetched_at, snapshot_at };
            let listing = entry.operation.listing.as_ref().expect("a list");
            for item in split_page(listing, body).expect("a page").items {
                let value: Value = serde_json::from_str(item.get()).expect("JSON");
                mapper.map(value, &context, &mut rows);
            }
        }
        batch_of(table, rows).expect("a batch")
    });
}

fn header() -> CrawlHeader {
    CrawlHeader {
        format: FORMAT,
        tool_version: "bench".into(),
        base_url: "bench".into(),
        snapshot_id: SnapshotId::at(DateTime::UNIX_EPOCH),
        snapshot_at: SAMPLE.snapshot_at,
        tables: Vec::new(),
        workspace: None,
        acting_as: ActingAs::Unknown,
        full: false,
        bases: BTreeMap::new(),
        base_snapshot: None,
        fixed_time: None,
    }
}

#[divan::bench]
fn journal_append(bencher: Bencher<'_, '_>) {
    let answers = answers(table("runs"));
    let bytes: usize = answers.iter().map(|(_, body)| body.len()).sum();
    bencher
        .counter(BytesCount::new(bytes))
        .with_inputs(|| tempfile::tempdir().expect("a folder"))
        .bench_values(|dir| {
            let journal = Journal::create(&dir.path().join("bench.hxj"), header()).expect("a journal");
            for (number, (entry, body)) in answers.iter().enumerate() {
                let new = NewEntry {
                    operation: entry.operation,
                    entity: entry.entity.as_ref(),
                    request: &format!("/{number}"),
                    status: 200,
                    accepted: true,
                    attempts: 1,
                    fetched_at: entry.fetched_at,
                    body,
                };
                journal.append(new).expect("room");
            }
            dir
        });
}

#[divan::bench]
fn journal_replay(bencher: Bencher<'_, '_>) {
    let path = SAMPLE.journal.path().to_owned();
    bencher.counter(ItemsCount::new(SAMPLE.journal.len())).bench(|| {
        let journal = Journal::open(&path).expect("a journal");
        journal.entries().iter().map(|entry| journal.body(entry).expect("an answer").len()).sum::<usize>()
    });
}

fn batches(table: &'static Table) -> Vec<RecordBatch> {
    let path = SAMPLE.folder.join(format!("{}.parquet", table.name));
    TableReader::open_file(&path, table).expect("a file").map(|batch| batch.expect("rows")).collect()
}

#[divan::bench(args = ["projects", "runs", "cells"])]
fn write_parquet(bencher: Bencher<'_, '_>, name: &str) {
    let table = table(name);
    let batches = batches(table);
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    bencher
        .counter(ItemsCount::new(rows))
        .with_inputs(|| tempfile::tempdir().expect("a folder"))
        .bench_values(|dir| {
            let mut writer = TableWriter::create(
                table,
                &[Format::Parquet],
                dir.path(),
                &SnapshotId::at(DateTime::UNIX_EPOCH),
            )
            .expect("a file");
            for batch in &batches {
                writer.write(batch).expect("room");
            }
            writer.finish().expect("room");
            dir
        });
}

#[divan::bench(args = DERIVATIONS.iter().map(|d| d.table.name).collect::<Vec<_>>())]
fn derive(bencher: Bencher<'_, '_>, name: &str) {
    let derivation = DERIVATIONS.iter().find(|d| d.table.name == name).expect("a derivation");
    let given = Given::default();
    let inputs = Inputs {
        elsewhere: Default::default(),
        given: &given,
        folder: &SAMPLE.folder,
        snapshot_at: SAMPLE.snapshot_at,
        last_lineage: None,
        projects: KeyRange::default(),
        part_rows: PART_ROWS,
        components: Default::default(),
    };
    bencher.bench(|| (derivation.derive)(black_box(&inputs)).expect("a frame"));
}

#[divan::bench]
fn read_sql(bencher: Bencher<'_, '_>) {
    let column = |batch: &RecordBatch, name: &str, row: usize| {
        use arrow::array::{Array, AsArray};
        let column = batch.column_by_name(name).expect("a column").as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let mut sources = Vec::new();
    for batch in batches(table("cells")) {
        for row in 0..batch.num_rows() {
            if column(&batch, "cell_type", row).as_deref() == Some("SQL") {
                sources.extend(column(&batch, "source", row));
            }
        }
    }
    let bytes: usize = sources.iter().map(String::len).sum();
    let (defaults, dataframes) = (Defaults::default(), HashSet::new());
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let setting = Setting {
            warehouse: Warehouse::Snowflake,
            defaults: &defaults,
            dataframes: &dataframes,
            dataframes_only: false,
        };
        sources.iter().filter(|source| read(source, setting).is_ok()).count()
    });
}
