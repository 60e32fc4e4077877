//! Reads the items of FROM clauses: tables, subqueries, functions, pivots.

use std::rc::Rc;

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, PivotValueSource, TableAlias,
    TableFactor, TableFunctionArgs,
};

use super::filter::is_placeholder;
use super::names::{TableName, Warehouse, assemble, split};
use super::query::renamed;
use super::scope::{Columns, Scope, Source, lower};
use super::walk::{Walk, is_session_name, text_of};
use super::{ALL_COLUMNS, Evidence, Resolution, words};

/// Columns of functions that make rows, where they are always the same. Others may have any.
const FUNCTIONS: &[(&str, &[&str])] = &[
    ("explode", &["col", "key", "value"]),
    ("explode_outer", &["col", "key", "value"]),
    ("flatten", &["seq", "key", "path", "index", "value", "this"]),
    ("generate_series", &["generate_series", "value"]),
    ("generate_date_array", &[]),
    ("inline", &["col1", "col2", "col3"]),
    ("json_array_elements", &["value"]),
    ("json_array_elements_text", &["value"]),
    ("json_each", &["key", "value"]),
    ("json_each_text", &["key", "value"]),
    ("jsonb_array_elements", &["value"]),
    ("jsonb_array_elements_text", &["value"]),
    ("jsonb_each", &["key", "value"]),
    ("jsonb_each_text", &["key", "value"]),
    ("jsonb_object_keys", &["jsonb_object_keys"]),
    ("numbers", &["number"]),
    ("openjson", &["key", "value", "type"]),
    ("posexplode", &["pos", "col", "key", "value"]),
    ("posexplode_outer", &["pos", "col", "key", "value"]),
    ("range", &["range", "id"]),
    ("regexp_split_to_table", &["regexp_split_to_table"]),
    ("sequence", &[]),
    ("split_to_table", &["seq", "index", "value"]),
    ("stack", &["col0", "col1", "col2"]),
    ("string_split", &["value", "ordinal"]),
    ("strtok_split_to_table", &["seq", "index", "value"]),
    ("unnest", &["unnest", "offset", "ordinality"]),
];

/// Functions that read files.
const FILE_FUNCTIONS: &str = "\
    azureblobstorage file gcs hdfs iceberg_scan openrowset parquet_scan read_csv read_csv_auto \
    read_files read_json read_json_auto read_ndjson read_parquet read_xlsx s3 s3cluster \
    sniff_csv st_read url";

/// The text of an expression that is a literal.
pub fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => text_of(&value.value),
        _ => None,
    }
}

fn idents(name: &ObjectName) -> Option<Vec<&Ident>> {
    name.0.iter().map(|part| part.as_ident()).collect()
}

