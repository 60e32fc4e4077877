//! What a query reads: tables, columns, dataframes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, Visit, Visitor,
};
use sqlparser::dialect::{
    BigQueryDialect, ClickHouseDialect, DatabricksDialect, Dialect, DuckDbDialect, GenericDialect,
    MsSqlDialect, MySqlDialect, PostgreSqlDialect, RedshiftSqlDialect, SnowflakeDialect,
};
use sqlparser::parser::{Parser, ParserError};

use super::jinja::{Branches, is_placeholder, without_jinja};
use super::names::{Defaults, TableName, Warehouse, assemble};

/// Nesting that is still read; deeper queries are refused, as are those that would take for ever.
const DEPTH: usize = 60;
/// Stack that reading a query takes at the most, without its operators.
const STACK: usize = 64 << 20;
/// Stack that each operator may take: a chain of them is a tree as deep as the chain is long.
const STACK_PER_OPERATOR: usize = 2 << 10;
/// A query with more operators is not read.
const OPERATORS: usize = 200_000;

/// What a column of a table is called in [`Reading::columns`] when a query reads all of them.
pub const ALL_COLUMNS: &str = "*";

/// What a query reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Warehouse tables.
    pub tables: BTreeSet<TableName>,
    /// Columns of these tables; `*` where all are read and the schema isn't known.
    pub columns: BTreeSet<(TableName, String)>,
    /// Dataframes of other cells.
    pub dataframes: BTreeSet<String>,
    /// Tables whose name a template fills in, or that isn't one by the warehouse's rules.
    pub unnamed_tables: u32,
    /// Columns that could be of more than one table.
    pub unresolved_columns: u32,
}

/// What a query is read by.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Where it runs.
    pub warehouse: Warehouse,
    /// What completes its names.
    pub defaults: &'a Defaults,
    /// Names of the notebook's dataframes, in lower case.
    pub dataframes: &'a HashSet<String>,
    /// Whether it can read nothing but dataframes.
    pub dataframes_only: bool,
}

/// Reads a query.
///
/// # Errors
/// Why it can't be read, in words.
pub fn read(source: &str, setting: Setting<'_>) -> Result<Reading, String> {
    let operators = operators(source);
    if operators > OPERATORS {
        return Err(format!("it has {operators} operators, and no more than {OPERATORS} are read"));
    }
    let stack = STACK + operators * STACK_PER_OPERATOR;
    stacker::maybe_grow(stack / 2, stack, || read_here(source, setting))
}

/// Operators of a query, or more: what may make its tree deep.
fn operators(source: &str) -> usize {
    let is_word = |word: &str| {
        ["and", "or", "union", "except", "intersect"].iter().any(|w| word.eq_ignore_ascii_case(w))
    };
    let words = source.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_word(word)).count();
    words + source.bytes().filter(|b| b"+-*/|&%<>=:^~.".contains(b)).count()
}

fn read_here(source: &str, setting: Setting<'_>) -> Result<Reading, String> {
    let dialect = dialect(setting.warehouse);
    let text = without_jinja(source, Branches::All);
    let statements = match parse(&*dialect, &text) {
        Ok(statements) => statements,
        Err(first) => {
            // Branches that exclude each other may be SQL alone; a dialect that is too strict, another's.
            let one_branch = without_jinja(source, Branches::First);
            parse(&*dialect, &one_branch)
                .or_else(|_| parse(&GenericDialect {}, &text))
                .map_err(|_| first.to_string())?
        }
    };
    let mut walk = Walk { setting, reading: Reading::default(), scopes: Vec::new(), ignored: HashSet::new() };
    let _: ControlFlow<()> = statements.visit(&mut walk);
    Ok(walk.reading)
}

fn parse(dialect: &dyn Dialect, text: &str) -> Result<Vec<sqlparser::ast::Statement>, ParserError> {
    Parser::new(dialect).with_recursion_limit(DEPTH).try_with_sql(text)?.parse_statements()
}

