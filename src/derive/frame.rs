//! Between polars and Arrow.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use polars::prelude::{
    BooleanChunked, ChunkTake, Column, DataFrame, DataType, Float64Chunked, IdxCa, IdxSize, Int32Chunked,
    Int64Chunked, IntoColumn, IntoSeries, ListBuilderTrait, ListStringChunkedBuilder, NewChunkedArray,
    PlSmallStr, PolarsError, PolarsResult, StringChunked, TimeUnit, TimeZone, polars_err,
};

use crate::schema::{Table, Type};

/// A frame with a table's columns as a record batch of it, sorted by its key.
///
/// # Errors
/// If a column is missing or of another type.
pub fn to_batch(
    table: &Table,
    frame: &DataFrame,
    snapshot_at: DateTime<Utc>,
) -> Result<RecordBatch, PolarsError> {
    let rows = frame.height();
    let mut columns = Vec::new();
    for column in table.columns {
        columns.push(to_array(frame.column(column.name)?, &column.ty)?);
    }
    let at = TimestampMicrosecondArray::from_value(snapshot_at.timestamp_micros(), rows).with_timezone("UTC");
    columns.extend(table.common().iter().map(|_| Arc::new(at.clone()) as ArrayRef));
    let arrow = |e: arrow::error::ArrowError| polars_err!(ComputeError: "{}", e);
    let batch = RecordBatch::try_new(table.schema(), columns).map_err(arrow)?;
    crate::schema::sort_unique(table, &table.schema(), &[batch]).map_err(arrow)
}

