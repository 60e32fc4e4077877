//! Between polars and Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use chrono::{DateTime, Utc};
use polars::prelude::{Column, DataFrame, DataType, PolarsError, TimeUnit, TimeZone, polars_err};

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