fn dialect(warehouse: Warehouse) -> Box<dyn Dialect> {
    match warehouse {
        Warehouse::Snowflake => Box::new(SnowflakeDialect {}),
        Warehouse::BigQuery => Box::new(BigQueryDialect {}),
        Warehouse::Postgres => Box::new(PostgreSqlDialect {}),
        Warehouse::Redshift => Box::new(RedshiftSqlDialect {}),
        Warehouse::Databricks => Box::new(DatabricksDialect {}),
        Warehouse::ClickHouse => Box::new(ClickHouseDialect {}),
        Warehouse::SqlServer => Box::new(MsSqlDialect {}),
        Warehouse::MySql => Box::new(MySqlDialect {}),
        Warehouse::DuckDb => Box::new(DuckDbDialect {}),
        Warehouse::Athena | Warehouse::Trino | Warehouse::Other => Box::new(GenericDialect {}),
    }
}

/// What a name in a FROM clause stands for.
#[derive(Debug, Clone)]
enum Source {
    /// A warehouse table.
    Table(TableName),
    /// A subquery, CTE, dataframe or function, with its columns where they are known.
    Other(Option<HashSet<String>>),
}

#[derive(Debug)]
enum Scope {
    Query(QueryScope),
    Select(SelectScope),
}

#[derive(Debug, Default)]
struct QueryScope {
    /// CTEs by name, with their columns.
    ctes: Vec<(String, Option<HashSet<String>>)>,
    /// How many of them can be read so far: one that isn't recursive doesn't see itself.
    visible: usize,
    /// Whether this query is a CTE of the query around it.
    is_cte: bool,
    /// Queries that are this query's CTEs.
    queries: HashSet<usize>,
    /// The select that was read last: what ORDER BY refers to.
    last: Option<SelectScope>,
}

#[derive(Debug, Default)]
struct SelectScope {
    sources: Vec<(String, Source)>,
    aliases: HashSet<String>,
    in_projection: bool,
}

struct Walk<'a> {
    setting: Setting<'a>,
    reading: Reading,
    scopes: Vec<Scope>,
    /// Expressions that look like columns and are keywords, by address.
    ignored: HashSet<usize>,
}

/// The address of a node: what tells one from another while a tree is walked.
fn address<T>(node: &T) -> usize {
    std::ptr::from_ref(node).addr()
}

