//! Tables as polars' lazy frames: read when they are computed with, and of their columns only those that are needed.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use polars::prelude::{
    AnonymousScan, AnonymousScanArgs, DataFrame, LazyFrame, PolarsError, PolarsResult, ScanArgsAnonymous,
    Schema,
};

use super::frame::{dtype, to_frame};
use crate::schema::Table;
use crate::snapshot::{KeyRange, TableReader};

/// A table's file, to compute with: the columns that polars can hold, in today's schema.
///
/// polars reads Parquet, too, with a reader and an engine of its own that would have to be built for it, and knows
/// nothing of the schemas of older snapshots.
pub(super) fn scan(path: PathBuf, table: &'static Table, range: &KeyRange) -> Result<LazyFrame, PolarsError> {
    let columns = table.all_columns().filter_map(|column| Some((column.name.into(), dtype(&column.ty)?)));
    let schema: Schema = columns.collect();
    let args = ScanArgsAnonymous { schema: Some(Arc::new(schema)), ..ScanArgsAnonymous::default() };
    LazyFrame::anonymous_scan(Arc::new(Scan { path, table, range: range.clone() }), args)
}

struct Scan {
    path: PathBuf,
    table: &'static Table,
    range: KeyRange,
}

impl AnonymousScan for Scan {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn allows_projection_pushdown(&self) -> bool {
        true
    }

    fn scan(&self, wanted: AnonymousScanArgs) -> PolarsResult<DataFrame> {
        let failed = super::unreadable;
        let names: Vec<&str> = match &wanted.with_columns {
            Some(names) => names.iter().map(|name| name.as_str()).collect(),
            None => wanted.schema.iter_names().map(|name| name.as_str()).collect(),
        };
        let reader = TableReader::open_range_columns(&self.path, self.table, &self.range, &names);
        let mut frame: Option<DataFrame> = None;
        for batch in reader.map_err(failed)? {
            let part = to_frame(self.table, &names, &batch.map_err(failed)?)?;
            match &mut frame {
                Some(frame) => _ = frame.vstack_mut_owned(part)?,
                None => frame = Some(part),
            }
        }
        let mut frame = match frame {
            Some(frame) => frame,
            None => DataFrame::empty_with_schema(&wanted.schema).select(names.iter().copied())?,
        };
        frame.rechunk_mut_par();
        Ok(match wanted.n_rows {
            Some(rows) => frame.head(Some(rows)),
            None => frame,
        })
    }
}
