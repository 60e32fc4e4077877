//! Sorts rows of a table by its key in bounded memory, and joins those with the same key.
//!
//! Chunks are sorted and written to temporary files, which are merged with the rows of earlier snapshots.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};

use super::error::Error;
use crate::schema::{Datum, Row, Table, Type};
use crate::snapshot::TableReader;

/// Rows that are sorted in memory.
const CHUNK_ROWS: usize = 25_000;
/// Totals that are kept in memory before they are sorted, of each table.
const PENDING: usize = 15_000;
/// Temporary files that are merged into one: each is open, and takes memory while it is read.
const FAN_IN: usize = 32;

/// Aggregation of a column when rows are joined.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Join {
    Sum,
    Least,
    Most,
    /// The last one that isn't null.
    Last,
}

fn joins(table: &Table) -> Vec<Join> {
    let join = |name: &str| match name {
        "queries" | "cached" | "failures" | "seconds" | "bytes_scanned" | "credits" | "slot_seconds" => {
            Join::Sum
        }
        "first_at" => Join::Least,
        "last_at" | "fetched_at" | "snapshot_at" => Join::Most,
        _ => Join::Last,
    };
    table.all_columns().map(|column| join(column.name)).collect()
}

fn join(joins: &[Join], into: &mut Row, other: Row) {
    for ((join, a), b) in joins.iter().zip(into.iter_mut()).zip(other) {
        *a = match (join, std::mem::replace(a, Datum::Null), b) {
            (_, a, Datum::Null) => a,
            (_, Datum::Null, b) => b,
            (Join::Sum, Datum::Int(a), Datum::Int(b)) => Datum::Int(a.saturating_add(b)),
            (Join::Sum, Datum::Float(a), Datum::Float(b)) => Datum::Float(a + b),
            (Join::Least, Datum::Time(a), Datum::Time(b)) => Datum::Time(a.min(b)),
            (Join::Most, Datum::Time(a), Datum::Time(b)) => Datum::Time(a.max(b)),
            (_, _, b) => b,
        };
    }
}