fn lower(ident: &Ident) -> String {
    ident.value.to_lowercase()
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let is_cte = self.enclosing_query().is_some_and(|outer| outer.queries.contains(&address(query)));
        let mut scope = QueryScope { is_cte, ..QueryScope::default() };
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let named: Vec<String> = cte.alias.columns.iter().map(|c| lower(&c.name)).collect();
                let columns = if named.is_empty() {
                    output_columns(&cte.query)
                } else {
                    Some(named.into_iter().collect())
                };
                scope.ctes.push((lower(&cte.alias.name), columns));
                scope.queries.insert(address(&*cte.query));
            }
            scope.visible = if with.recursive { scope.ctes.len() } else { 0 };
        }
        self.scopes.push(Scope::Query(scope));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        if let Some(Scope::Query(ended)) = self.scopes.pop()
            && ended.is_cte
            && let Some(outer) = self.enclosing_query()
        {
            outer.visible = (outer.visible + 1).min(outer.ctes.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut scope = SelectScope { in_projection: true, ..SelectScope::default() };
        for from in &select.from {
            self.collect(from, &mut scope.sources);
        }
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => {
                    scope.aliases.insert(lower(alias));
                }
                SelectItem::Wildcard(_) => self.read_all(&scope.sources, None),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let qualifier = name.0.last().and_then(|part| part.as_ident()).map(lower);
                    self.read_all(&scope.sources, qualifier.as_deref());
                }
                _ => {}
            }
        }
        self.scopes.push(Scope::Select(scope));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        if let Some(Scope::Select(ended)) = self.scopes.pop()
            && let Some(query) = self.enclosing_query()
        {
            query.last = Some(ended);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        if let Some(Scope::Select(select)) = self.scopes.last_mut() {
            select.in_projection = false;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) if !self.ignored.remove(&address(expr)) => self.column(&[], ident),
            Expr::CompoundIdentifier(idents) => {
                if let Some((last, before)) = idents.split_last() {
                    self.column(before, last);
                }
            }
            Expr::Function(function) => {
                let name =
                    function.name.0.last().and_then(|part| part.as_ident()).map(lower).unwrap_or_default();
                if takes_date_part(&name)
                    && let FunctionArguments::List(list) = &function.args
                {
                    for arg in &list.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(inner @ Expr::Identifier(part))) =
                            arg
                            && part.quote_style.is_none()
                            && is_date_part(&lower(part))
                        {
                            self.ignored.insert(address(inner));
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Walk<'_> {
    fn enclosing_query(&mut self) -> Option<&mut QueryScope> {
        self.scopes.iter_mut().rev().find_map(|scope| match scope {
            Scope::Query(query) => Some(query),
            Scope::Select(_) => None,
        })
    }

    /// Takes note of the tables of a FROM item, and of what its names stand for.
    fn collect(&mut self, from: &TableWithJoins, sources: &mut Vec<(String, Source)>) {
        self.collect_factor(&from.relation, sources);
        for join in &from.joins {
            self.collect_factor(&join.relation, sources);
        }
    }

    fn collect_factor(&mut self, factor: &TableFactor, sources: &mut Vec<(String, Source)>) {
        let named = |alias: &Option<TableAlias>| alias.as_ref().map(|a| lower(&a.name));
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                if let Some((own, source)) = self.relation(name, sources) {
                    sources.push((named(alias).unwrap_or(own), source));
                }
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let renamed = alias.as_ref().filter(|a| !a.columns.is_empty());
                let columns = match renamed {
                    Some(alias) => Some(alias.columns.iter().map(|c| lower(&c.name)).collect()),
                    None => output_columns(subquery),
                };
                sources.push((named(alias).unwrap_or_default(), Source::Other(columns)));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.collect(table_with_joins, sources),
            TableFactor::Pivot { table, alias, .. } | TableFactor::Unpivot { table, alias, .. } => {
                self.collect_factor(table, sources);
                if let Some(name) = named(alias) {
                    sources.push((name, Source::Other(None)));
                }
            }
            TableFactor::Table { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::JsonTable { alias, .. } => {
                sources.push((named(alias).unwrap_or_default(), Source::Other(None)));
            }
            _ => sources.push((String::new(), Source::Other(None))),
        }
    }

    /// What a relation's name stands for, and the name that it has by itself.
    fn relation(&mut self, name: &ObjectName, siblings: &[(String, Source)]) -> Option<(String, Source)> {
        let Some(idents) = name.0.iter().map(|part| part.as_ident()).collect::<Option<Vec<_>>>() else {
            self.reading.unnamed_tables += 1;
            return None;
        };
        let own = lower(idents.last()?);
        let first = lower(idents.first()?);
        if let [_] = idents.as_slice() {
            if let Some(columns) = self.cte(&own) {
                return Some((own, Source::Other(columns)));
            }
            if self.setting.dataframes.contains(&own) {
                self.reading.dataframes.insert(idents[0].value.clone());
                return Some((own, Source::Other(None)));
            }
        } else if siblings.iter().any(|(alias, _)| *alias == first) {
            // `FROM t, t.items`: an array of the table before it.
            return Some((own, Source::Other(None)));
        }
        if idents.iter().any(|ident| is_placeholder(&ident.value)) {
            self.reading.unnamed_tables += 1;
            return Some((own, Source::Other(None)));
        }
        if self.setting.dataframes_only {
            if idents.len() == 1 {
                self.reading.dataframes.insert(idents[0].value.clone());
            }
            return Some((own, Source::Other(None)));
        }
        let parts = idents.iter().map(|ident| (ident.value.clone(), ident.quote_style.is_some())).collect();
        match assemble(parts, self.setting.warehouse, self.setting.defaults) {
            Some(table) => {
                // A whole name in one pair of backticks is called by its last part.
                let own = table.table.to_lowercase();
                self.reading.tables.insert(table.clone());
                Some((own, Source::Table(table)))
            }
            None => {
                self.reading.unnamed_tables += 1;
                Some((own, Source::Other(None)))
            }
        }
    }

    /// The columns of the CTE of this name, if one can be read here.
    fn cte(&self, name: &str) -> Option<Option<HashSet<String>>> {
        self.scopes.iter().rev().find_map(|scope| match scope {
            Scope::Query(query) => query.ctes[..query.visible]
                .iter()
                .rev()
                .find(|(cte, _)| cte == name)
                .map(|(_, columns)| columns.clone()),
            Scope::Select(_) => None,
        })
    }

    fn read_all(&mut self, sources: &[(String, Source)], qualifier: Option<&str>) {
        for (alias, source) in sources {
            if let Source::Table(table) = source
                && qualifier.is_none_or(|q| q == alias)
            {
                self.reading.columns.insert((table.clone(), ALL_COLUMNS.into()));
            }
        }
    }

    /// Takes note of a column, if it is one of a warehouse table.
    fn column(&mut self, before: &[Ident], ident: &Ident) {
        if is_placeholder(&ident.value) {
            return;
        }
        match resolve(&self.scopes, before, ident) {
            Resolved::Column(table, column) => {
                let name = self.setting.warehouse.fold(&column.value, column.quote_style.is_some());
                let entry = (table.clone(), name);
                self.reading.columns.insert(entry);
            }
            Resolved::Elsewhere => {}
            Resolved::Unknown => self.reading.unresolved_columns += 1,
        }
    }
}

enum Resolved<'a> {
    /// A column of a warehouse table.
    Column(&'a TableName, &'a Ident),
    /// A column of a CTE, subquery or dataframe, or an alias: what it comes from is read there.
    Elsewhere,
    /// It could be a column of more than one table.
    Unknown,
}

/// What a column's name refers to: the innermost select that knows it, as SQL has it.
fn resolve<'a>(scopes: &'a [Scope], before: &'a [Ident], ident: &'a Ident) -> Resolved<'a> {
    let name = lower(ident);
    let mut innermost = true;
    for scope in scopes.iter().rev() {
        let select = match scope {
            Scope::Select(select) => select,
            // The query's own ORDER BY refers to its select; for anything deeper that select has ended.
            Scope::Query(QueryScope { last: Some(select), .. }) if innermost => select,
            Scope::Query(_) => continue,
        };
        let found = match before {
            [] => unqualified(select, &name, ident),
            _ => qualified(select, before, ident),
        };
        if let Some(found) = found {
            return found;
        }
        innermost = false;
    }
    match before {
        // `column.field` of the only table.
        [first, ..] => match resolve(scopes, &[], first) {
            Resolved::Column(table, column) => Resolved::Column(table, column),
            other => other,
        },
        [] => Resolved::Elsewhere,
    }
}