fn to_array(column: &Column, ty: &Type) -> Result<ArrayRef, PolarsError> {
    let series = column.as_materialized_series();
    Ok(match ty {
        Type::Utf8 | Type::Json => {
            Arc::new(series.cast(&DataType::String)?.str()?.iter().collect::<StringArray>())
        }
        Type::Int64 => Arc::new(series.cast(&DataType::Int64)?.i64()?.iter().collect::<Int64Array>()),
        Type::Float64 => Arc::new(series.cast(&DataType::Float64)?.f64()?.iter().collect::<Float64Array>()),
        Type::Boolean => Arc::new(series.cast(&DataType::Boolean)?.bool()?.iter().collect::<BooleanArray>()),
        Type::Date => Arc::new(
            series.cast(&DataType::Date)?.cast(&DataType::Int32)?.i32()?.iter().collect::<Date32Array>(),
        ),
        Type::Timestamp => {
            let utc = series.cast(&DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)))?;
            let micros = utc.cast(&DataType::Int64)?;
            Arc::new(micros.i64()?.iter().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        Type::List(Type::Utf8) => {
            let mut builder = ListBuilder::new(StringBuilder::new());
            for list in series.list()?.amortized_iter() {
                let Some(list) = list else {
                    builder.append_null();
                    continue;
                };
                for text in list.as_ref().str()?.iter() {
                    builder.values().append_option(text);
                }
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
        Type::List(_) | Type::Struct(_) => {
            return Err(polars_err!(ComputeError: "derived columns are scalars or lists of text"));
        }
    })
}

/// Type of a column in polars; `None` if derived tables don't compute with such columns.
pub(super) fn dtype(ty: &Type) -> Option<DataType> {
    Some(match ty {
        Type::Utf8 | Type::Json => DataType::String,
        Type::Int64 => DataType::Int64,
        Type::Float64 => DataType::Float64,
        Type::Boolean => DataType::Boolean,
        Type::Date => DataType::Date,
        Type::Timestamp => DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        Type::List(Type::Utf8) => DataType::List(Box::new(DataType::String)),
        Type::List(_) | Type::Struct(_) => return None,
    })
}

/// A table's columns with these names, of a record batch of some of its columns.
///
/// # Errors
/// If one is missing, or polars doesn't compute with its type.
pub(super) fn to_frame(table: &Table, names: &[&str], batch: &RecordBatch) -> PolarsResult<DataFrame> {
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let declared = table.all_columns().find(|column| column.name == *name);
        let array = declared.zip(batch.column_by_name(name)).and_then(|(column, array)| {
            let dtype = dtype(&column.ty)?;
            Some(to_column(&column.ty, array, &dtype))
        });
        let missing = || polars_err!(ColumnNotFound: "{} in {}", name, table.name);
        let mut column = array.ok_or_else(missing)??;
        column.rename((*name).into());
        columns.push(column);
    }
    DataFrame::new(batch.num_rows(), columns)
}

/// Texts of which equal ones share their bytes: most columns name few things, and polars keeps the bytes of a column for
/// as long as there is any frame that was made of it.
fn shared(texts: &StringArray) -> PolarsResult<StringChunked> {
    let mut places: HashMap<&str, IdxSize> = HashMap::new();
    let mut different: Vec<&str> = Vec::new();
    let of_rows: IdxCa = texts
        .iter()
        .map(|text| {
            text.map(|text| {
                *places.entry(text).or_insert_with(|| {
                    different.push(text);
                    (different.len() - 1) as IdxSize
                })
            })
        })
        .collect();
    StringChunked::from_slice(PlSmallStr::EMPTY, &different).take(&of_rows)
}

/// A frame whose texts are its own: without the bytes of the frames that it was made of.
pub(super) fn compact(mut frame: DataFrame) -> PolarsResult<DataFrame> {
    let texts: Vec<_> = frame.columns().iter().filter(|column| column.dtype() == &DataType::String).collect();
    let texts: Vec<Column> = texts
        .into_iter()
        .map(|column| {
            let own: StringChunked = column.str()?.iter().collect();
            Ok(own.with_name(column.name().clone()).into_column())
        })
        .collect::<PolarsResult<_>>()?;
    for column in texts {
        frame.with_column(column)?;
    }
    Ok(frame)
}

fn to_column(ty: &Type, array: &ArrayRef, dtype: &DataType) -> PolarsResult<Column> {
    let series = match ty {
        Type::Int64 => array.as_primitive::<Int64Type>().iter().collect::<Int64Chunked>().into_series(),
        Type::Float64 => array.as_primitive::<Float64Type>().iter().collect::<Float64Chunked>().into_series(),
        Type::Boolean => array.as_boolean().iter().collect::<BooleanChunked>().into_series(),
        Type::Date => array.as_primitive::<Date32Type>().iter().collect::<Int32Chunked>().into_series(),
        Type::Timestamp => {
            array.as_primitive::<TimestampMicrosecondType>().iter().collect::<Int64Chunked>().into_series()
        }
        Type::Utf8 | Type::Json => shared(array.as_string())?.into_series(),
        Type::List(_) | Type::Struct(_) => {
            let lists = array.as_list::<i32>();
            let mut builder = ListStringChunkedBuilder::new("".into(), lists.len(), lists.values().len());
            for list in lists.iter() {
                match list {
                    Some(list) => builder.append_values_iter(list.as_string::<i32>().iter().flatten()),
                    None => builder.append_null(),
                }
            }
            builder.finish().into_series()
        }
    };
    Ok(series.cast(dtype)?.into_column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Column as Declared, Datum, batch_of};
    use crate::tables::RUNS;

    #[test]
    fn what_goes_to_polars_comes_back() {
        // Every type that derived tables compute with, nulls included.
        let datum = |column: &Declared, row: usize| match (&column.ty, row % 5) {
            (_, 0) if column.nullable => Datum::Null,
            (Type::Utf8 | Type::Json, _) => Datum::Text(format!("\u{e4}{row}")),
            (Type::Int64, _) => Datum::Int(row as i64 - 7),
            (Type::Float64, _) => Datum::Float(row as f64 / 3.0),
            (Type::Boolean, _) => Datum::Bool(row.is_multiple_of(2)),
            (Type::Timestamp, _) => Datum::Time(row as i64 * 1_000_003),
            (Type::Date, _) => Datum::Date(row as i32 - 3),
            (Type::List(Type::Utf8), n) => Datum::List(vec![Datum::Text(format!("l{row}")); n]),
            _ => Datum::Null,
        };
        let mut types = std::collections::BTreeSet::new();
        for table in [&RUNS, &crate::derive::LINEAGE, &crate::derive::RUN_DAILY] {
            let rows = (0..50).map(|row| table.all_columns().map(|column| datum(column, row)).collect());
            let batch = batch_of(table, rows.collect()).unwrap();
            let known = || table.all_columns().filter(|column| dtype(&column.ty).is_some());
            let names: Vec<&str> = known().map(|column| column.name).collect();
            let frame = to_frame(table, &names, &batch).unwrap();
            assert_eq!(frame.height(), 50);
            for column in known() {
                let back = to_array(frame.column(column.name).unwrap(), &column.ty).unwrap();
                let original = batch.column_by_name(column.name).unwrap();
                assert_eq!(back.as_ref(), original.as_ref(), "{}", column.name);
                types.insert(format!("{:?}", column.ty));
            }
        }
        assert!(types.len() >= 7, "{types:?}");
        let absent = batch_of(&RUNS, Vec::new()).unwrap().project(&[0]).unwrap();
        assert!(to_frame(&RUNS, &["status"], &absent).is_err());
    }
}
