//! Counts of distinct values per group: of a table's readers, of a connection's tables.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray};
use polars::prelude::*;

use super::Inputs;
use crate::schema::Table;
use crate::snapshot::TableReader;

/// Different values by group. Texts are held once; which value goes with which group, as two numbers: a workspace has
/// millions of pairs of a table and an owner.
pub(super) struct Different {
    groups: Texts,
    /// The values of the columns that each group is of.
    keys: Vec<Vec<Option<String>>>,
    values: Texts,
    pairs: HashSet<(u32, u32)>,
}

/// Texts by number.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Box<str>, u32>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        match self.numbers.get(text) {
            Some(number) => *number,
            None => {
                let next = self.numbers.len() as u32;
                self.numbers.insert(text.into(), next);
                next
            }
        }
    }
}

impl Different {
    /// Reads them: of the rows of a table whose column `only.0` is `only.1`, if that is given, the values of `value` by
    /// the columns `by`. Nulls are no value.
    pub fn read(
        inputs: &Inputs<'_>,
        table: &'static Table,
        by: &[&'static str],
        value: &'static str,
        only: Option<(&'static str, &str)>,
    ) -> PolarsResult<Self> {
        let failed = super::unreadable;
        let mut found = Self {
            groups: Texts::default(),
            keys: Vec::new(),
            values: Texts::default(),
            pairs: HashSet::new(),
        };
        let columns: Vec<&str> =
            by.iter().copied().chain([value]).chain(only.map(|(name, _)| name)).collect();
        let path = inputs.path(table.name);
        let mut group = String::new();
        for batch in TableReader::open_file_columns(&path, table, &columns).map_err(failed)? {
            let batch = batch.map_err(failed)?;
            let texts = |name: &str| batch.column_by_name(name).map(|column| column.as_string::<i32>());
            let keys: Vec<_> = by.iter().map(|name| texts(name)).collect();
            let (values, filter) =
                (texts(value), only.and_then(|(name, wanted)| Some((texts(name)?, wanted))));
            let at = |column: &Option<&'_ arrow::array::StringArray>, row| -> Option<String> {
                column.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned())
            };
            for row in 0..batch.num_rows() {
                if filter.is_some_and(|(column, wanted)| column.is_null(row) || column.value(row) != wanted) {
                    continue;
                }
                group.clear();
                for column in &keys {
                    // A null is another group than an empty text.
                    match column.filter(|column| column.is_valid(row)) {
                        Some(column) => group.extend(["+", column.value(row), "\0"]),
                        None => group.push_str("-\0"),
                    }
                }
                let number = found.groups.number(&group);
                if number as usize == found.keys.len() {
                    found.keys.push(keys.iter().map(|column| at(column, row)).collect());
                }
                if let Some(values) = values.filter(|values| values.is_valid(row)) {
                    found.pairs.insert((number, found.values.number(values.value(row))));
                }
            }
        }
        Ok(found)
    }

    /// A row a group: the columns that it is of, and how many values it has as `count`.
    pub fn counted(&self, by: &[&str], count: &str) -> PolarsResult<DataFrame> {
        let mut counts = vec![0_i64; self.keys.len()];
        self.pairs.iter().for_each(|(group, _)| counts[*group as usize] += 1);
        let of_groups =
            |i: usize| self.keys.iter().map(|key| key[i].as_deref()).collect::<Vec<Option<&str>>>();
        let mut columns: Vec<Column> =
            by.iter().enumerate().map(|(i, name)| Column::new((*name).into(), of_groups(i))).collect();
        columns.push(Column::new(count.into(), counts));
        DataFrame::new(self.keys.len(), columns)
    }

    /// As [`counted`](Self::counted), with the values themselves, sorted, as `list`.
    pub fn listed(&self, by: &[&str], count: &str, list: &str) -> PolarsResult<DataFrame> {
        let mut texts = vec![""; self.values.numbers.len()];
        self.values.numbers.iter().for_each(|(text, number)| texts[*number as usize] = text);
        let mut pairs: Vec<(u32, &str)> =
            self.pairs.iter().map(|(group, value)| (*group, texts[*value as usize])).collect();
        pairs.sort_unstable();
        let mut lists = ListStringChunkedBuilder::new(list.into(), self.keys.len(), pairs.len());
        let mut rest = pairs.as_slice();
        for group in 0..self.keys.len() as u32 {
            let (of_group, others) = rest.split_at(rest.partition_point(|(of, _)| *of == group));
            lists.append_values_iter(of_group.iter().map(|(_, text)| *text));
            rest = others;
        }
        let mut frame = self.counted(by, count)?;
        frame.with_column(lists.finish().into_series().into())?;
        Ok(frame)
    }
}