fn unqualified<'a>(select: &'a SelectScope, name: &str, ident: &'a Ident) -> Option<Resolved<'a>> {
    if !select.in_projection && select.aliases.contains(name) {
        return Some(Resolved::Elsewhere);
    }
    let mut tables = select.sources.iter().filter_map(|(_, source)| match source {
        Source::Table(table) => Some(table),
        Source::Other(_) => None,
    });
    let others = || {
        select.sources.iter().filter_map(|(_, source)| match source {
            Source::Other(columns) => Some(columns),
            Source::Table(_) => None,
        })
    };
    if others().flatten().any(|columns| columns.contains(name)) {
        return Some(Resolved::Elsewhere);
    }
    let unknown_others = others().any(Option::is_none);
    match (tables.next(), tables.next()) {
        (None, _) if select.sources.is_empty() => None,
        // All other columns are known, and it is none of them: it is of a select around this one.
        (None, _) if !unknown_others => None,
        (None, _) => Some(Resolved::Elsewhere),
        (Some(table), None) if !unknown_others => Some(Resolved::Column(table, ident)),
        _ => Some(Resolved::Unknown),
    }
}

fn qualified<'a>(select: &'a SelectScope, before: &'a [Ident], ident: &'a Ident) -> Option<Resolved<'a>> {
    let of = |source: &'a Source, column: &'a Ident| match source {
        Source::Table(table) => Resolved::Column(table, column),
        Source::Other(_) => Resolved::Elsewhere,
    };
    let by_name =
        |name: &str| select.sources.iter().find(|(alias, _)| alias == name).map(|(_, source)| source);
    // `alias.column`, and `alias.column.field`.
    if let Some(source) = by_name(&lower(before.first()?)) {
        return Some(of(source, before.get(1).unwrap_or(ident)));
    }
    // `schema.table.column`.
    let last = before.last().filter(|_| before.len() > 1)?;
    by_name(&lower(last)).map(|source| of(source, ident))
}

