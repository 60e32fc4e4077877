//! Reads parsed statements: which tables they read and write.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use sqlparser::ast::{
    CopyIntoSnowflakeKind, CopySource, CreateTable, CreateView, Delete, Expr, FromTable, Function,
    FunctionArg, FunctionArgExpr, FunctionArguments, Insert, Merge, ObjectName, ObjectType, Query, Set,
    Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind, Use, Value, Visit,
    Visitor,
};

use super::names::{Defaults, TableName, Warehouse};
use super::relation::literal;
use super::scope::{COPIED_NAMES, Columns, Resolved, Scope, Source, lower, resolve};
use super::words;
use super::{ALL_COLUMNS, Evidence, Pending, Reading, Resolution, Setting, filter, kind};

/// Reads the statements of one cell, one after the other.
pub struct Walk<'a> {
    pub(super) setting: Setting<'a>,
    /// Default database and schema: USE changes them.
    pub(super) defaults: Defaults,
    pub(super) reading: Reading,
    /// Selects that are being read, the innermost last.
    pub(super) scopes: Vec<Scope>,
    /// CTEs that can be read here, the innermost last.
    pub(super) ctes: Vec<(String, Source)>,
    /// Temporary tables of this cell.
    pub(super) temporary: HashMap<TableName, Source>,
    /// Names that may still be copied; see [`COPIED_NAMES`].
    pub(super) budget: usize,
    /// Table whose rows the statement changes: its columns are not read by that.
    pub(super) target: Option<TableName>,
    /// Table that stands in the FROM clause that is being read only because it is the target.
    pub(super) unread: Option<TableName>,
    /// Whether the FROM item that is being read is APPLYed to those before it.
    pub(super) is_applied: bool,
}

/// The address of a node: what tells one from another while a tree is walked.
pub(super) fn address<T>(node: &T) -> usize {
    std::ptr::from_ref(node).addr()
}

impl<'a> Walk<'a> {
    pub fn new(setting: Setting<'a>) -> Self {
        Self {
            setting,
            defaults: setting.defaults.clone(),
            reading: Reading::default(),
            scopes: Vec::new(),
            ctes: Vec::new(),
            temporary: HashMap::new(),
            budget: COPIED_NAMES,
            target: None,
            unread: None,
            is_applied: false,
        }
    }

    /// Default database and schema after the statements that were read.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Takes note of temporary tables that a scan found.
    pub fn remember_temporary(&mut self, names: &BTreeSet<TableName>) {
        self.temporary.extend(names.iter().map(|name| (name.clone(), Source::unknown())));
    }

    /// Result.
    pub fn into_reading(mut self) -> Reading {
        self.reading.temporary.extend(self.temporary.into_keys());
        self.reading
    }

    /// Reads a statement.
    pub fn statement(&mut self, statement: &Statement) {
        self.reading.kinds.insert(kind::of(statement));
        match statement {
            Statement::Query(query) => drop(self.output(query)),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            Statement::CreateTable(create) => self.create_table(create),
            Statement::CreateView(create) => self.create_view(create),
            Statement::Truncate(truncate) => truncate.table_names.iter().for_each(|t| self.written(&t.name)),
            Statement::Drop { object_type: ObjectType::Table | ObjectType::View, names, .. } => {
                for name in names {
                    if let Some(table) = self.name(name) {
                        self.temporary.remove(&table);
                    }
                }
            }
            Statement::Copy { source, to, .. } => match (source, to) {
                (CopySource::Query(query), _) => drop(self.output(query)),
                (CopySource::Table { table_name, columns }, true) => {
                    self.read_whole(table_name, columns.is_empty());
                }
                (CopySource::Table { table_name, .. }, false) => self.written(table_name),
            },
            Statement::CopyIntoSnowflake { kind, into, from_obj, from_query, .. } => {
                match kind {
                    CopyIntoSnowflakeKind::Table => self.written(into),
                    CopyIntoSnowflakeKind::Location => self.reading.files += 1,
                }
                if let Some(name) = from_obj {
                    self.read_whole(name, true);
                }
                if let Some(query) = from_query {
                    self.output(query);
                }
            }
            Statement::Unload { query: Some(query), .. } => drop(self.output(query)),
            Statement::Unload { query_text: Some(text), .. } => self.text(text),
            Statement::ExportData(export) => drop(self.output(&export.query)),
            Statement::LoadData { table_name, .. } => self.written(table_name),
            Statement::Explain { statement, .. } => self.statement(statement),
            Statement::Use(to) => self.change_defaults(to),
            Statement::Set(Set::SingleAssignment { variable, values, .. }) => {
                self.set(variable, values, statement)
            }
            other => self.any(other),
        }
    }

