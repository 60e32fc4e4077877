//! Which components each project imports, directly or through the components that it imports, and what their cells read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use polars::prelude::*;

use super::connections::text;
use super::earlier::time_at;
use super::lineage::{KEY, utc};
use super::{Inputs, SQL_TABLES};
use crate::snapshot::{self, TableReader};
use crate::tables::{CELLS, COMPONENT_IMPORTS};

/// Components and their tables. They are read once for all parts: a component is any project, and may be in another
/// part than those that import it.
#[derive(Debug)]
pub struct Components {
    /// Components by the projects that import them.
    imports: BTreeMap<String, BTreeSet<String>>,
    /// Tables that the components' own cells read or write, once for each component.
    reads: DataFrame,
}

impl Components {
    /// Those of the inputs.
    pub(super) fn of<'i>(inputs: &'i Inputs<'_>) -> PolarsResult<&'i Self> {
        if let Some(known) = inputs.components.get() {
            return Ok(known);
        }
        let failed = super::unreadable;
        let imports = imports(inputs).map_err(failed)?;
        let components: BTreeSet<&str> = imports.values().flatten().map(String::as_str).collect();
        let reads = reads(inputs, &components)?;
        Ok(inputs.components.get_or_init(|| Self { imports, reads }))
    }

    /// Projects with all components whose cells run when theirs do: `project_id`, `component_id`.
    ///
    /// A component may import others, and some that import it: each is followed once.
    fn reached(&self, inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
        let (mut projects, mut components) = (Vec::new(), Vec::new());
        self.follow(inputs, |project, component| {
            projects.push(project.to_owned());
            components.push(component.to_owned());
        });
        df!("project_id" => projects, "component_id" => components)
    }

    /// Goes through projects with all components whose cells run when theirs do.
    fn follow(&self, inputs: &Inputs<'_>, mut reached: impl FnMut(&str, &str)) {
        for project in self.imports.keys().filter(|project| inputs.projects.holds(project)) {
            let mut seen = BTreeSet::from([project.as_str()]);
            let mut next = vec![project.as_str()];
            while let Some(importer) = next.pop() {
                for component in self.imports.get(importer).into_iter().flatten() {
                    if seen.insert(component) {
                        next.push(component);
                        reached(project, component);
                    }
                }
            }
        }
    }
}

fn imports(inputs: &Inputs<'_>) -> Result<BTreeMap<String, BTreeSet<String>>, snapshot::Error> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Snapshots of before don't have the table.
    if inputs.has(COMPONENT_IMPORTS.name) {
        let path = inputs.path(COMPONENT_IMPORTS.name);
        for batch in TableReader::open_file(&path, &COMPONENT_IMPORTS)? {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let [project, component] = ["project_id", "component_id"].map(|name| text(&batch, name, row));
                if let (Some(project), Some(component)) = (project, component) {
                    imports.entry(project.to_owned()).or_default().insert(component.to_owned());
                }
            }
        }
    }
    Ok(imports)
}

/// Columns of `sql_tables` that components hand on.
const HANDED_ON: [&str; 7] = [
    "project_id",
    "data_connection_id",
    "table_key",
    "direction",
    "database_name",
    "schema_name",
    "table_name",
];

/// Tables that the cells of components read or write, with when the cells were read.
fn reads(inputs: &Inputs<'_>, components: &BTreeSet<&str>) -> PolarsResult<DataFrame> {
    let failed = super::unreadable;
    let mut columns: [Vec<Option<String>>; HANDED_ON.len()] = Default::default();
    let mut seen: Vec<Option<i64>> = Vec::new();
    if !components.is_empty() {
        let mut read_at: HashMap<(String, String), i64> = HashMap::new();
        let names = ["project_id", "static_id", "fetched_at"];
        let path = inputs.path(CELLS.name);
        for batch in TableReader::open_file_columns(&path, &CELLS, &names).map_err(failed)? {
            let batch = batch.map_err(failed)?;
            for row in 0..batch.num_rows() {
                let of = |name| text(&batch, name, row);
                let Some(project) = of("project_id").filter(|id| components.contains(id)) else { continue };
                if let (Some(cell), Some(at)) = (of("static_id"), time_at(&batch, "fetched_at", row)) {
                    read_at.insert((project.to_owned(), cell.to_owned()), at);
                }
            }
        }
        for batch in TableReader::open_file(&inputs.path(SQL_TABLES.name), &SQL_TABLES).map_err(failed)? {
            let batch = batch.map_err(failed)?;
            for row in 0..batch.num_rows() {
                let of = |name| text(&batch, name, row).map(str::to_owned);
                let Some(project) = of("project_id").filter(|id| components.contains(id.as_str())) else {
                    continue;
                };
                columns.iter_mut().zip(HANDED_ON).for_each(|(column, name)| column.push(of(name)));
                seen.push(of("static_id").and_then(|cell| read_at.get(&(project, cell)).copied()));
            }
        }
    }
    let height = seen.len();
    let mut frame: Vec<Column> =
        HANDED_ON.into_iter().zip(columns).map(|(name, column)| Column::new(name.into(), column)).collect();
    frame.push(Column::new("fetched_at".into(), seen).cast(&utc())?);
    let frame = DataFrame::new(height, frame)?.lazy().rename(["project_id"], ["component_id"], true);
    let of_component = [col("component_id"), col(KEY[1]), col(KEY[2]), col(KEY[3])];
    let names = ["database_name", "schema_name", "table_name"].map(|name| col(name).first());
    frame.group_by(of_component).agg([names.as_slice(), &[col("fetched_at").max()]].concat()).collect()
}

/// Number of tables that projects get from the components they import, each counted for every component.
pub(super) fn handed_on(inputs: &Inputs<'_>) -> PolarsResult<u64> {
    let known = Components::of(inputs)?;
    let ids = known.reads.column("component_id")?.str()?;
    let mut tables: HashMap<&str, u64> = HashMap::new();
    ids.iter().flatten().for_each(|id| *tables.entry(id).or_default() += 1);
    let mut rows = 0;
    known.follow(inputs, |_, component| rows += tables.get(component).copied().unwrap_or_default());
    Ok(rows)
}

/// Tables that projects read or write through the components that they import: the key of lineage,
/// `via_component_ids`, the parts of the name, and when the components' cells were read.
pub(super) fn tables(inputs: &Inputs<'_>) -> PolarsResult<LazyFrame> {
    let known = Components::of(inputs)?;
    let reached = known.reached(inputs)?.lazy();
    let inner = JoinArgs::new(JoinType::Inner);
    let read = known.reads.clone().lazy().join(reached, [col("component_id")], [col("component_id")], inner);
    Ok(read.group_by(KEY.map(col)).agg([
        col("component_id").unique().sort(SortOptions::default()).alias("via_component_ids"),
        col("database_name").first().alias("via_database"),
        col("schema_name").first().alias("via_schema"),
        col("table_name").first().alias("via_table"),
        col("fetched_at").max().alias("via_seen"),
    ]))
}
