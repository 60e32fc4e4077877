//! Changes of a warehouse, read from SQL and from two manifests or catalogs of dbt.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, ObjectName, ObjectType, RenameTableNameKind, Statement,
};
use sqlparser::dialect::{
    BigQueryDialect, DatabricksDialect, Dialect, GenericDialect, MsSqlDialect, MySqlDialect,
    PostgreSqlDialect, SnowflakeDialect,
};
use sqlparser::parser::{Parser, ParserError};

use crate::derive::names::Warehouse;
use crate::handoff::Relation;
use crate::handoff::dbt::{Catalog, Column, Kind as NodeKind, Manifest, Node};

/// Kind of change to a table or column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The table or view goes.
    DropTable,
    /// The table or view gets another name.
    RenameTable,
    /// The column goes.
    DropColumn,
    /// The column gets another name.
    RenameColumn,
    /// The column gets another type.
    RetypeColumn,
    /// Something about it may change.
    Touch,
}

impl Kind {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Kind::DropTable | Kind::DropColumn => "dropped",
            Kind::RenameTable | Kind::RenameColumn => "renamed",
            Kind::RetypeColumn => "retyped",
            Kind::Touch => "asked about",
        }
    }
}

/// Form in which a change names its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// In full, by the rules of one kind of warehouse.
    Of(Warehouse),
    /// In full, by the rules of whichever warehouse has it.
    Whole,
    /// As SQL does: its beginning may be missing.
    Sql,
    /// As people type it: its beginning may be missing, and case says nothing.
    Typed,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Kind of change.
    pub kind: Kind,
    /// The table, as its source names it.
    pub table: String,
    /// The column.
    pub column: Option<String>,
    /// The new name or type.
    pub to: Option<String>,
    /// The statement, or the difference between two artifacts, that says so.
    pub told_by: String,
    /// Whether it is sure to happen: a column that is only no longer documented may still be there.
    pub certain: bool,
    #[serde(skip)]
    pub(super) naming: Option<Naming>,
}

impl Change {
    fn new(kind: Kind, table: &Relation, naming: Naming, told_by: impl Into<String>) -> Self {
        Self {
            kind,
            table: table.as_str().to_owned(),
            column: None,
            to: None,
            told_by: told_by.into(),
            certain: true,
            naming: Some(naming),
        }
    }

    fn of_column(self, column: &str) -> Self {
        Self { column: Some(column.to_owned()), ..self }
    }

    fn to(self, to: impl Into<String>) -> Self {
        Self { to: Some(to.into()), ..self }
    }

    /// A question about a table, or one of its columns, as people type it.
    pub fn asked(table: &str, column: Option<&str>) -> Self {
        let change = Self::new(Kind::Touch, &Relation::new(table), Naming::Typed, "the command line");
        Self { column: column.map(str::to_owned), ..change }
    }

    /// In words, such as `column core.orders.status dropped`.
    pub fn words(&self) -> String {
        let to = match (self.kind, &self.to) {
            (_, None) => String::new(),
            (Kind::RetypeColumn, Some(kind)) => format!(" to {kind}"),
            (_, Some(name)) => format!(" to {name}"),
        };
        match &self.column {
            Some(column) => format!("column {}.{column} {}{to}", self.table, self.kind.words()),
            None => format!("table {} {}{to}", self.table, self.kind.words()),
        }
    }
}

/// Errors of reading changes from SQL.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It isn't SQL.
    #[error("the SQL can't be parsed")]
    Parse {
        /// The parser's error.
        source: ParserError,
    },
    /// A statement that changes something else.
    #[error("'{0}' is not read")]
    Other(String),
    /// There is no statement.
    #[error("the SQL holds no statement")]
    Empty,
}

/// The changes that statements make: `ALTER TABLE` that drops, renames or retypes columns or renames the table,
/// `RENAME TABLE`, and `DROP` of tables and views. Statements that add something change nothing that anyone reads.
///
/// # Errors
/// [`SqlError`].
pub fn of_sql(sql: &str) -> Result<Vec<Change>, SqlError> {
    let statements = parse(sql).map_err(|source| SqlError::Parse { source })?;
    if statements.is_empty() {
        return Err(SqlError::Empty);
    }
    let mut changes = Vec::new();
    for statement in &statements {
        of_statement(statement, &mut changes)?;
    }
    Ok(changes)
}