    /// Reads a statement that has no rules of its own: the queries and statements that it holds.
    fn any(&mut self, statement: &Statement) {
        let mut exprs = Exprs::new(self);
        exprs.outermost = address(statement);
        let _: ControlFlow<()> = statement.visit(&mut exprs);
    }

    /// Reads SQL that a statement has as text.
    fn text(&mut self, text: &str) {
        match super::parser::parse(text, self.setting.warehouse) {
            Ok(statements) if self.scopes.len() < 4 => {
                // Text in text in text is nobody's query.
                self.scopes.push(Scope::default());
                statements.iter().for_each(|statement| self.statement(statement));
                self.scopes.pop();
            }
            _ => self.reading.unnamed_tables += 1,
        }
    }

    /// Reads a query whose result leaves the cell: all of its columns are read.
    pub(super) fn output(&mut self, query: &Query) -> Rc<Columns> {
        let columns = self.query(query);
        for table in &columns.tables {
            self.column(table.clone(), ALL_COLUMNS.into(), Resolution::Qualified);
        }
        columns
    }

    pub(super) fn column(&mut self, table: Rc<TableName>, column: String, how: Resolution) {
        if self.target.as_ref() == Some(&*table) && !self.reading.reads.contains_key(&*table) {
            // Of the table that the statement writes.
            return;
        }
        let known = self.reading.columns.entry((Rc::unwrap_or_clone(table), column)).or_insert(how);
        *known = how.min(*known);
    }

    fn insert(&mut self, insert: &Insert) {
        match &insert.table {
            TableObject::TableName(name) => self.written(name),
            TableObject::TableFunction(_) => self.reading.files += 1,
            TableObject::TableQuery(query) => drop(self.query(query)),
        }
        if let Some(source) = &insert.source {
            self.output(source);
        }
    }

