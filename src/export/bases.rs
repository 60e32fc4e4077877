//! The snapshot that each table builds on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Error;
use crate::derive::Earlier;
use crate::journal::CrawlHeader;
use crate::schema::Table;
use crate::snapshot::{self, Lake, Manifest, Manifests, SnapshotId, TableReader};

/// By the name of a table, the snapshot that it builds on.
pub type Bases = BTreeMap<String, Arc<Manifest>>;

/// For each table the newest snapshot that holds it and can be read. An export of some tables alone must not end the
/// history of the others, and one damaged file must not stop every export to come.
///
/// # Errors
/// [`Error::Snapshot`] if the lake itself can't be read.
pub fn choose(lake: &Lake, tables: &[&'static Table]) -> Result<Bases, Error> {
    let manifests = lake.manifests()?;
    let mut shared = Shared::default();
    let mut bases = Bases::new();
    for table in tables {
        let holders = manifests.readable.iter().rev().filter(|m| m.holds_whole(table.name));
        let found = holders.into_iter().find(|m| is_readable(lake, m, table));
        bases.extend(found.map(|manifest| (table.name.to_owned(), shared.of(manifest))));
    }
    Ok(bases)
}

/// For each table the snapshot that it was built on when a journal's snapshot was committed, as far as that is
/// still there: what is rebuilt must not build on later ones.
pub fn of_journal(
    lake: &Lake,
    header: &CrawlHeader,
    manifests: &Manifests,
    tables: &[&'static Table],
) -> Bases {
    let mut shared = Shared::default();
    let mut bases = Bases::new();
    let committed = manifests.get(&header.snapshot_id);
    for table in tables {
        let of_manifest = committed.and_then(|m| m.tables.get(table.name)?.base.as_ref());
        let id = of_manifest.or_else(|| header.bases.get(table.name)).or(header.base_snapshot.as_ref());
        let found = id.and_then(|id| manifests.get(id)).filter(|m| is_readable(lake, m, table));
        bases.extend(found.map(|manifest| (table.name.to_owned(), shared.of(manifest))));
    }
    bases
}

/// The earlier rows that today's are compared with, for a table of what moved: those of the snapshot whose moves are
/// carried forward, so that no move between the two is missed.
///
/// # Errors
/// If they can't be read.
pub fn earlier(
    lake: &Lake,
    bases: &Bases,
    moves: &'static Table,
    (of, columns): (&'static Table, &[&str]),
) -> Result<Earlier, snapshot::Error> {
    let open = |manifest| TableReader::open_columns(lake, manifest, of, columns);
    if let Some(manifest) = bases.get(moves.name)
        && let Some(rows) = open(manifest)?
    {
        return Ok(Earlier { rows: Some(rows), moves: TableReader::open(lake, manifest, moves)? });
    }
    Ok(Earlier {
        rows: bases.get(of.name).map(|manifest| open(manifest)).transpose()?.flatten(),
        moves: None,
    })
}

fn is_readable(lake: &Lake, manifest: &Manifest, table: &'static Table) -> bool {
    matches!(TableReader::open_columns(lake, manifest, table, &table.key[..1]), Ok(Some(_)))
}

/// One copy of each manifest, however many tables build on it.
#[derive(Default)]
struct Shared(BTreeMap<SnapshotId, Arc<Manifest>>);

impl Shared {
    fn of(&mut self, manifest: &Manifest) -> Arc<Manifest> {
        let entry = self.0.entry(manifest.snapshot_id.clone());
        entry.or_insert_with(|| Arc::new(manifest.clone())).clone()
    }
}
