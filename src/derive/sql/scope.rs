//! Resolving the columns of a query.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use sqlparser::ast::Ident;

use super::Resolution;
use super::names::{TableName, Warehouse};

/// Names that are copied from a CTE or subquery into what selects all of it, in one cell: beyond, its columns
/// count as unknown.
pub const COPIED_NAMES: usize = 2_000_000;

/// Source behind a name in a FROM clause.
#[derive(Debug, Clone)]
pub enum Source {
    /// A warehouse table.
    Table(Rc<TableName>),
    /// A subquery, CTE, dataframe or function.
    Derived(Rc<Columns>),
}

/// The columns of something that isn't a warehouse table.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Columns that it names: what they come from is read where it is defined.
    pub named: HashSet<String>,
    /// Tables of which it has all columns.
    pub tables: BTreeSet<Rc<TableName>>,
    /// Whether it may have other columns.
    pub open: bool,
}

impl Columns {
    /// Columns that nothing is known of.
    pub fn unknown() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// These columns and no others.
    pub fn of(named: impl IntoIterator<Item = String>) -> Self {
        Self { named: named.into_iter().collect(), ..Self::default() }
    }

    /// Adds all columns of a source. Takes what it copies from `budget`.
    pub fn add(&mut self, source: &Source, budget: &mut usize) {
        match source {
            Source::Table(table) => drop(self.tables.insert(table.clone())),
            Source::Derived(columns) => {
                self.tables.extend(columns.tables.iter().cloned());
                self.open |= columns.open;
                match budget.checked_sub(columns.named.len()) {
                    Some(rest) => {
                        *budget = rest;
                        self.named.extend(columns.named.iter().cloned());
                    }
                    None => self.open = true,
                }
            }
        }
    }
}

impl Source {
    /// A source of which nothing is known.
    pub fn unknown() -> Self {
        Self::derived(Columns::unknown())
    }

    /// A source with these columns.
    pub fn derived(columns: Columns) -> Self {
        Self::Derived(Rc::new(columns))
    }

    fn names(&self, column: &str) -> bool {
        matches!(self, Self::Derived(columns) if columns.named.contains(column))
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Derived(columns) if columns.open)
    }

    /// Tables that a column which it doesn't name can come from.
    fn tables(&self) -> Vec<Rc<TableName>> {
        match self {
            Self::Table(table) => vec![table.clone()],
            Self::Derived(columns) => columns.tables.iter().cloned().collect(),
        }
    }
}

/// The names that a select knows.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Sources by alias, in lower case.
    pub sources: Vec<(String, Source)>,
    /// Aliases of the select list that can be referred to here.
    pub aliases: HashSet<String>,
    /// Columns that a join is USING: read from both of its sides.
    pub using: HashSet<String>,
    /// Parameters of a lambda.
    pub parameters: HashSet<String>,
}

/// Source of a column.
#[derive(Debug)]
pub enum Resolved {
    /// A column of a warehouse table.
    Column(Rc<TableName>, String, Resolution),
    /// A column of one of these tables, those of the innermost query first.
    OneOf { levels: Vec<Vec<Rc<TableName>>>, column: String, is_closed: bool },
    /// A column of a CTE, subquery or dataframe, or an alias: what it comes from is read there.
    Elsewhere,
}

/// A column as the warehouse stores it.
pub fn folded(ident: &Ident, warehouse: Warehouse) -> String {
    warehouse.fold(&ident.value, ident.quote_style.is_some())
}

/// An identifier in lower case.
pub fn lower(ident: &Ident) -> String {
    ident.value.to_lowercase()
}

/// Finds what `before.ident` refers to: the innermost scope that knows it, as SQL has it. `guess` allows the only
/// table of the innermost query to have a column that a table of a query around it could have as well.
pub fn resolve(
    scopes: &[Scope],
    warehouse: Warehouse,
    before: &[Ident],
    ident: &Ident,
    guess: bool,
) -> Resolved {
    let Some(first) = before.first() else { return unqualified(scopes, warehouse, ident, guess) };
    for scope in scopes.iter().rev() {
        let by_name = |name: &str| scope.sources.iter().find(|(alias, _)| alias == name).map(|(_, s)| s);
        // `alias.column`, and `alias.column.field`.
        if let Some(source) = by_name(&lower(first)) {
            return of_source(source, before.get(1).unwrap_or(ident), warehouse);
        }
        // `schema.table.column`.
        if let [_, .., last] = before
            && let Some(source) = by_name(&lower(last))
        {
            return of_source(source, ident, warehouse);
        }
    }
    // `column.field`.
    if warehouse.has_fields() { unqualified(scopes, warehouse, first, guess) } else { Resolved::Elsewhere }
}

fn of_source(source: &Source, ident: &Ident, warehouse: Warehouse) -> Resolved {
    let column = folded(ident, warehouse);
    match source {
        Source::Table(table) => Resolved::Column(table.clone(), column, Resolution::Qualified),
        Source::Derived(_) if source.names(&lower(ident)) => Resolved::Elsewhere,
        Source::Derived(_) => match (&*source.tables(), source.is_open()) {
            ([], _) => Resolved::Elsewhere,
            ([table], false) => Resolved::Column(table.clone(), column, Resolution::Star),
            (tables, is_open) => {
                Resolved::OneOf { levels: vec![tables.to_vec()], column, is_closed: !is_open }
            }
        },
    }
}

fn unqualified(scopes: &[Scope], warehouse: Warehouse, ident: &Ident, guess: bool) -> Resolved {
    let name = lower(ident);
    let column = || folded(ident, warehouse);
    let mut levels: Vec<Vec<Rc<TableName>>> = Vec::new();
    let mut only = None;
    let mut is_open = false;
    for scope in scopes.iter().rev() {
        let is_element = || scope.sources.iter().any(|(a, s)| *a == name && matches!(s, Source::Derived(_)));
        let is_named = scope.aliases.contains(&name)
            || scope.using.contains(&name)
            || scope.parameters.contains(&name)
            || scope.sources.iter().any(|(_, source)| source.names(&name))
            || is_element();
        if is_named {
            if levels.is_empty() {
                return Resolved::Elsewhere;
            }
            is_open = true;
            break;
        }
        let mut tables: Vec<Rc<TableName>> = Vec::new();
        let mut through_star = false;
        for (_, source) in &scope.sources {
            through_star |= matches!(source, Source::Derived(columns) if !columns.tables.is_empty());
            for table in source.tables() {
                if !tables.contains(&table) {
                    tables.push(table);
                }
            }
        }
        let open_here = scope.sources.iter().any(|(_, source)| source.is_open());
        if tables.is_empty() {
            if open_here && levels.is_empty() {
                return Resolved::Elsewhere;
            }
            is_open |= open_here;
            continue;
        }
        if levels.is_empty()
            && let ([table], false) = (&*tables, open_here)
        {
            let how = if through_star { Resolution::Star } else { Resolution::OnlyTable };
            only = Some((table.clone(), how));
            if guess {
                break;
            }
        }
        is_open |= open_here;
        levels.push(tables);
    }
    match only {
        Some((table, how)) if guess || (levels.len() == 1 && !is_open) => {
            Resolved::Column(table, column(), how)
        }
        _ if levels.is_empty() => Resolved::Elsewhere,
        _ => Resolved::OneOf { levels, column: column(), is_closed: !is_open },
    }
}