    fn update(&mut self, update: &Update) {
        let mut from: Vec<&TableWithJoins> = Vec::new();
        match &update.from {
            Some(UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables)) => {
                from.extend(tables);
            }
            None => {}
        }
        let target = [&update.table];
        self.modify(None, &target, &from, |walk| {
            walk.expressions(&update.assignments);
            walk.expressions(&update.selection);
        });
    }

    fn delete(&mut self, delete: &Delete) {
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let tables: Vec<&TableWithJoins> = tables.iter().collect();
        let using: Vec<&TableWithJoins> = delete.using.iter().flatten().collect();
        let named = (!delete.tables.is_empty()).then_some(&*delete.tables);
        self.modify(named, &tables, &using, |walk| walk.expressions(&delete.selection));
    }

    /// A statement that changes rows of `targets`' first table, or of the tables or aliases that are `named`; the
    /// others are read.
    fn modify(
        &mut self,
        named: Option<&[ObjectName]>,
        targets: &[&TableWithJoins],
        others: &[&TableWithJoins],
        rest: impl FnOnce(&mut Self),
    ) {
        let alias_of = |factor: &TableFactor| match factor {
            TableFactor::Table { name, alias, .. } => {
                let own = name.0.last().and_then(|part| part.as_ident()).map(lower).unwrap_or_default();
                Some((alias.as_ref().map_or(own, |alias| lower(&alias.name)), name.clone()))
            }
            _ => None,
        };
        let factors = |of: &[&TableWithJoins]| -> Vec<(String, ObjectName)> {
            let all = of
                .iter()
                .flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)));
            all.filter_map(alias_of).collect()
        };
        let (own, from) = (factors(targets), factors(others));
        // `UPDATE t SET ... FROM orders t`: the target is an alias of what follows.
        let resolve = |name: &ObjectName| {
            let alias = match &*name.0 {
                [part] => part.as_ident().map(lower),
                _ => None,
            };
            let find = |of: &[(String, ObjectName)]| {
                of.iter().find(|(a, _)| Some(a) == alias.as_ref()).map(|(_, name)| name.clone())
            };
            find(&from).or_else(|| find(&own)).unwrap_or_else(|| name.clone())
        };
        let names: Vec<ObjectName> = match named {
            Some(names) => names.iter().map(resolve).collect(),
            None => own.first().map(|(_, name)| resolve(name)).into_iter().collect(),
        };
        names.iter().for_each(|name| self.written(name));
        let target = names.first().and_then(|name| self.name(name));
        let mut scope = Scope::default();
        let is_alias = named.is_some() || own.first().is_some_and(|(_, name)| resolve(name) != *name);
        for (i, table) in targets.iter().chain(others).enumerate() {
            // The name of the target may only be an alias of what follows.
            if i == 0 && named.is_none() && is_alias {
                continue;
            }
            self.unread = target.clone().filter(|_| i < targets.len() || is_alias);
            self.from(table, &mut scope);
        }
        self.unread = None;
        self.changing(target, scope, |walk| {
            targets.iter().chain(others).for_each(|table| walk.joins(table));
            rest(walk);
        });
    }

    /// Reads the expressions of a statement that changes rows of `target`.
    fn changing(&mut self, target: Option<TableName>, scope: Scope, expressions: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.target, target);
        self.scopes.push(scope);
        expressions(self);
        self.scopes.pop();
        self.target = before;
    }

    fn merge(&mut self, merge: &Merge) {
        let target = match &merge.table {
            TableFactor::Table { name, .. } => {
                self.written(name);
                self.name(name)
            }
            _ => None,
        };
        let mut scope = Scope::default();
        self.unread = target.clone();
        self.factor(&merge.table, &mut scope);
        self.unread = None;
        self.factor(&merge.source, &mut scope);
        self.changing(target, scope, |walk| {
            walk.expressions(&*merge.on);
            walk.expressions(&merge.clauses);
        });
    }

    fn create_table(&mut self, create: &CreateTable) {
        let columns = create.query.as_ref().map(|query| self.output(query));
        if let Some(name) = &create.clone {
            self.read_whole(name, true);
        }
        let is_temporary = create.temporary || is_session_name(&create.name);
        if is_temporary {
            let columns = columns.unwrap_or_else(|| Rc::new(Columns::unknown()));
            self.create_temporary(&create.name, columns);
        } else if columns.is_some() || create.clone.is_some() {
            self.written(&create.name);
        }
    }

    fn create_view(&mut self, create: &CreateView) {
        let columns = self.output(&create.query);
        match create.temporary || is_session_name(&create.name) {
            true => self.create_temporary(&create.name, columns),
            false => self.written(create.to.as_ref().unwrap_or(&create.name)),
        }
    }

    /// Takes note of a temporary table. What its columns come from is read where it is created.
    pub(super) fn create_temporary(&mut self, name: &ObjectName, columns: Rc<Columns>) {
        if let Some(table) = self.name(name) {
            let named = columns.named.iter().cloned();
            let columns = match columns.tables.is_empty() && !columns.open {
                true => Columns::of(named),
                false => Columns { open: true, ..Columns::of(named) },
            };
            self.temporary.insert(table, Source::derived(columns));
        }
    }

    /// `USE SCHEMA a.b` and its kin: names that follow are completed by it.
    fn change_defaults(&mut self, to: &Use) {
        let warehouse = self.setting.warehouse;
        let parts = |name: &ObjectName| -> Vec<String> {
            let idents = name.0.iter().filter_map(|part| part.as_ident());
            idents.map(|ident| warehouse.fold(&ident.value, ident.quote_style.is_some())).collect()
        };
        match to {
            Use::Catalog(name) => self.defaults.use_database(parts(name), warehouse),
            Use::Database(name) if warehouse == Warehouse::Databricks => {
                self.defaults.use_schema(parts(name));
            }
            Use::Database(name) => self.defaults.use_database(parts(name), warehouse),
            Use::Schema(name) => self.defaults.use_schema(parts(name)),
            Use::Object(name) => self.defaults.use_object(parts(name), warehouse),
            Use::Warehouse(_) | Use::Role(_) | Use::SecondaryRoles(_) | Use::Default => {}
        }
    }

    /// `SET search_path TO a, b`, or any other setting.
    fn set(&mut self, variable: &ObjectName, values: &[Expr], statement: &Statement) {
        let name = variable.0.last().and_then(|part| part.as_ident()).map(lower).unwrap_or_default();
        if !matches!(name.as_str(), "search_path" | "schema" | "current_schema") {
            return self.any(statement);
        }
        let warehouse = self.setting.warehouse;
        let schemas = values.iter().flat_map(|value| match value {
            Expr::Identifier(ident) => vec![warehouse.fold(&ident.value, ident.quote_style.is_some())],
            other => match literal(other) {
                // Each schema of a path in one text is a name of its own.
                Some(text) => text.split(',').map(|s| warehouse.fold(s.trim(), true)).collect(),
                None => Vec::new(),
            },
        });
        let of_people = |schema: &String| !matches!(schema.as_str(), "$user" | "pg_catalog" | "pg_temp" | "");
        if let Some(schema) = schemas.into_iter().find(of_people) {
            self.defaults.use_schema(schema.split('.').map(str::to_owned).collect());
        }
    }

    /// Reads the expressions of a node, and the queries in them.
    pub(super) fn expressions<V: Visit>(&mut self, node: &V) {
        let _: ControlFlow<()> = node.visit(&mut Exprs::new(self));
    }

    fn refer(&mut self, before: &[sqlparser::ast::Ident], ident: &sqlparser::ast::Ident, guess: bool) {
        if filter::is_placeholder(&ident.value) {
            return;
        }
        let warehouse = self.setting.warehouse;
        let is_bare = before.is_empty() && ident.quote_style.is_none();
        if is_bare
            && (words::is_session_word(&lower(ident), warehouse) || ident.value.starts_with(['@', '$', ':']))
        {
            return;
        }
        match resolve(&self.scopes, warehouse, before, ident, guess) {
            Resolved::Column(table, column, how) => self.column(table, column, how),
            Resolved::OneOf { levels, column, is_closed } => {
                let target = &self.target;
                let levels = levels.into_iter().map(|level| {
                    let names = level.into_iter().map(Rc::unwrap_or_clone);
                    names.filter(|table| target.as_ref() != Some(table)).collect::<Vec<_>>()
                });
                let levels: Vec<Vec<TableName>> = levels.filter(|level| !level.is_empty()).collect();
                if !levels.is_empty() {
                    self.reading.pending.insert(Pending { column, levels, is_closed });
                }
            }
            Resolved::Elsewhere => {}
        }
    }

    /// A table that is written.
    pub(super) fn written(&mut self, name: &ObjectName) {
        if is_session_name(name) {
            return;
        }
        match self.name(name) {
            Some(table) if self.temporary.contains_key(&table) => {}
            Some(table) => drop(self.reading.writes.insert(table, Evidence::Sql)),
            None if self.is_file(name) => self.reading.files += 1,
            None => self.reading.unnamed_tables += 1,
        }
    }
}

