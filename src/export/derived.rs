//! The derived tables of a snapshot, from the Parquet files of those that are written already.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Error;
use super::bases::{self, Bases};
use super::build::{Built, Target};
use crate::audit;
use crate::derive;
use crate::schema::{Drift, Table};
use crate::snapshot::{self, KeyRange, Lake, Manifest, TableEntry, TableWriter};
use crate::tables::{AUDIT_FINDINGS, AUDIT_RULES, CELLS, PROJECTS};

/// Writes a table.
type Write<'a> = dyn Fn() -> Result<TableEntry, Error> + 'a;

/// Writes the derived ones of `tables`, from the Parquet files that are in the target's folder already.
///
/// # Errors
/// The first that any table met.
pub fn derive(
    target: &Target<'_>,
    lake: &Lake,
    bases: &Bases,
    tables: &[&'static Table],
) -> Result<Vec<Built>, Error> {
    let is_wanted = |table: &Table| tables.iter().any(|t| t.name == table.name);
    let last_lineage = match bases.get(derive::LINEAGE.name) {
        Some(manifest) => {
            let files = manifest.tables.get(derive::LINEAGE.name).map(|table| table.files.as_slice());
            let file = files.unwrap_or_default().iter().find(|f| f.format == "parquet");
            file.map(|file| lake.file(manifest, file)).transpose()?
        }
        None => None,
    };
    let inputs = derive::Inputs {
        folder: target.folder,
        elsewhere: HashMap::new(),
        snapshot_at: target.snapshot_at,
        last_lineage,
        given: target.given,
        projects: KeyRange::default(),
        part_rows: derive::PART_ROWS,
        components: Arc::default(),
    };
    let create = |table| {
        let writer = TableWriter::create(table, target.formats, target.folder, target.snapshot_id)?;
        Ok(writer.with(target.pseudonyms))
    };
    let mut built = Vec::new();
    if derive::FROM_SQL.iter().any(|table| is_wanted(table)) {
        let started = Instant::now();
        let written = derive::read_cells(&inputs, create)?;
        let took = started.elapsed() / written.len().max(1) as u32;
        built.extend(written.into_iter().map(|(table, entry)| Built {
            table,
            entry,
            drift: Drift::new(),
            took,
        }));
    }
    for derivation in derive::DERIVATIONS.iter().filter(|d| is_wanted(d.table)) {
        let started = Instant::now();
        let entry = derivation.write(&inputs, create)?;
        built.push(Built { table: derivation.table, entry, drift: Drift::new(), took: started.elapsed() });
    }
    let earlier = |table, of| bases::earlier(lake, bases, table, of);
    let access = || Ok(derive::write_access(&inputs, create)?);
    let changes = || {
        let earlier = earlier(&derive::CELL_CHANGES, (&CELLS, &derive::COMPARED_CELLS))?;
        Ok(derive::write_changes(&inputs, earlier, create)?)
    };
    let edits = || {
        let earlier = earlier(&derive::PROJECT_EDITS, (&PROJECTS, &derive::COMPARED_PROJECTS))?;
        Ok(derive::write_edits(&inputs, earlier, target.snapshot_id, create)?)
    };
    let apart: [(&'static Table, &Write<'_>); 3] = [
        (&derive::EFFECTIVE_ACCESS, &access),
        (&derive::CELL_CHANGES, &changes),
        (&derive::PROJECT_EDITS, &edits),
    ];
    for (table, write) in apart.into_iter().filter(|(table, _)| is_wanted(table)) {
        let started = Instant::now();
        built.push(Built { table, entry: write()?, drift: Drift::new(), took: started.elapsed() });
    }
    if is_wanted(&AUDIT_FINDINGS) || is_wanted(&AUDIT_RULES) {
        let findings_before = bases.get(AUDIT_FINDINGS.name).map(|manifest| (lake, &**manifest));
        built.extend(audited(target, findings_before, create)?);
    }
    Ok(built)
}

/// Audits the tables that were written, and writes the tables of findings and rules. The findings of an earlier snapshot
/// tell since when each is there.
fn audited(
    target: &Target<'_>,
    before: Option<(&Lake, &Manifest)>,
    create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
) -> Result<[Built; 2], Error> {
    let started = Instant::now();
    let folder = audit::Folder(target.folder);
    let mut found = audit::audit_folder(&folder, target.snapshot_at, target.workspace, target.audit)?;
    if let Some((lake, manifest)) = before {
        audit::Record::date_new(&mut found, lake, manifest)?;
    }
    for notice in &found.notices {
        tracing::warn!("{}: {}: {}", notice.kind, notice.exception, notice.what);
    }
    let written = found.write(target.snapshot_at, create)?;
    let took = started.elapsed();
    Ok(written.map(|(table, entry)| Built { table, entry, drift: Drift::new(), took }))
}