/// Names of a query's columns, where they can be told without knowing a schema.
fn output_columns(query: &Query) -> Option<HashSet<String>> {
    let mut body = &*query.body;
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(inner) => body = &inner.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return None,
        }
    };
    let mut columns = HashSet::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => {
                columns.insert(lower(ident));
            }
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => {
                columns.insert(lower(idents.last()?));
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                columns.insert(lower(alias));
            }
            // Warehouses make names of their own for these, which nobody refers to.
            SelectItem::UnnamedExpr(_) => {}
            _ => return None,
        }
    }
    Some(columns)
}

fn takes_date_part(function: &str) -> bool {
    matches!(
        function,
        "date_trunc"
            | "date_part"
            | "datepart"
            | "datename"
            | "dateadd"
            | "datediff"
            | "date_add"
            | "date_sub"
            | "date_diff"
            | "timestamp_trunc"
            | "timestamp_diff"
            | "timestamp_add"
            | "timestamp_sub"
            | "timestampadd"
            | "timestampdiff"
            | "datetime_trunc"
            | "datetime_diff"
            | "datetime_add"
            | "datetime_sub"
            | "time_trunc"
            | "time_slice"
            | "trunc"
            | "last_day"
            | "datetrunc"
            | "time_bucket"
    )
}

fn is_date_part(name: &str) -> bool {
    let name = name.strip_suffix('s').unwrap_or(name);
    matches!(
        name,
        "year"
            | "quarter"
            | "month"
            | "week"
            | "isoweek"
            | "isoyear"
            | "day"
            | "dayofweek"
            | "dayofyear"
            | "hour"
            | "minute"
            | "second"
            | "millisecond"
            | "microsecond"
            | "nanosecond"
            | "yyyy"
            | "yy"
            | "mm"
            | "dd"
            | "hh"
            | "mi"
            | "qq"
            | "wk"
            | "dow"
            | "doy"
            | "epoch"
            | "dw"
    )
}

/// Words for what kept a query from being read, for counting: the message without what is particular to it.
pub fn cause(error: &str) -> &str {
    let error = error.strip_prefix("sql parser error: ").unwrap_or(error);
    error.split(", found").next().unwrap_or(error).split(" at Line").next().unwrap_or(error)
}

