//! Which components each project imports, directly or through the components that it imports.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::*;

use super::connections::text;
use super::{Inputs, SQL_TABLES, lineage::KEY, scan};
use crate::snapshot::TableReader;
use crate::tables::{CELLS, COMPONENT_IMPORTS};

/// Projects with all components whose cells run when theirs do: `project_id`, `component_id`.
///
/// A component may import others, and some that import it: each is followed once.
fn reached(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let failed = |e: crate::snapshot::Error| polars_err!(ComputeError: "{}", e);
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Snapshots of before don't have the table.
    if inputs.has(COMPONENT_IMPORTS.name) {
        let path = inputs.path(COMPONENT_IMPORTS.name);
        for batch in TableReader::open_file(&path, &COMPONENT_IMPORTS).map_err(failed)? {
            let batch = batch.map_err(failed)?;
            for row in 0..batch.num_rows() {
                let [project, component] = ["project_id", "component_id"].map(|name| text(&batch, name, row));
                if let (Some(project), Some(component)) = (project, component) {
                    imports.entry(project.to_owned()).or_default().insert(component.to_owned());
                }
            }
        }
    }
    let (mut projects, mut components) = (Vec::new(), Vec::new());
    let bounds = &inputs.projects;
    let is_here = |project: &&String| {
        bounds.from.as_ref().is_none_or(|from| *project >= from)
            && bounds.to.as_ref().is_none_or(|to| *project < to)
    };
    for project in imports.keys().filter(is_here) {
        let mut seen = BTreeSet::from([project.as_str()]);
        let mut next = vec![project.as_str()];
        while let Some(importer) = next.pop() {
            for component in imports.get(importer).into_iter().flatten() {
                if seen.insert(component) {
                    next.push(component);
                    projects.push(project.clone());
                    components.push(component.clone());
                }
            }
        }
    }
    df!("project_id" => projects, "component_id" => components)
}

/// Tables that projects read or write through the components that they import: the key of lineage,
/// `via_component_ids`, the parts of the name, and when the components' cells were read.
pub(super) fn tables(inputs: &Inputs<'_>) -> PolarsResult<LazyFrame> {
    let inner = || JoinArgs::new(JoinType::Inner);
    // A component is any project: what its cells read is not only in this part.
    let cells = scan(&inputs.path(CELLS.name))?.select([
        col("project_id").alias("component_id"),
        col("static_id"),
        col("fetched_at"),
    ]);
    let read = scan(&inputs.path(SQL_TABLES.name))?
        .select([
            col("project_id").alias("component_id"),
            col("static_id"),
            col("data_connection_id"),
            col("table_key"),
            col("direction"),
            col("database_name"),
            col("schema_name"),
            col("table_name"),
        ])
        .join(reached(inputs)?.lazy(), [col("component_id")], [col("component_id")], inner())
        .join(
            cells,
            ["component_id", "static_id"].map(col),
            ["component_id", "static_id"].map(col),
            JoinArgs::new(JoinType::Left),
        );
    Ok(read.group_by(KEY.map(col)).agg([
        col("component_id").unique().sort(SortOptions::default()).alias("via_component_ids"),
        col("database_name").first().alias("via_database"),
        col("schema_name").first().alias("via_schema"),
        col("table_name").first().alias("via_table"),
        col("fetched_at").max().alias("via_seen"),
    ]))
}
