//! Reading a table's CSV file back, for lakes that hold no Parquet.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{Error, Flaw};

/// Batches of a CSV file, in these columns where the file has them. CSV can't tell an empty text from none:
/// it is none, but in columns that always have a value.
pub(super) fn read(
    path: &Path,
    schema: &SchemaRef,
    batch_rows: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + use<>, Error> {
    let mut file = File::open(path).map_err(Error::io("can't read", path))?;
    let header = {
        let mut reader = csv::Reader::from_reader(BufReader::new(&file));
        reader.headers().map_err(|e| Flaw::from(e).of(path))?.clone()
    };
    file.rewind().map_err(Error::io("can't read", path))?;
    let field = |name: &str| match schema.field_with_name(name) {
        Ok(field) if !field.data_type().is_nested() => Field::new(name, field.data_type().clone(), true),
        _ => Field::new(name, DataType::Utf8, true),
    };
    let in_file = Arc::new(Schema::new(header.iter().map(field).collect::<Vec<_>>()));
    let wanted = header.iter().enumerate().filter(|(_, name)| schema.field_with_name(name).is_ok());
    let reader = ReaderBuilder::new(in_file)
        .with_header(true)
        .with_batch_size(batch_rows)
        .with_projection(wanted.map(|(i, _)| i).collect())
        .build_buffered(BufReader::new(file))
        .map_err(|e| Flaw::from(e).of(path))?;
    let schema = schema.clone();
    Ok(reader.map(move |batch| typed(&batch?, &schema)))
}

/// The batch with nested columns out of their JSON, and empty texts where a column always has a value.
fn typed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let wanted = schema.field_with_name(field.name())?;
        let column = if wanted.data_type().is_nested() && !is_plain(column, wanted) {
            from_json(column.as_string::<i32>(), wanted)?
        } else if !wanted.is_nullable() && column.data_type() == &DataType::Utf8 {
            let texts = column.as_string::<i32>();
            Arc::new(texts.iter().map(|text| Some(text.unwrap_or(""))).collect::<StringArray>())
        } else {
            column.clone()
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Whether an older version wrote one text, as it is, where there is a list of texts today. A mixture of both is damage.
fn is_plain(column: &ArrayRef, wanted: &Field) -> bool {
    let is_list = matches!(wanted.data_type(), DataType::List(item) if item.data_type() == &DataType::Utf8);
    let mut texts = column.as_string::<i32>().iter().flatten().peekable();
    is_list && texts.peek().is_some() && texts.all(|text| !text.starts_with(['[', '{', '"']))
}

fn from_json(texts: &StringArray, field: &Field) -> Result<ArrayRef, ArrowError> {
    let inner: FieldRef = Arc::new(Field::new("v", field.data_type().clone(), true));
    let schema = Arc::new(Schema::new(vec![inner]));
    let lines: String = texts.iter().map(|text| format!("{{\"v\":{}}}\n", text.unwrap_or("null"))).collect();
    let mut decoder =
        arrow::json::ReaderBuilder::new(schema).with_batch_size(texts.len().max(1)).build_decoder()?;
    let mut rest = lines.as_bytes();
    while !rest.is_empty() {
        let read = decoder.decode(rest)?;
        if read == 0 {
            break;
        }
        rest = &rest[read..];
    }
    match decoder.flush()? {
        Some(batch) if batch.num_rows() == texts.len() => Ok(batch.column(0).clone()),
        None if texts.is_empty() => Ok(arrow::array::new_empty_array(field.data_type())),
        _ => Err(ArrowError::JsonError(format!("{} holds something that is not JSON", field.name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_of_an_older_version_is_read_and_damaged_json_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("evidence", list, false)]));
        let first = |lines: &str| {
            let path = folder.path().join("t.csv");
            std::fs::write(&path, format!("evidence\n{lines}\n")).unwrap();
            read(&path, &schema, 100).unwrap().next().unwrap()
        };
        assert_eq!(first("both\nsql").unwrap().column(0).data_type(), &DataType::Utf8);
        let lists = first("\"[\"\"sql\"\"]\"").unwrap();
        assert_eq!(lists.column(0).as_list::<i32>().value(0).as_string::<i32>().value(0), "sql");
        for damaged in ["\"[\"\"sql\"\"]\"\nsql", "\"[\"\"sq\""] {
            first(damaged).unwrap_err();
        }
    }
}