/// How often each cause occurs.
pub fn causes<'a>(errors: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    errors.for_each(|error| *counts.entry(cause(error)).or_default() += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(warehouse: Warehouse, sql: &str) -> Reading {
        let defaults = Defaults { database: Some("db".into()), schema: Some("sc".into()) };
        let dataframes = HashSet::from(["df_1".to_owned()]);
        let setting =
            Setting { warehouse, defaults: &defaults, dataframes: &dataframes, dataframes_only: false };
        read(sql, setting).unwrap_or_else(|e| panic!("{e}: {sql}"))
    }

    fn tables(warehouse: Warehouse, sql: &str) -> Vec<String> {
        reading(warehouse, sql).tables.iter().map(TableName::key).collect()
    }

    fn columns(warehouse: Warehouse, sql: &str) -> Vec<String> {
        reading(warehouse, sql).columns.iter().map(|(t, c)| format!("{}.{c}", t.table)).collect()
    }

    #[test]
    fn tables_are_found_wherever_they_are_read() {
        use Warehouse as W;
        for (warehouse, sql, expected) in [
            (W::Postgres, "select 1", vec![]),
            (W::Postgres, "select * from a join B on a.x = b.x, c", vec!["db.sc.a", "db.sc.b", "db.sc.c"]),
            (W::Postgres, "with a as (select * from b) select * from a", vec!["db.sc.b"]),
            (W::Postgres, "with a as (select * from a) select * from a", vec!["db.sc.a"]),
            (W::Postgres, "with recursive a as (select 1 union all select * from a) select * from a", vec![]),
            (
                W::Postgres,
                "select (select max(x) from a) from b where exists (select 1 from c)",
                vec!["db.sc.a", "db.sc.b", "db.sc.c"],
            ),
            (
                W::Postgres,
                "select * from (select * from a union all (select * from b)) q",
                vec!["db.sc.a", "db.sc.b"],
            ),
            (
                W::Postgres,
                "select * from generate_series(1, 3) g, lateral (select * from a) l",
                vec!["db.sc.a"],
            ),
            (W::Postgres, "select * from df_1 join a using (id)", vec!["db.sc.a"]),
            (W::Postgres, "select * from x.a where b in ({{ ids | array }}) and c = {{ c }}", vec!["db.x.a"]),
            (
                W::Snowflake,
                "select * from Raw.\"Orders\" o, lateral flatten(input => o.items) f",
                vec!["db.RAW.Orders"],
            ),
            (
                W::Snowflake,
                "select * from a qualify row_number() over (partition by b order by c) = 1",
                vec!["db.sc.A"],
            ),
            (W::BigQuery, "select * from `p.d.t`, unnest(items) i", vec!["p.d.t"]),
            (W::BigQuery, "select x from `p`.d.`events_*` e, e.items", vec!["p.d.events_*"]),
            (W::Databricks, "select * from Main.Gold.`Orders` version as of 3", vec!["main.gold.orders"]),
            (
                W::SqlServer,
                "select top 3 * from [Sales].[dbo].[Orders] with (nolock)",
                vec!["sales.dbo.orders"],
            ),
            (W::ClickHouse, "select count() from web.clicks final prewhere x = 1", vec!["web.clicks"]),
            (W::Trino, "select * from hive.web.clicks tablesample bernoulli (10)", vec!["hive.web.clicks"]),
            (W::Postgres, "select * from {{ t }} join a on true", vec!["db.sc.a"]),
            (W::Postgres, "select 1 {% if x %}from a{% else %}from b{% endif %}", vec!["db.sc.a"]),
            (W::Postgres, "insert into a select * from b", vec!["db.sc.b"]),
            (W::Postgres, "create table a as select * from b; select * from c", vec!["db.sc.b", "db.sc.c"]),
        ] {
            assert_eq!(tables(warehouse, sql), expected, "{sql}");
        }
    }

    #[test]
    fn columns_are_of_the_table_that_the_query_names_or_of_the_only_one() {
        use Warehouse as W;
        for (sql, expected) in [
            ("select x, t.y from t where z > 1 order by w", vec!["t.w", "t.x", "t.y", "t.z"]),
            ("select a.x, b.y from a join b on a.id = b.id", vec!["a.id", "a.x", "b.id", "b.y"]),
            ("select count(*) as n from t group by k order by n", vec!["t.k"]),
            ("select lower(name) as name from t where name = 'x'", vec!["t.name"]),
            ("with c as (select x from t) select x from c where y = 1", vec!["t.x"]),
            ("select q.x from (select x, y from t) q", vec!["t.x", "t.y"]),
            ("select * from t", vec!["t.*"]),
            ("select t.* from t join u on t.id = u.id", vec!["t.*", "t.id", "u.id"]),
            ("select date_trunc('day', at), dateadd(day, 1, at) from t", vec!["t.at"]),
            (
                "select x from t where exists (select 1 from u where u.id = t.id and t.k = 1)",
                vec!["t.id", "t.k", "t.x", "u.id"],
            ),
            ("select x from t where y = {{ y }} and z like '{{ z }}%'", vec!["t.x", "t.y", "t.z"]),
            ("select sc.t.x from sc.t", vec!["t.x"]),
        ] {
            assert_eq!(columns(W::Redshift, sql), expected, "{sql}");
        }
        let ambiguous = reading(W::Redshift, "select x from t, u");
        assert_eq!((ambiguous.columns.len(), ambiguous.unresolved_columns), (0, 1));
    }

    #[test]
    fn names_that_a_template_fills_in_are_counted_and_not_guessed() {
        let reading =
            reading(Warehouse::Postgres, "select * from {{ schema }}.orders, raw.{{ t }}_v2, real_one");
        assert_eq!((reading.tables.len(), reading.unnamed_tables), (1, 2));
    }

    #[test]
    fn a_dataframe_query_reads_no_tables() {
        let (defaults, frames) = (Defaults::default(), HashSet::new());
        let setting = Setting {
            warehouse: Warehouse::DuckDb,
            defaults: &defaults,
            dataframes: &frames,
            dataframes_only: true,
        };
        let reading =
            read("select a, count(*) from df_9 join other using (a) group by all", setting).unwrap();
        assert!(reading.tables.is_empty());
        assert_eq!(reading.dataframes.into_iter().collect::<Vec<_>>(), ["df_9", "other"]);
    }

    #[test]
    fn what_is_not_sql_is_refused_and_nothing_panics() {
        use rand::{RngExt, SeedableRng};
        let (defaults, frames) = (Defaults::default(), HashSet::new());
        let setting = |warehouse| Setting {
            warehouse,
            defaults: &defaults,
            dataframes: &frames,
            dataframes_only: false,
        };
        for sql in ["selec * form t", "\u{0}\u{1}binary\u{fffd}", "select * from (", "';--", "{{", "{% if"] {
            let _ = read(sql, setting(Warehouse::Postgres));
        }
        let nested = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(read(&nested, setting(Warehouse::Snowflake)).is_err());
        let deep = format!("{}select 1{}", "select * from (".repeat(300), ")".repeat(300));
        assert!(read(&deep, setting(Warehouse::Trino)).is_err());
        let long =
            format!("select {} from t", (0..40_000).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", "));
        assert_eq!(read(&long, setting(Warehouse::BigQuery)).unwrap().columns.len(), 40_000);
        let words: Vec<&str> = "select from where ( ) , . * with as a b t `x` \"y\" 'z' join on = and case when end order by group \
                                union all {{ x }} {% if %} -- \n /* */ :: [ ] 1 over partition lateral unnest"
            .split(' ')
            .collect();
        let mut r = rand_chacha::ChaCha8Rng::seed_from_u64(9);
        for _ in 0..3_000 {
            let sql: Vec<&str> =
                (0..r.random_range(1..30)).map(|_| words[r.random_range(0..words.len())]).collect();
            for warehouse in
                [Warehouse::Snowflake, Warehouse::BigQuery, Warehouse::Postgres, Warehouse::ClickHouse]
            {
                let _ = read(&sql.join(" "), setting(warehouse));
            }
        }
    }

    #[test]
    fn deep_and_long_queries_overflow_nothing() {
        let (defaults, frames) = (Defaults::default(), HashSet::new());
        let nested = |open: &str, middle: &str, close: &str, n: usize| {
            format!("{}{middle}{}", open.repeat(n), close.repeat(n))
        };
        let mut queries = vec![
            format!("select 1{} from t", " + 1".repeat(60_000)),
            format!("select x from t where a = 1{}", " or a = 1".repeat(30_000)),
            format!("select x from t{}", " union all select x from t".repeat(10_000)),
            format!("select '{}'", "-".repeat(300_000)),
        ];
        for n in [20, 50, 200] {
            queries.push(format!("select * from {}", nested("(", "a", ")", n)));
            queries.push(format!("select * from {}", nested("(", "a", " join c on true)", n)));
            queries.push(format!("select {}", nested("case when a then ", "1 ", "end ", n)));
            queries.push(format!("select {}", nested("f(", "1", ")", n)));
            queries.push(format!("select {}", nested("cast(", "1", " as int)", n)));
            queries.push(format!("select {}", nested("not ", "a", "", n)));
            queries.push(format!("select {} from t where {}", "(".repeat(n), "(a in (".repeat(n)));
            queries.push(format!("select cast(a as {})", nested("array<", "int", ">", n)));
        }
        for warehouse in
            [Warehouse::Snowflake, Warehouse::BigQuery, Warehouse::ClickHouse, Warehouse::SqlServer]
        {
            let setting =
                Setting { warehouse, defaults: &defaults, dataframes: &frames, dataframes_only: false };
            for sql in &queries {
                let _ = read(sql, setting);
            }
            assert_eq!(read(&queries[1], setting).unwrap().columns.len(), 2);
            assert!(read(&queries[3], setting).unwrap_err().contains("operators"));
        }
    }
}