/// Whether a table's name says that it lasts no longer than the session: `#t`, `@t`.
pub(super) fn is_session_name(name: &ObjectName) -> bool {
    let last = name.0.last().and_then(|part| part.as_ident());
    last.is_some_and(|ident| ident.quote_style.is_none() && ident.value.starts_with('#'))
}

/// Reads expressions, and hands the queries in them to the walk.
struct Exprs<'w, 'a> {
    walk: &'w mut Walk<'a>,
    /// Queries, statements and lambdas that surround the node.
    depth: usize,
    /// The statement whose parts are visited.
    outermost: usize,
    /// Expressions that look like columns and are keywords, by address.
    ignored: HashSet<usize>,
    /// Columns that may be of a query around theirs, by address.
    uncertain: HashSet<usize>,
    /// Queries whose columns nobody reads, by address.
    tested: HashSet<usize>,
    /// Lambdas that are open, by address.
    lambdas: Vec<usize>,
}

impl<'w, 'a> Exprs<'w, 'a> {
    fn new(walk: &'w mut Walk<'a>) -> Self {
        Self {
            walk,
            depth: 0,
            outermost: 0,
            ignored: HashSet::new(),
            uncertain: HashSet::new(),
            tested: HashSet::new(),
            lambdas: Vec::new(),
        }
    }

