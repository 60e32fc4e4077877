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
    let staging = lake.stage(id).unwrap();
    let mut writer = TableWriter::create(table, &[Format::Parquet], staging.folder(), id).unwrap();
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
    let manifest = Manifest { sequence: Some(sequence), tables, ..Manifest::empty(id) };
    staging.commit(&manifest).unwrap();
    write(lake, &manifest, [table].into_iter(), DeltaMode::History, Which::All).unwrap();
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