/// A row's key.
#[derive(Debug, Clone, PartialEq)]
pub struct Key(Vec<Datum>);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| order(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// The order of the files: nulls first, texts by their bytes.
fn order(a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Int(a), Datum::Int(b)) | (Datum::Time(a), Datum::Time(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (a, b) => (*a != Datum::Null).cmp(&(*b != Datum::Null)),
    }
}

/// Rows that are being sorted.
pub struct Sorter {
    table: &'static Table,
    folder: PathBuf,
    key: Vec<usize>,
    /// Aggregation of each column when rows with the same key are joined; if none, rows aren't joined.
    joins: Option<Vec<Join>>,
    rows: Vec<Row>,
    /// Sorted files by the number of merges that they have been through, each level in the order of creation.
    levels: Vec<Vec<File>>,
}

/// Rows in the order of the key.
type Sorted = Box<dyn Iterator<Item = Result<Row, Error>>>;

impl Sorter {
    /// Nothing yet; temporary files go to a folder.
    pub fn new(table: &'static Table, folder: &Path) -> Self {
        let (key, rows, levels) = (table.key_indices(), Vec::new(), Vec::new());
        Self { table, folder: folder.to_owned(), key, joins: None, rows, levels }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Scratch { path: self.folder.clone(), source: Box::new(source) }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If a chunk can't be written.
    pub fn push(&mut self, row: Row) -> Result<(), Error> {
        self.rows.push(row);
        if self.rows.len() >= CHUNK_ROWS { self.spill() } else { Ok(()) }
    }

    fn sort(&mut self) {
        let key = &self.key;
        // Stable: of rows with the same key the first one stays first.
        self.rows.sort_by(|a, b| {
            key.iter().map(|i| order(&a[*i], &b[*i])).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
    }

    fn spill(&mut self) -> Result<(), Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.sort();
        let rows = std::mem::take(&mut self.rows);
        let run = self.written(rows.into_iter().map(Ok))?;
        self.keep(run, 0)
    }

    /// Keeps a sorted file; when a level has many, they become one of the next.
    fn keep(&mut self, run: File, level: usize) -> Result<(), Error> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(run);
        if self.levels[level].len() < FAN_IN {
            return Ok(());
        }
        let runs = std::mem::take(&mut self.levels[level]);
        let sources = runs.into_iter().map(|run| self.rows_in(run)).collect::<Result<Vec<_>, _>>()?;
        let mut merge = Merge::new(self.keyed(sources))?;
        let joins = self.joins.clone();
        let mut open: Option<(Key, Row)> = None;
        let mut is_done = false;
        let merged = std::iter::from_fn(|| {
            while !is_done {
                let next = match merge.next() {
                    Ok(next) => next,
                    Err(error) => return Some(Err(error)),
                };
                let Some((key, row)) = next else {
                    is_done = true;
                    break;
                };
                match (&mut open, &joins) {
                    (Some((known, into)), Some(joins)) if *known == key => join(joins, into, row),
                    _ => {
                        if let Some((_, row)) = open.replace((key, row)) {
                            return Some(Ok(row));
                        }
                    }
                }
            }
            open.take().map(|(_, row)| Ok(row))
        });
        let run = self.written(merged)?;
        self.keep(run, level + 1)
    }

    /// A temporary file of rows.
    fn written(&self, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<File, Error> {
        let begin = || -> io::Result<_> {
            let file = tempfile::tempfile_in(&self.folder)?;
            let mut to = zstd::Encoder::new(BufWriter::new(file), 1)?;
            to.window_log(17)?;
            Ok(to)
        };
        let mut to = begin().map_err(|e| self.failed(e))?;
        for row in rows {
            row?.iter().try_for_each(|datum| write_datum(&mut to, datum)).map_err(|e| self.failed(e))?;
        }
        let end = || -> io::Result<File> {
            let mut file = to.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            Ok(file)
        };
        end().map_err(|e| self.failed(e))
    }

    /// The rows of a temporary file.
    fn rows_in(&self, run: File) -> Result<Sorted, Error> {
        let folder = self.folder.clone();
        let failed = move |e: io::Error| Error::Scratch { path: folder.clone(), source: Box::new(e) };
        let width = self.table.all_columns().count();
        let mut from = BufReader::new(zstd::Decoder::new(run).map_err(&failed)?);
        Ok(Box::new(std::iter::from_fn(move || read_row(&mut from, width).map_err(&failed).transpose())))
    }

    /// All rows in the order of the key: what was pushed first is in the first source.
    fn sorted(&mut self) -> Result<Vec<Sorted>, Error> {
        self.sort();
        let mut sources: Vec<Sorted> = Vec::new();
        for run in std::mem::take(&mut self.levels).into_iter().rev().flatten() {
            sources.push(self.rows_in(run)?);
        }
        sources.push(Box::new(std::mem::take(&mut self.rows).into_iter().map(Ok)));
        Ok(sources)
    }

    /// Gives each row once, in the order of the key, together with whether `known` has a row of its key. Of rows with
    /// the same key the first one that was pushed is given; the number of the others is the result.
    ///
    /// # Errors
    /// If rows can't be read; and what `take` gives.
    pub fn distinct(
        mut self,
        known: Vec<Keys>,
        mut take: impl FnMut(Row, bool) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let key = self.key.clone();
        let key_of = |row: &Row| Key(key.iter().map(|i| row[*i].clone()).collect());
        let mut known = Merge::new(known.into_iter().map(Iterator::peekable).collect())?;
        let sources = self.sorted()?;
        let mut merge = Merge::new(self.keyed(sources))?;
        let (mut last, mut repeated): (Option<Key>, u64) = (None, 0);
        let mut of_known = known.next()?;
        while let Some((next, row)) = merge.next()? {
            if last.as_ref() == Some(&next) {
                repeated += 1;
                continue;
            }
            while of_known.as_ref().is_some_and(|(known, ())| *known < next) {
                of_known = known.next()?;
            }
            let is_known = of_known.as_ref().is_some_and(|(known, ())| *known == next);
            debug_assert_eq!(key_of(&row), next);
            take(row, is_known)?;
            last = Some(next);
        }
        Ok(repeated)
    }

    /// Rows with their keys.
    fn keyed(&self, sources: Vec<Sorted>) -> Vec<std::iter::Peekable<Keyed<Row>>> {
        let keyed = |source: Sorted| -> Keyed<Row> {
            let key = self.key.clone();
            Box::new(source.map(move |row| {
                let row = row?;
                Ok((Key(key.iter().map(|i| row[*i].clone()).collect()), row))
            }))
        };
        sources.into_iter().map(|source| keyed(source).peekable()).collect()
    }
}

/// Keys of rows that are known, in their order.
pub struct Keys(Keyed<()>);

type Keyed<T> = Box<dyn Iterator<Item = Result<(Key, T), Error>>>;

impl Iterator for Keys {
    type Item = Result<(Key, ()), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl Keys {
    /// The keys of a table's rows; of the reader the key's columns are enough.
    pub fn of(table: &'static Table, reader: TableReader) -> Self {
        let types: Vec<(&'static str, Type)> = table
            .key
            .iter()
            .map(|name| {
                (*name, table.all_columns().find(|c| c.name == *name).expect("a column of the key").ty)
            })
            .collect();
        let rows = reader.flat_map(move |batch| -> Box<dyn Iterator<Item = _>> {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Box::new(std::iter::once(Err(Error::from(error)))),
            };
            let types = types.clone();
            Box::new((0..batch.num_rows()).map(move |row| {
                Ok((Key(types.iter().map(|(name, ty)| datum(&batch, name, *ty, row)).collect()), ()))
            }))
        });
        Self(Box::new(rows))
    }
}

/// Several sorted sources as one. Of equal keys the earlier source comes first.
struct Merge<I, T>
where
    I: Iterator<Item = Result<(Key, T), Error>>,
{
    sources: Vec<std::iter::Peekable<I>>,
    heap: BinaryHeap<Reverse<(Key, usize)>>,
}

impl<I, T> Merge<I, T>
where
    I: Iterator<Item = Result<(Key, T), Error>>,
{
    fn new(sources: Vec<std::iter::Peekable<I>>) -> Result<Self, Error> {
        let mut merge = Self { sources, heap: BinaryHeap::new() };
        for at in 0..merge.sources.len() {
            merge.queue(at)?;
        }
        Ok(merge)
    }

    fn queue(&mut self, at: usize) -> Result<(), Error> {
        match self.sources[at].peek() {
            Some(Ok((key, _))) => self.heap.push(Reverse((key.clone(), at))),
            Some(Err(_)) => {
                self.sources[at].next().transpose()?;
            }
            None => {}
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Key, T)>, Error> {
        let Some(Reverse((_, at))) = self.heap.pop() else { return Ok(None) };
        let next = self.sources[at].next().transpose()?;
        self.queue(at)?;
        Ok(next)
    }
}

/// Totals of a table: rows with the same key are added up.
pub struct Totals {
    joins: Vec<Join>,
    pending: HashMap<Vec<u8>, Row>,
    sorter: Sorter,
}

impl Totals {
    /// Nothing yet; temporary files go to a folder.
    pub fn new(table: &'static Table, folder: &Path) -> Self {
        let sorter = Sorter { joins: Some(joins(table)), ..Sorter::new(table, folder) };
        Self { joins: joins(table), pending: HashMap::new(), sorter }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If a chunk can't be written.
    pub fn add(&mut self, row: Row) -> Result<(), Error> {
        let mut key = Vec::with_capacity(128);
        for i in &self.sorter.key {
            write_datum(&mut key, &row[*i]).map_err(|e| self.sorter.failed(e))?;
        }
        match self.pending.get_mut(&key) {
            Some(known) => join(&self.joins, known, row),
            None => drop(self.pending.insert(key, row)),
        }
        if self.pending.len() >= PENDING { self.drain() } else { Ok(()) }
    }

    fn drain(&mut self) -> Result<(), Error> {
        self.sorter.rows.extend(self.pending.drain().map(|(_, row)| row));
        self.sorter.spill()
    }

    /// Gives the totals in the order of the key, with those of an earlier snapshot added.
    ///
    /// # Errors
    /// If rows can't be read; and what `take` gives.
    pub fn finish(
        mut self,
        earlier: Option<TableReader>,
        mut take: impl FnMut(Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.drain()?;
        let Self { joins, mut sorter, .. } = self;
        let (table, key) = (sorter.table, sorter.key.clone());
        let mut sources = Vec::new();
        if let Some(reader) = earlier {
            let rows = reader.flat_map(move |batch| match batch {
                Ok(batch) => rows_of(table, &batch).into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(Error::from(error))],
            });
            let keyed: Keyed<Row> = Box::new(rows.map(move |row| {
                let row: Row = row?;
                Ok((Key(key.iter().map(|i| row[*i].clone()).collect()), row))
            }));
            sources.push(keyed.peekable());
        }
        let sorted = sorter.sorted()?;
        sources.extend(sorter.keyed(sorted));
        let mut merge = Merge::new(sources)?;
        let mut open: Option<(Key, Row)> = None;
        while let Some((next, row)) = merge.next()? {
            match &mut open {
                Some((key, known)) if *key == next => join(&joins, known, row),
                _ => {
                    if let Some((_, done)) = open.replace((next, row)) {
                        take(done)?;
                    }
                }
            }
        }
        open.map_or(Ok(()), |(_, done)| take(done))
    }
}

/// A batch's rows.
pub fn rows_of(table: &'static Table, batch: &RecordBatch) -> Vec<Row> {
    let columns: Vec<(&'static str, Type)> = table.all_columns().map(|c| (c.name, c.ty)).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|(name, ty)| datum(batch, name, *ty, row)).collect())
        .collect()
}

fn datum(batch: &RecordBatch, name: &str, ty: Type, row: usize) -> Datum {
    let Some(array) = batch.column_by_name(name).filter(|array| array.is_valid(row)) else {
        return Datum::Null;
    };
    match ty {
        Type::Utf8 | Type::Json => Datum::Text(array.as_string::<i32>().value(row).to_owned()),
        Type::Int64 => Datum::Int(array.as_primitive::<Int64Type>().value(row)),
        Type::Float64 => Datum::Float(array.as_primitive::<Float64Type>().value(row)),
        Type::Boolean => Datum::Bool(array.as_boolean().value(row)),
        Type::Timestamp => Datum::Time(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        Type::Date => Datum::Date(array.as_primitive::<Date32Type>().value(row)),
        Type::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let texts = items.as_string::<i32>();
            Datum::List(texts.iter().map(Datum::text).collect())
        }
        Type::Struct(_) => unreachable!("no table of histories has structs"),
    }
}

fn write_datum(to: &mut impl Write, datum: &Datum) -> io::Result<()> {
    match datum {
        Datum::Null => to.write_all(&[0]),
        Datum::Text(text) => {
            to.write_all(&[1])?;
            to.write_all(&(text.len() as u32).to_le_bytes())?;
            to.write_all(text.as_bytes())
        }
        Datum::Int(n) => to.write_all(&[2]).and_then(|()| to.write_all(&n.to_le_bytes())),
        Datum::Float(n) => to.write_all(&[3]).and_then(|()| to.write_all(&n.to_le_bytes())),
        Datum::Bool(b) => to.write_all(&[4, u8::from(*b)]),
        Datum::Time(n) => to.write_all(&[5]).and_then(|()| to.write_all(&n.to_le_bytes())),
        Datum::Date(n) => to.write_all(&[6]).and_then(|()| to.write_all(&n.to_le_bytes())),
        Datum::List(items) => {
            to.write_all(&[7])?;
            to.write_all(&(items.len() as u32).to_le_bytes())?;
            items.iter().try_for_each(|item| write_datum(to, item))
        }
        Datum::Struct(_) => unreachable!("no table of histories has structs"),
    }
}

/// The next row; `None` at the end.
fn read_row(from: &mut impl Read, width: usize) -> io::Result<Option<Row>> {
    let mut tag = [0u8];
    if from.read(&mut tag)? == 0 {
        return Ok(None);
    }
    let mut row = Row::with_capacity(width);
    row.push(read_datum(from, tag[0])?);
    for _ in 1..width {
        from.read_exact(&mut tag)?;
        row.push(read_datum(from, tag[0])?);
    }
    Ok(Some(row))
}

fn read_datum(from: &mut impl Read, tag: u8) -> io::Result<Datum> {
    fn bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        from.read_exact(&mut bytes)?;
        Ok(bytes)
    }
    Ok(match tag {
        0 => Datum::Null,
        1 => {
            let mut text = vec![0; u32::from_le_bytes(bytes(from)?) as usize];
            from.read_exact(&mut text)?;
            Datum::Text(String::from_utf8(text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?)
        }
        2 => Datum::Int(i64::from_le_bytes(bytes(from)?)),
        3 => Datum::Float(f64::from_le_bytes(bytes(from)?)),
        4 => Datum::Bool(bytes::<1>(from)?[0] != 0),
        5 => Datum::Time(i64::from_le_bytes(bytes(from)?)),
        6 => Datum::Date(i32::from_le_bytes(bytes(from)?)),
        7 => {
            let length = u32::from_le_bytes(bytes(from)?);
            let item = |_| -> io::Result<Datum> {
                let [tag] = bytes(from)?;
                read_datum(from, tag)
            };
            Datum::List((0..length).map(item).collect::<io::Result<_>>()?)
        }
        tag => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{tag} is no tag"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{HISTORY_DAYS, WAREHOUSE_QUERIES};

    fn day(connection: Option<&str>, day: i32, at: i64) -> Row {
        let (at, connection) = (Datum::Time(at), Datum::text(connection));
        let now = Datum::Time(0);
        let kind = Datum::Text("trino".into());
        vec![kind, connection, Datum::Date(day), Datum::Int(1), at.clone(), at, now.clone(), now]
    }

    #[test]
    fn totals_add_up_over_chunks_in_the_order_of_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let mut totals = Totals::new(&HISTORY_DAYS, dir.path());
        for n in 0..5_000i64 {
            let connection = [None, Some("b"), Some("a")][n as usize % 3];
            totals.add(day(connection, (n % 7) as i32, n)).unwrap();
            // More files than are merged at once, so that some are merged twice.
            if n % 50 == 49 {
                totals.drain().unwrap();
            }
        }
        assert!(totals.sorter.levels.len() == 2 && totals.sorter.levels[1].len() == 3);
        let mut rows = Vec::new();
        let take = |row| {
            rows.push(row);
            Ok(())
        };
        totals.finish(None, take).unwrap();
        assert_eq!(rows.len(), 21);
        let keys: Vec<Key> = rows.iter().map(|row| Key(row[..3].to_vec())).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys[0].0[1], Datum::Null);
        let total = |row: &Row| match row[3] {
            Datum::Int(n) => n,
            _ => 0,
        };
        assert_eq!(rows.iter().map(total).sum::<i64>(), 5_000);
        let first = rows.iter().find(|row| row[1] == Datum::Null && row[2] == Datum::Date(3)).unwrap();
        assert_eq!((&first[4], &first[5]), (&Datum::Time(3), &Datum::Time(4_980)));
    }

    #[test]
    fn each_key_is_given_once_and_rows_survive_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(&WAREHOUSE_QUERIES, dir.path());
        let width = WAREHOUSE_QUERIES.all_columns().count();
        let row = |id: u32| -> Row {
            let mut row = vec![Datum::Null; width];
            row[0] = Datum::Text("trino".into());
            row[1] = Datum::Text(format!("q{id:04}"));
            row[13] = Datum::Float(f64::from(id) / 3.0);
            row[17] = Datum::Bool(true);
            row[23] = Datum::List(vec![Datum::Text("Größe".into()), Datum::Null]);
            row
        };
        for id in (0..100).chain(50..120) {
            sorter.push(row(id)).unwrap();
            if id % 3 == 2 {
                sorter.spill().unwrap();
            }
        }
        let mut given = Vec::new();
        let take = |row, known| {
            given.push((row, known));
            Ok(())
        };
        let repeated = sorter.distinct(Vec::new(), take).unwrap();
        assert_eq!((given.len(), repeated), (120, 50));
        for (id, (found, known)) in given.into_iter().enumerate() {
            assert_eq!((found, known), (row(id as u32), false));
        }
    }
}