/// Reads statements in the first dialect that has them.
fn parse(sql: &str) -> Result<Vec<Statement>, ParserError> {
    let dialects: [&dyn Dialect; 8] = [
        &GenericDialect {},
        &SnowflakeDialect {},
        &PostgreSqlDialect {},
        &BigQueryDialect {},
        &DatabricksDialect {},
        &MySqlDialect {},
        &MsSqlDialect {},
        &sqlparser::dialect::ClickHouseDialect {},
    ];
    let mut first = None;
    for dialect in dialects {
        match Parser::parse_sql(dialect, sql) {
            Ok(statements) => return Ok(statements),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.expect("there is a dialect"))
}

fn of_statement(statement: &Statement, changes: &mut Vec<Change>) -> Result<(), SqlError> {
    let told_by = one_line(&statement.to_string());
    let of = |kind, name: &ObjectName| {
        Change::new(kind, &Relation::new(name.to_string()), Naming::Sql, told_by.clone())
    };
    let other = || SqlError::Other(told_by.clone());
    match statement {
        Statement::AlterTable(alter) => {
            for operation in &alter.operations {
                of_alteration(operation, &|kind| of(kind, &alter.name), changes).ok_or_else(other)?;
            }
        }
        Statement::RenameTable(renames) => {
            changes.extend(
                renames
                    .iter()
                    .map(|rename| of(Kind::RenameTable, &rename.old_name).to(rename.new_name.to_string())),
            );
        }
        Statement::Drop {
            object_type:
                ObjectType::Table | ObjectType::View | ObjectType::MaterializedView | ObjectType::ForeignTable,
            names,
            ..
        } => changes.extend(names.iter().map(|name| of(Kind::DropTable, name))),
        _ => return Err(other()),
    }
    Ok(())
}

/// The changes of one part of `ALTER TABLE`; `None` if it is one that isn't read.
fn of_alteration(
    operation: &AlterTableOperation,
    of: &dyn Fn(Kind) -> Change,
    changes: &mut Vec<Change>,
) -> Option<()> {
    use AlterTableOperation as A;
    match operation {
        A::DropColumn { column_names, .. } => {
            changes.extend(column_names.iter().map(|name| of(Kind::DropColumn).of_column(&name.value)));
        }
        A::RenameColumn { old_column_name, new_column_name } => {
            let change = of(Kind::RenameColumn).of_column(&old_column_name.value);
            changes.push(change.to(&new_column_name.value));
        }
        A::ChangeColumn { old_name, new_name, data_type, .. } => {
            let is_same = old_name.value.eq_ignore_ascii_case(&new_name.value);
            changes.push(match is_same {
                true => of(Kind::RetypeColumn).of_column(&old_name.value).to(data_type.to_string()),
                false => of(Kind::RenameColumn).of_column(&old_name.value).to(&new_name.value),
            });
        }
        A::ModifyColumn { col_name, data_type, .. } => {
            changes.push(of(Kind::RetypeColumn).of_column(&col_name.value).to(data_type.to_string()));
        }
        A::AlterColumn { column_name, op: AlterColumnOperation::SetDataType { data_type, .. } } => {
            changes.push(of(Kind::RetypeColumn).of_column(&column_name.value).to(data_type.to_string()));
        }
        A::RenameTable { table_name: RenameTableNameKind::To(name) | RenameTableNameKind::As(name) } => {
            changes.push(of(Kind::RenameTable).to(name.to_string()));
        }
        // Both tables are there afterwards, with each other's rows.
        A::SwapWith { table_name } => changes.push(of(Kind::RenameTable).to(table_name.to_string())),
        // What is added, or says how values are kept, is read by nobody yet.
        A::AddColumn { .. } | A::AddConstraint { .. } | A::DropConstraint { .. } | A::AlterColumn { .. } => {}
        _ => return None,
    }
    Some(())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Changes between two manifests: models that the new one no longer builds under their old names, and columns that it
/// no longer documents. Sources are made by others: leaving one out of a project drops no table.
pub fn of_manifests(old: &Manifest, new: &Manifest) -> Vec<Change> {
    let naming = Naming::Of(old.warehouse);
    let key =
        |node: &Node, of: &Manifest| node.relation.as_ref().and_then(|relation| relation.key(of.warehouse));
    let built: HashMap<String, (&String, &Node)> =
        new.nodes.iter().filter_map(|(id, node)| Some((key(node, new)?, (id, node)))).collect();
    let mut changes = Vec::new();
    let is_own = |node: &Node| node.kind != NodeKind::Source;
    for (id, before) in old.nodes.iter().filter(|(_, node)| is_own(node)) {
        let (Some(relation), Some(name)) = (&before.relation, key(before, old)) else { continue };
        if let Some((_, after)) = built.get(&name) {
            // A table keeps its name, whichever node makes it now.
            let documented: BTreeSet<String> = after.columns.iter().map(|c| c.to_lowercase()).collect();
            for column in before.columns.iter().filter(|c| !documented.contains(&c.to_lowercase())) {
                let told_by = format!("{id} no longer documents the column");
                let change = Change::new(Kind::DropColumn, relation, naming, told_by).of_column(column);
                changes.push(Change { certain: false, ..change });
            }
            continue;
        }
        let after = new.nodes.get(id).map(|node| (id, node)).or_else(|| moved(before, old, new));
        changes.push(match after.and_then(|(id, node)| Some((id, node.relation.as_ref()?))) {
            Some((new_id, to)) => {
                let told_by = match new_id == id {
                    true => format!("{id} has another name in the warehouse"),
                    false => format!("{id} became {new_id}: the same source text"),
                };
                Change::new(Kind::RenameTable, relation, naming, told_by).to(to.as_str())
            }
            None if new.nodes.contains_key(id) => {
                let told_by = format!("{id} has no table of its own any longer");
                Change::new(Kind::DropTable, relation, naming, told_by)
            }
            None => Change::new(Kind::DropTable, relation, naming, format!("{id} isn't in the new manifest")),
        });
    }
    changes
}

/// The only node that is new and has the source text that another one had.
fn moved<'m>(before: &Node, old: &Manifest, new: &'m Manifest) -> Option<(&'m String, &'m Node)> {
    before.checksum.as_ref()?;
    let mut found = new.nodes.iter().filter(|(id, node)| {
        !old.nodes.contains_key(*id) && node.kind == before.kind && node.checksum == before.checksum
    });
    found.next().filter(|_| found.next().is_none())
}

/// The tables and columns that one catalogue has no longer, or has with another type.
pub fn of_catalogs(old: &Catalog, new: &Catalog) -> Vec<Change> {
    let by_name: HashMap<&Relation, &Vec<Column>> =
        new.tables.values().map(|(relation, columns)| (relation, columns)).collect();
    let mut changes = Vec::new();
    for (id, (relation, before)) in &old.tables {
        let now = by_name.get(relation).copied().or_else(|| new.tables.get(id).map(|(_, columns)| columns));
        match (now, new.tables.get(id)) {
            (Some(after), _) if by_name.contains_key(relation) => {
                changes.extend(of_columns(id, relation, before, after));
            }
            (_, Some((to, _))) => {
                let told_by = format!("{id} has another name in the new catalog");
                let change = Change::new(Kind::RenameTable, relation, Naming::Whole, told_by);
                changes.push(change.to(to.as_str()));
            }
            _ => {
                let told_by = format!("{id} isn't in the new catalog");
                changes.push(Change::new(Kind::DropTable, relation, Naming::Whole, told_by));
            }
        }
    }
    changes
}

fn of_columns(id: &str, relation: &Relation, before: &[Column], after: &[Column]) -> Vec<Change> {
    let named = |columns: &'_ [Column]| -> BTreeMap<String, Column> {
        columns.iter().map(|column| (column.name.to_lowercase(), column.clone())).collect()
    };
    let (old, new) = (named(before), named(after));
    let mut added: Vec<&Column> =
        new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(_, c)| c).collect();
    let change = |kind, column: &Column, told_by: String| {
        Change::new(kind, relation, Naming::Whole, told_by).of_column(&column.name)
    };
    let mut changes = Vec::new();
    for (name, column) in &old {
        match new.get(name) {
            Some(now) if now.kind.eq_ignore_ascii_case(&column.kind) => {}
            Some(now) => {
                let told_by = format!("{id}: {} before", column.kind);
                changes.push(change(Kind::RetypeColumn, column, told_by).to(&now.kind));
            }
            None => {
                // A column of another name in its place, of the same type, is the same column.
                let is_it =
                    |now: &&Column| now.place == column.place && now.kind.eq_ignore_ascii_case(&column.kind);
                match added.iter().position(is_it) {
                    Some(at) => {
                        let now = added.remove(at);
                        let told_by = format!("{id} has {} in its place", now.name);
                        changes.push(change(Kind::RenameColumn, column, told_by).to(&now.name));
                    }
                    None => {
                        let told_by = format!("{id} has no such column in the new catalog");
                        changes.push(change(Kind::DropColumn, column, told_by));
                    }
                }
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sql: &str) -> Vec<String> {
        of_sql(sql).unwrap().iter().map(Change::words).collect()
    }

    #[test]
    fn statements_tell_what_goes_and_what_gets_another_name() {
        for (sql, expected) in [
            ("ALTER TABLE core.orders DROP COLUMN status", "column core.orders.status dropped"),
            ("alter table Core.\"Orders\" rename column a to b", "column Core.\"Orders\".a renamed to b"),
            ("ALTER TABLE t ALTER COLUMN c TYPE text", "column t.c retyped to TEXT"),
            ("ALTER TABLE t MODIFY COLUMN c BIGINT", "column t.c retyped to BIGINT"),
            ("ALTER TABLE t CHANGE COLUMN a b INT", "column t.a renamed to b"),
            ("ALTER TABLE a.t RENAME TO u", "table a.t renamed to u"),
            ("DROP TABLE IF EXISTS a.b.c CASCADE", "table a.b.c dropped"),
            ("DROP VIEW v", "table v dropped"),
            ("DROP MATERIALIZED VIEW v", "table v dropped"),
            ("RENAME TABLE a TO b", "table a renamed to b"),
        ] {
            assert_eq!(told(sql), [expected], "{sql}");
        }
        assert_eq!(told("ALTER TABLE t DROP COLUMN a, DROP COLUMN b; DROP TABLE u").len(), 3);
        assert!(told("ALTER TABLE t ADD COLUMN a INT").is_empty());
    }

    #[test]
    fn what_is_no_such_statement_is_refused() {
        for (sql, expected) in [
            ("SELECT 1", "'SELECT 1' is not read"),
            ("DROP SCHEMA core CASCADE", "'DROP SCHEMA core CASCADE' is not read"),
            ("ALTER TABLE", "the SQL can't be parsed"),
            ("  ", "the SQL holds no statement"),
        ] {
            assert_eq!(of_sql(sql).unwrap_err().to_string(), expected, "{sql}");
        }
    }

    fn column(name: &str, kind: &str, place: i64) -> Column {
        Column { name: name.into(), kind: kind.into(), place }
    }

    #[test]
    fn catalogues_tell_columns_that_went_from_those_with_another_name() {
        let catalog = |columns: Vec<Column>| Catalog {
            tables: BTreeMap::from([("model.a.t".into(), (Relation::stored(["db", "s", "t"]), columns))]),
        };
        let old = catalog(vec![
            column("A", "INT", 1),
            column("B", "TEXT", 2),
            column("C", "INT", 3),
            column("D", "INT", 4),
        ]);
        let new = catalog(vec![
            column("a", "INT", 1),
            column("B2", "text", 2),
            column("C", "TEXT", 3),
            column("E", "TEXT", 4),
        ]);
        let words: Vec<String> = of_catalogs(&old, &new).iter().map(Change::words).collect();
        let table = r#""db"."s"."t""#;
        assert_eq!(
            words,
            [
                format!("column {table}.B renamed to B2"),
                format!("column {table}.C retyped to TEXT"),
                format!("column {table}.D dropped"),
            ]
        );
        assert!(of_catalogs(&old, &old).is_empty());
        let gone = of_catalogs(&old, &Catalog::default());
        assert_eq!(gone[0].kind, Kind::DropTable);
    }

    fn manifest(nodes: &[(&str, &str, &str, &[&str])]) -> Manifest {
        let node = |relation: &str, checksum: &str, columns: &[&str]| Node {
            kind: NodeKind::Model,
            name: String::new(),
            package: "p".into(),
            source: None,
            version: None,
            is_private: false,
            relation: (!relation.is_empty()).then(|| Relation::new(relation)),
            checksum: Some(checksum.into()),
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        };
        Manifest {
            project: "p".into(),
            warehouse: Warehouse::Snowflake,
            adapter: "snowflake".into(),
            nodes: nodes.iter().map(|(id, r, c, columns)| ((*id).to_owned(), node(r, c, columns))).collect(),
        }
    }

    #[test]
    fn manifests_tell_models_that_went_from_those_with_another_name() {
        let old = manifest(&[
            ("model.p.gone", "db.s.gone", "1", &[]),
            ("model.p.moved", "db.s.moved", "2", &[]),
            ("model.p.aliased", "db.s.aliased", "3", &[]),
            ("model.p.inlined", "db.s.inlined", "4", &[]),
            ("model.p.same", "db.s.same", "5", &["a", "b"]),
            ("model.p.twin", "db.s.twin", "6", &[]),
        ]);
        let new = manifest(&[
            ("model.p.moved_to", "db.s.moved_to", "2", &[]),
            ("model.p.aliased", "db.s.other", "3", &[]),
            ("model.p.inlined", "", "4", &[]),
            ("model.p.renamed_file", "DB.S.SAME", "5", &["A"]),
            ("model.p.twin_1", "db.s.twin_1", "6", &[]),
            ("model.p.twin_2", "db.s.twin_2", "6", &[]),
        ]);
        let changes = of_manifests(&old, &new);
        let words: Vec<(String, bool)> = changes.iter().map(|c| (c.words(), c.certain)).collect();
        let sure = |text: &str| (text.to_owned(), true);
        assert_eq!(
            words,
            [
                sure("table db.s.aliased renamed to db.s.other"),
                sure("table db.s.gone dropped"),
                sure("table db.s.inlined dropped"),
                sure("table db.s.moved renamed to db.s.moved_to"),
                ("column db.s.same.b dropped".into(), false),
                sure("table db.s.twin dropped"),
            ]
        );
        assert!(of_manifests(&old, &old).is_empty());
    }
}