impl Walk<'_> {
    /// A name as the warehouse has it. `None` if it isn't a table's, or a template fills it in.
    pub(super) fn name(&self, name: &ObjectName) -> Option<TableName> {
        let idents = idents(name)?;
        if idents.iter().any(|ident| is_placeholder(&ident.value)) || self.is_file(name) {
            return None;
        }
        let parts = idents.iter().map(|ident| (ident.value.clone(), ident.quote_style.is_some())).collect();
        assemble(parts, self.setting.warehouse, &self.defaults)
    }

    /// Whether a name is that of a stage, a file or a folder.
    pub(super) fn is_file(&self, name: &ObjectName) -> bool {
        let Some(idents) = idents(name) else { return false };
        let (Some(first), Some(last)) = (idents.first(), idents.last()) else { return false };
        let is_path = |text: &str| text.contains("://") || text.starts_with(['/', '.', '~']);
        first.value.starts_with('@')
            || last.quote_style == Some('\'')
            || (idents.len() == 2 && words::is_file_format(&lower(first)) && last.quote_style.is_some())
            || (last.quote_style.is_some() && is_path(&last.value))
    }

    /// The source behind a relation's name, and its own name.
    pub(super) fn relation(
        &mut self,
        name: &ObjectName,
        siblings: &[(String, Source)],
    ) -> Option<(String, Source)> {
        let Some(idents) = idents(name) else { return self.computed(name) };
        let own = lower(idents.last()?);
        let first = lower(idents.first()?);
        if let [ident] = idents.as_slice() {
            if let Some((_, source)) = self.ctes.iter().rev().find(|(cte, _)| *cte == own) {
                return Some((own, source.clone()));
            }
            if self.setting.dataframes.contains(&own) {
                self.reading.dataframes.insert(ident.value.clone());
                return Some((own, Source::unknown()));
            }
        } else if siblings.iter().any(|(alias, _)| *alias == first) {
            // `FROM t, t.items`: an array of the table before it.
            let columns = Columns::of([own.clone()]);
            return Some((own, Source::derived(columns)));
        }
        if self.is_file(name) {
            self.reading.files += 1;
            return Some((own, Source::unknown()));
        }
        if idents.iter().any(|ident| is_placeholder(&ident.value)) {
            self.reading.unnamed_tables += 1;
            return Some((own, Source::unknown()));
        }
        if is_session_name(name) || self.is_variable(idents[0]) {
            return Some((own, self.session_table(name)));
        }
        if self.setting.dataframes_only {
            if let [ident] = idents.as_slice() {
                self.reading.dataframes.insert(ident.value.clone());
            }
            return Some((own, Source::unknown()));
        }
        let Some(table) = self.name(name) else {
            self.reading.unnamed_tables += 1;
            return Some((own, Source::unknown()));
        };
        // A whole name in one pair of backticks is called by its last part.
        let own = table.table.to_lowercase();
        if let Some(source) = self.temporary.get(&table) {
            return Some((own, source.clone()));
        }
        if self.unread.as_ref() != Some(&table) {
            self.reading.reads.insert(table.clone(), Evidence::Sql);
        }
        Some((own, Source::Table(Rc::new(table))))
    }

    fn session_table(&self, name: &ObjectName) -> Source {
        self.name(name).and_then(|name| self.temporary.get(&name).cloned()).unwrap_or_else(Source::unknown)
    }

    /// A variable that holds rows, `@t`.
    fn is_variable(&self, first: &Ident) -> bool {
        self.setting.warehouse != Warehouse::Snowflake && first.value.starts_with('@')
    }

    /// `IDENTIFIER('a.b')`: a name that is computed, and may be computed from a text alone.
    fn computed(&mut self, name: &ObjectName) -> Option<(String, Source)> {
        let text = match &*name.0 {
            [sqlparser::ast::ObjectNamePart::Function(part)] => match &*part.args {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))] => literal(arg),
                _ => None,
            },
            _ => None,
        };
        match text {
            Some(text) => self.named_by_text(&text),
            None => {
                self.reading.unnamed_tables += 1;
                None
            }
        }
    }

    /// A table that a text names, as in `TABLE('a.b')`.
    fn named_by_text(&mut self, text: &str) -> Option<(String, Source)> {
        let parts = split(text.trim(), self.setting.warehouse).unwrap_or_default();
        let idents: Vec<Ident> = parts
            .into_iter()
            .map(|(part, quoted)| if quoted { Ident::with_quote('"', part) } else { Ident::new(part) })
            .collect();
        if idents.is_empty() {
            self.reading.unnamed_tables += 1;
            return None;
        }
        self.relation(&ObjectName::from(idents), &[])
    }

    /// A table that is read with all of its columns.
    pub(super) fn read_whole(&mut self, name: &ObjectName, all_columns: bool) {
        if let Some((_, Source::Table(table))) = self.relation(name, &[])
            && all_columns
        {
            self.column(table, ALL_COLUMNS.into(), Resolution::Qualified);
        }
    }

    /// Takes note of what an item of a FROM clause is.
    pub(super) fn factor(&mut self, factor: &TableFactor, scope: &mut Scope) {
        let named = |alias: &Option<TableAlias>| alias.as_ref().map(|a| lower(&a.name));
        match factor {
            TableFactor::Table { name, alias, args, .. } => match args {
                Some(args) if !self.are_hints(args) => self.function(name, &args.args, alias, scope),
                _ => {
                    if let Some((own, source)) = self.relation(name, &scope.sources) {
                        let source = match alias {
                            Some(alias) if !alias.columns.is_empty() => self.with_columns(source, alias),
                            _ => source,
                        };
                        scope.sources.push((named(alias).unwrap_or(own), source));
                    }
                }
            },
            TableFactor::Derived { subquery, alias, lateral, .. } => {
                let sees = *lateral || self.is_applied;
                if sees {
                    self.scopes.push(scope.clone());
                }
                let columns = self.query(subquery);
                if sees {
                    self.scopes.pop();
                }
                let source = match alias {
                    Some(alias) => self.with_columns(Source::Derived(columns), alias),
                    None => Source::Derived(columns),
                };
                scope.sources.push((named(alias).unwrap_or_default(), source));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.from(table_with_joins, scope),
            TableFactor::Function { name, args, alias, .. } => self.function(name, args, alias, scope),
            TableFactor::TableFunction { expr, alias } => self.table_function(expr, alias, scope),
            TableFactor::UNNEST { alias, with_offset_alias, .. } => {
                let mut columns = element_columns("unnest", alias);
                columns.named.extend(with_offset_alias.as_ref().map(lower));
                scope.sources.push((named(alias).unwrap_or_default(), Source::derived(columns)));
            }
            TableFactor::SemanticView { name, alias, .. } => {
                let own = self.relation(name, &[]).map(|(own, _)| own).unwrap_or_default();
                scope.sources.push((named(alias).unwrap_or(own), Source::unknown()));
            }
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } | TableFactor::MatchRecognize { .. } => {
                self.reshaped(factor, scope);
            }
            TableFactor::JsonTable { alias, .. }
            | TableFactor::OpenJsonTable { alias, .. }
            | TableFactor::XmlTable { alias, .. } => {
                scope.sources.push((named(alias).unwrap_or_default(), Source::unknown()));
            }
            _ => scope.sources.push((String::new(), Source::unknown())),
        }
    }

    /// A source under the column names of its alias. What they stand for is read.
    pub(super) fn with_columns(&mut self, source: Source, alias: &TableAlias) -> Source {
        if alias.columns.is_empty() {
            return source;
        }
        let tables = match &source {
            Source::Table(table) => vec![table.clone()],
            Source::Derived(columns) => columns.tables.iter().cloned().collect(),
        };
        for table in tables {
            self.column(table, ALL_COLUMNS.into(), Resolution::Qualified);
        }
        renamed(alias)
    }

    /// Whether the arguments of a table are hints, as in `dbo.orders (nolock)`.
    fn are_hints(&self, args: &TableFunctionArgs) -> bool {
        let is_hint = |arg: &FunctionArg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident))) => {
                words::is_table_hint(&lower(ident))
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(f))) => f
                .name
                .0
                .last()
                .and_then(|p| p.as_ident())
                .is_some_and(|ident| words::is_table_hint(&lower(ident))),
            _ => false,
        };
        matches!(self.setting.warehouse, Warehouse::SqlServer | Warehouse::Other)
            && !args.args.is_empty()
            && args.args.iter().all(is_hint)
    }

    fn function(
        &mut self,
        name: &ObjectName,
        args: &[FunctionArg],
        alias: &Option<TableAlias>,
        scope: &mut Scope,
    ) {
        let function = name.0.last().and_then(|part| part.as_ident()).map(lower).unwrap_or_default();
        let first = match args.first() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => Some(expr),
            _ => None,
        };
        if words::has(FILE_FUNCTIONS, &function) {
            self.reading.files += 1;
        }
        let names_table = matches!(function.as_str(), "stream" | "live" | "table_changes" | "snapshot");
        let read = match first {
            Some(Expr::Identifier(ident)) if names_table => {
                self.relation(&ObjectName::from(vec![ident.clone()]), &[])
            }
            Some(Expr::CompoundIdentifier(idents)) if names_table => {
                self.relation(&ObjectName::from(idents.clone()), &[])
            }
            Some(expr) if names_table => literal(expr).and_then(|text| self.named_by_text(&text)),
            _ => None,
        };
        let named = alias.as_ref().map(|alias| lower(&alias.name));
        let source = match read {
            Some((_, source)) => source,
            None => Source::derived(element_columns(&function, alias)),
        };
        scope.sources.push((named.unwrap_or(function), source));
    }

    /// `TABLE(f(x))`, or `TABLE('name')`.
    fn table_function(&mut self, expr: &Expr, alias: &Option<TableAlias>, scope: &mut Scope) {
        let named = alias.as_ref().map(|alias| lower(&alias.name));
        let source = match expr {
            Expr::Function(function) => {
                let args: &[FunctionArg] = match &function.args {
                    FunctionArguments::List(list) => &list.args,
                    _ => &[],
                };
                return self.function(&function.name, args, alias, scope);
            }
            Expr::Identifier(ident) if !ident.value.starts_with(['$', ':', '@']) => {
                self.relation(&ObjectName::from(vec![ident.clone()]), &[])
            }
            Expr::CompoundIdentifier(idents) => self.relation(&ObjectName::from(idents.clone()), &[]),
            other => match literal(other) {
                Some(text) => self.named_by_text(&text),
                None => {
                    self.reading.unnamed_tables += 1;
                    None
                }
            },
        };
        let (own, source) = source.unwrap_or((String::new(), Source::unknown()));
        scope.sources.push((named.unwrap_or(own), source));
    }

    /// PIVOT, UNPIVOT and MATCH_RECOGNIZE: columns of the table in them are read, and others come out.
    fn reshaped(&mut self, factor: &TableFactor, scope: &mut Scope) {
        let (TableFactor::Pivot { table, alias, .. }
        | TableFactor::Unpivot { table, alias, .. }
        | TableFactor::MatchRecognize { table, alias, .. }) = factor
        else {
            return;
        };
        let mut inner = Scope::default();
        self.factor(table, &mut inner);
        let mut columns = Columns::unknown();
        let mut budget = self.budget;
        inner.sources.iter().for_each(|(_, source)| columns.add(source, &mut budget));
        self.budget = budget;
        columns.open = true;
        let own = inner.sources.first().map(|(name, _)| name.clone()).unwrap_or_default();
        if let TableFactor::MatchRecognize { symbols, .. } = factor
            && let Some((_, source)) = inner.sources.first().cloned()
        {
            // The pattern's variables stand for rows of the table.
            inner.sources.extend(symbols.iter().map(|s| (lower(&s.symbol), source.clone())));
        }
        self.scopes.push(inner);
        match factor {
            TableFactor::Pivot { aggregate_functions, value_column, value_source, .. } => {
                self.expressions(aggregate_functions);
                self.expressions(value_column);
                if let PivotValueSource::Subquery(query) = value_source {
                    self.expressions(query);
                }
            }
            TableFactor::Unpivot { columns: read, value, name, .. } => {
                self.expressions(read);
                columns.named.insert(lower(name));
                if let Expr::Identifier(ident) = value {
                    columns.named.insert(lower(ident));
                }
            }
            TableFactor::MatchRecognize { partition_by, order_by, measures, symbols, .. } => {
                self.expressions(partition_by);
                self.expressions(order_by);
                self.expressions(measures);
                self.expressions(symbols);
                columns.named.extend(measures.iter().map(|measure| lower(&measure.alias)));
            }
            _ => {}
        }
        self.scopes.pop();
        let name = alias.as_ref().map_or(own, |alias| lower(&alias.name));
        scope.sources.push((name, Source::derived(columns)));
    }

    /// ClickHouse's ARRAY JOIN: its items are arrays of the tables before it, not tables.
    pub(super) fn array_join(&mut self, factor: &TableFactor, scope: &mut Scope) {
        let TableFactor::Table { name, alias, .. } = factor else { return };
        let Some(idents) = idents(name) else { return };
        let Some((last, before)) = idents.split_last() else { return };
        let before: Vec<Ident> = before.iter().map(|ident| (*ident).clone()).collect();
        let array = match before.is_empty() {
            true => Expr::Identifier((*last).clone()),
            false => Expr::CompoundIdentifier(before.into_iter().chain([(*last).clone()]).collect()),
        };
        self.scopes.push(scope.clone());
        self.expressions(&array);
        self.scopes.pop();
        let own = alias.as_ref().map_or_else(|| lower(last), |alias| lower(&alias.name));
        let columns = Columns::of([own.clone()]);
        scope.sources.push((own, Source::derived(columns)));
    }

    /// Reads the expressions of a FROM item, which may use the items before it.
    pub(super) fn factor_expressions(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { args: Some(args), .. } if !self.are_hints(args) => self.expressions(args),
            TableFactor::TableFunction { expr, .. } => {
                if let Expr::Function(_) = expr {
                    self.expressions(expr);
                }
            }
            TableFactor::Function { args, .. } => self.expressions(args),
            TableFactor::UNNEST { array_exprs, .. } => self.expressions(array_exprs),
            TableFactor::JsonTable { json_expr, .. } | TableFactor::OpenJsonTable { json_expr, .. } => {
                self.expressions(json_expr);
            }
            TableFactor::XmlTable { passing, .. } => self.expressions(passing),
            TableFactor::NestedJoin { table_with_joins, .. } => self.joins(table_with_joins),
            _ => {}
        }
    }
}

/// The columns of a function that makes rows.
fn element_columns(function: &str, alias: &Option<TableAlias>) -> Columns {
    let known = FUNCTIONS.iter().find(|(name, _)| *name == function);
    let mut columns = match known {
        Some((_, names)) => Columns::of(names.iter().map(|name| (*name).to_owned())),
        None => Columns::unknown(),
    };
    if let Some(alias) = alias {
        // An element that isn't a row goes by the alias itself.
        columns.named.insert(lower(&alias.name));
        columns.named.extend(alias.columns.iter().map(|column| lower(&column.name)));
        columns.open &= alias.columns.is_empty();
    }
    columns
}
