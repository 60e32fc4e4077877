use arrow::array::new_null_array;

use super::*;
use crate::schema::columns::{Column, SubField, Type, text};
use crate::schema::{Origin, itself};
use crate::snapshot::{Format, TableWriter};

const OLD: Type = Type::Struct(&[SubField::new("a", Type::Utf8, "a")]);
const NEW: Type = Type::Struct(&[SubField::new("a", Type::Utf8, "a"), SubField::new("b", OLD, "b")]);

const fn table(columns: &'static [Column]) -> schema::Table {
    schema::Table {
        name: "things",
        doc: "Things",
        origin: Origin::Crawl,
        key: &["id"],
        columns,
        elsewhere: &[],
        explode: itself,
    }
}

static BEFORE: schema::Table = table(&[
    text("id", "", "Identifier").required(),
    Column::new("one", OLD, "", "An object"),
    Column::new("many", Type::List(&OLD), "", "Objects"),
]);
static AFTER: schema::Table = table(&[
    text("id", "", "Identifier").required(),
    Column::new("one", NEW, "", "An object"),
    Column::new("many", Type::List(&NEW), "", "Objects"),
    text("more", "", "A column"),
]);

/// Commits a snapshot of one row, and makes a version of it.
fn night(lake: &Lake, table: &'static schema::Table, id: &str, sequence: u64) {
    let manifest = commit(lake, table, id, sequence);
    write(lake, &manifest, [table].into_iter(), DeltaMode::History, Which::All).unwrap();
}

fn commit(lake: &Lake, table: &'static schema::Table, id: &str, sequence: u64) -> Manifest {
    let empty = Manifest::empty(id);
    let staging = lake.stage(&empty.snapshot_id).unwrap();
    let mut writer =
        TableWriter::create(table, &[Format::Parquet], staging.folder(), &empty.snapshot_id).unwrap();
    let schema = table.schema();
    let column = |field: &FieldRef| -> ArrayRef {
        match field.is_nullable() {
            true => new_null_array(field.data_type(), 1),
            false if field.data_type() == &DataType::Utf8 => Arc::new(StringArray::from(vec![id])),
            false => {
                let at = arrow::array::TimestampMicrosecondArray::from(vec![0_i64]);
                Arc::new(at.with_timezone("UTC"))
            }
        }
    };
    let columns = schema.fields().iter().map(column).collect();
    writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    let entry = writer.finish().unwrap();
    let tables = std::collections::BTreeMap::from([("things".to_owned(), entry)]);
    let manifest = Manifest { sequence: Some(sequence), tables, ..empty };
    staging.commit(&manifest).unwrap();
    manifest
}

fn schema_of(lake: &Lake) -> String {
    Threads::with(lake, |engine, root| {
        let url = root.join("delta/things/").unwrap();
        let snapshot = Snapshot::builder_for(url.as_str()).build(engine).unwrap();
        Ok(format!("{:?}", snapshot.schema()))
    })
    .unwrap()
}

#[test]
fn new_fields_within_objects_and_lists_evolve_the_schema() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::new(dir.path());
    night(&lake, &BEFORE, "2026-11-01T020000Z", 1);
    let before = schema_of(&lake);
    assert_eq!(before.matches("\"b\"").count(), 0, "{before}");
    night(&lake, &AFTER, "2026-11-02T020000Z", 2);
    night(&lake, &AFTER, "2026-11-03T020000Z", 3);
    let wanted: StructType = {
        let mut fields: Vec<FieldRef> = AFTER.schema().fields().iter().map(nullable).collect();
        fields.push(Arc::new(Field::new(PARTITION, DataType::Date32, true)));
        (&Schema::new(fields)).try_into_kernel().unwrap()
    };
    let there = Threads::with(&lake, |engine, root| {
        let url = root.join("delta/things/").unwrap();
        Ok(Snapshot::builder_for(url.as_str()).build(engine).unwrap().schema())
    });
    assert_eq!(new_fields(&there.unwrap(), &wanted), []);
}

#[test]
fn a_night_costs_the_same_after_400_nights() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::new(dir.path());
    let id = |n: u64| {
        let at = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000 + n as i64);
        crate::snapshot::SnapshotId::at(at)
    };
    let timed = |nights: std::ops::Range<u64>| {
        let (started, count) = (std::time::Instant::now(), nights.end - nights.start);
        nights.for_each(|n| night(&lake, &BEFORE, &id(n), n + 1));
        started.elapsed().as_secs_f64() / count as f64
    };
    let early = timed(0..10);
    // Delta gets these nights later, all at once.
    let last = (10..390).fold(None, |_, n| Some(commit(&lake, &BEFORE, &id(n), n + 1))).unwrap();
    let started = std::time::Instant::now();
    write(&lake, &last, [&BEFORE].into_iter(), DeltaMode::History, Which::All).unwrap();
    let caught_up = started.elapsed().as_secs_f64() / 380.0;
    let late = timed(390..400);
    let started = std::time::Instant::now();
    let files = Threads::with(&lake, |engine, root| {
        let url = root.join("delta/things/").unwrap();
        let snapshot = Snapshot::builder_for(url.as_str()).build(engine).unwrap();
        let scan = snapshot.clone().scan_builder().build().unwrap();
        let files = scan.scan_metadata(engine).unwrap().map(|part| {
            let (data, selected) = part.unwrap().scan_files.into_parts();
            (0..data.len()).filter(|i| selected.get(*i).copied().unwrap_or(true)).count()
        });
        Ok(files.sum::<usize>())
    });
    let opened = started.elapsed().as_secs_f64();
    println!(
        "a night: {early:.3} s, after 400: {late:.3} s; caught up {caught_up:.3} s; opened in {opened:.3} s"
    );
    assert_eq!(files.unwrap(), 400);
    assert!(late < 5.0 * early + 0.5, "{late} s a night, and {early} s at first");
}