    fn function(&mut self, function: &Function) {
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(lower).unwrap_or_default();
        let FunctionArguments::List(list) = &function.args else { return };
        if !words::takes_date_part(&name) {
            return;
        }
        let last = list.args.len().saturating_sub(1);
        let word = |at: usize| match list.args.get(at) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))) => ident.value.len(),
            _ => 0,
        };
        let part = |at: usize| match list.args.get(at) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(inner @ Expr::Identifier(ident)))) => {
                let name = lower(ident);
                // A letter may well be a column's name, and comes first where it is none.
                let fits =
                    ident.quote_style.is_none() && (at == 0 || name.len() > 2) && words::is_date_part(&name);
                fits.then(|| address(inner))
            }
            _ => None,
        };
        // BigQuery has them last, the others first, but for a few functions: the longer word is the part.
        let found = match self.walk.setting.warehouse {
            Warehouse::BigQuery => part(last),
            _ => match (part(0), part(last)) {
                (Some(_), Some(end)) if word(0) <= 2 && word(last) > 2 => Some(end),
                (first, end) => first.or(end),
            },
        };
        self.ignored.extend(found);
    }
}

impl Visitor for Exprs<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            match self.tested.remove(&address(query)) {
                true => drop(self.walk.query(query)),
                false => drop(self.walk.output(query)),
            }
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        if address(statement) != self.outermost {
            if self.depth == 0 {
                self.walk.statement(statement);
            }
            self.depth += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        if address(statement) != self.outermost {
            self.depth -= 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Identifier(ident) if !self.ignored.remove(&address(expr)) => {
                let guess = !self.uncertain.remove(&address(expr));
                self.walk.refer(&[], ident, guess);
            }
            Expr::CompoundIdentifier(idents) => {
                if let Some((last, before)) = idents.split_last() {
                    self.walk.refer(before, last, true);
                }
            }
            // Two columns that nothing qualifies are seldom of the same table: one may be of a query around.
            Expr::BinaryOp { left, right, .. } => {
                if let (Expr::Identifier(_), Expr::Identifier(_)) = (&**left, &**right) {
                    self.uncertain.extend([address(&**left), address(&**right)]);
                }
            }
            Expr::Exists { subquery, .. } => drop(self.tested.insert(address(&**subquery))),
            Expr::Function(function) => self.function(function),
            Expr::Lambda(lambda) => {
                let parameters = lambda.params.iter().map(|p| p.name.value.to_lowercase()).collect();
                self.walk.scopes.push(Scope { parameters, ..Scope::default() });
                self.lambdas.push(address(expr));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 && self.lambdas.last() == Some(&address(expr)) {
            self.lambdas.pop();
            self.walk.scopes.pop();
        }
        ControlFlow::Continue(())
    }
}

/// The text of a literal.
pub(super) fn text_of(value: &Value) -> Option<String> {
    value.clone().into_string()
}
