//! Reads queries: CTEs, selects, set operations, joins.

use std::rc::Rc;

use sqlparser::ast::{
    Cte, GroupByExpr, JoinConstraint, JoinOperator, ObjectName, PipeOperator, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableWithJoins,
};

use super::Resolution;
use super::scope::{Columns, Scope, Source, folded, lower};
use super::walk::Walk;
use super::words;

impl Walk<'_> {
    /// Reads a query. The columns of its result that are whole tables' (`*`) are not read by that alone.
    pub(super) fn query(&mut self, query: &Query) -> Rc<Columns> {
        let visible = self.ctes.len();
        if let Some(with) = &query.with {
            if with.recursive {
                for cte in &with.cte_tables {
                    let source = Source::derived(anchor(cte));
                    self.ctes.push((lower(&cte.alias.name), source));
                }
            }
            for (i, cte) in with.cte_tables.iter().enumerate() {
                let source = self.cte(cte);
                match with.recursive {
                    true => self.ctes[visible + i].1 = source,
                    false => self.ctes.push((lower(&cte.alias.name), source)),
                }
            }
        }
        let (mut columns, scope) = self.set_expr(&query.body, None);
        self.scopes.push(scope);
        self.expressions(&query.order_by);
        self.expressions(&query.limit_clause);
        for operator in &query.pipe_operators {
            if let Some(changed) = self.pipe(operator) {
                columns = changed;
            }
        }
        self.scopes.pop();
        self.ctes.truncate(visible);
        columns
    }

    fn cte(&mut self, cte: &Cte) -> Source {
        let visible = self.ctes.len();
        let itself = words::recurses_without_the_word(self.setting.warehouse)
            .then(|| (lower(&cte.alias.name), Source::derived(anchor(cte))));
        let columns = match (&itself, &cte.query.with, &*cte.query.body) {
            // Only what follows the anchor can mean the CTE itself.
            (Some(_), None, SetExpr::SetOperation { .. }) => {
                let (columns, scope) = self.set_expr(&cte.query.body, itself);
                self.scopes.push(scope);
                self.expressions(&cte.query.order_by);
                self.scopes.pop();
                columns
            }
            _ => self.query(&cte.query),
        };
        self.ctes.truncate(visible);
        self.with_columns(Source::Derived(columns), &cte.alias)
    }

    /// Reads a query's body: its columns, and the names that its ORDER BY knows.
    fn set_expr(&mut self, body: &SetExpr, itself: Option<(String, Source)>) -> (Rc<Columns>, Scope) {
        // A chain of unions is as deep as it is long.
        let mut rest = Vec::new();
        let mut first = body;
        while let SetExpr::SetOperation { left, right, .. } = first {
            rest.push(&**right);
            first = left;
        }
        let (columns, scope) = self.branch(first);
        if rest.is_empty() {
            return (columns, scope);
        }
        let is_recursive = itself.is_some();
        self.ctes.extend(itself);
        let mut all = Columns::clone(&columns);
        let mut names = scope.aliases;
        names.extend(all.named.iter().cloned());
        for branch in rest.into_iter().rev() {
            let (columns, _) = match branch {
                SetExpr::SetOperation { .. } => self.set_expr(branch, None),
                other => self.branch(other),
            };
            // Names are those of the first branch; whole tables may be in any.
            all.tables.extend(columns.tables.iter().cloned());
            all.open |= columns.open;
        }
        if is_recursive {
            self.ctes.pop();
        }
        // ORDER BY of a union knows the columns of its result alone.
        (Rc::new(all), Scope { aliases: names, ..Scope::default() })
    }

    fn branch(&mut self, body: &SetExpr) -> (Rc<Columns>, Scope) {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => {
                let columns = self.query(query);
                let aliases = columns.named.clone();
                (columns, Scope { aliases, ..Scope::default() })
            }
            SetExpr::Table(table) => {
                let names = table.schema_name.iter().chain(&table.table_name).cloned().collect::<Vec<_>>();
                let mut columns = Columns::default();
                if let Some((_, source)) = self.relation(&ObjectName::from(names), &[]) {
                    columns.add(&source, &mut self.budget);
                }
                (Rc::new(columns), Scope::default())
            }
            SetExpr::Insert(s) | SetExpr::Update(s) | SetExpr::Delete(s) | SetExpr::Merge(s) => {
                self.statement(s);
                (Rc::new(Columns::unknown()), Scope::default())
            }
            SetExpr::Values(values) => {
                self.expressions(values);
                (Rc::new(Columns::unknown()), Scope::default())
            }
            SetExpr::SetOperation { .. } => self.set_expr(body, None),
        }
    }

    fn select(&mut self, select: &Select) -> (Rc<Columns>, Scope) {
        let mut scope = Scope::default();
        let mut follows_arrays = false;
        for table in &select.from {
            // `ARRAY JOIN a, b`: what looks like another table is another array.
            match follows_arrays && table.joins.is_empty() {
                true => self.array_join(&table.relation, &mut scope),
                false => self.from(table, &mut scope),
            }
            follows_arrays |= table.joins.last().is_some_and(|join| joins_arrays(&join.join_operator));
        }
        self.scopes.push(scope);
        for view in &select.lateral_views {
            self.expressions(&view.lateral_view);
            let columns = Columns::of(view.lateral_col_alias.iter().map(lower));
            let name = view.lateral_view_name.0.last().and_then(|part| part.as_ident()).map(lower);
            self.scope().sources.push((name.unwrap_or_default(), Source::derived(columns)));
        }
        select.from.iter().for_each(|table| self.joins(table));
        let columns = self.projection(select);
        let aliases = self.scope().aliases.clone();
        if !words::has_aliases_in_where(self.setting.warehouse) {
            self.scope().aliases.clear();
        }
        self.expressions(&select.prewhere);
        self.expressions(&select.selection);
        self.expressions(&select.connect_by);
        self.scope().aliases = aliases;
        if let GroupByExpr::Expressions(..) = &select.group_by {
            self.expressions(&select.group_by);
        }
        self.expressions(&select.having);
        self.expressions(&select.qualify);
        self.expressions(&select.named_window);
        self.expressions(&select.sort_by);
        self.expressions(&select.cluster_by);
        self.expressions(&select.distribute_by);
        let scope = self.scopes.pop().unwrap_or_default();
        if let Some(into) = &select.into {
            self.select_into(into, &columns);
        }
        (columns, scope)
    }

    fn select_into(&mut self, into: &sqlparser::ast::SelectInto, columns: &Rc<Columns>) {
        for target in &into.targets {
            let idents = match target {
                sqlparser::ast::Expr::Identifier(ident) => vec![ident.clone()],
                sqlparser::ast::Expr::CompoundIdentifier(idents) => idents.clone(),
                _ => continue,
            };
            let name = ObjectName::from(idents);
            for table in &columns.tables {
                self.column(table.clone(), super::ALL_COLUMNS.into(), Resolution::Qualified);
            }
            match into.temporary || super::walk::is_session_name(&name) {
                true => self.create_temporary(&name, columns.clone()),
                false => self.written(&name),
            }
        }
    }

    /// The names of the select that is being read.
    pub(super) fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        self.scopes.last_mut().expect("one was pushed")
    }

    /// Reads a select list: the columns of the result.
    fn projection(&mut self, select: &Select) -> Rc<Columns> {
        // `SELECT * FROM one`: the same columns.
        if let [SelectItem::Wildcard(options)] = &*select.projection
            && let [(_, Source::Derived(columns))] = &*self.scope().sources
        {
            let columns = columns.clone();
            self.expressions(options);
            return columns;
        }
        if select.projection.is_empty() {
            // `FROM t`
            let mut columns = Columns::default();
            self.add_all(None, &mut columns);
            return Rc::new(columns);
        }
        self.items(&select.projection)
    }

    /// Reads the items of a select list, each of which may know the aliases of those before it.
    fn items(&mut self, items: &[SelectItem]) -> Rc<Columns> {
        let mut columns = Columns::default();
        let (mut aliases, lateral) = (Vec::new(), words::has_lateral_aliases(self.setting.warehouse));
        for item in items {
            match item {
                SelectItem::Wildcard(_) => self.add_all(None, &mut columns),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let qualifier = name.0.last().and_then(|part| part.as_ident()).map(lower);
                    self.add_all(Some(qualifier.unwrap_or_default()), &mut columns);
                }
                SelectItem::UnnamedExpr(expr) => columns.named.extend(name_of(expr)),
                _ => {}
            }
            self.expressions(item);
            let new: Vec<String> = match item {
                SelectItem::ExprWithAlias { alias, .. } => vec![lower(alias)],
                SelectItem::ExprWithAliases { aliases, .. } => aliases.iter().map(lower).collect(),
                _ => continue,
            };
            columns.named.extend(new.iter().cloned());
            if lateral {
                self.scope().aliases.extend(new.iter().cloned());
            }
            aliases.extend(new);
        }
        self.scope().aliases.extend(aliases);
        Rc::new(columns)
    }

    /// Adds the columns of all sources, or of the one with this alias.
    fn add_all(&mut self, qualifier: Option<String>, to: &mut Columns) {
        let mut budget = self.budget;
        let scopes = match &qualifier {
            None => self.scopes.last().into_iter().collect::<Vec<_>>(),
            Some(_) => self.scopes.iter().rev().collect(),
        };
        for scope in scopes {
            let mut found = false;
            for (alias, source) in &scope.sources {
                if qualifier.as_ref().is_none_or(|q| q == alias) {
                    to.add(source, &mut budget);
                    found = true;
                }
            }
            if found {
                break;
            }
        }
        self.budget = budget;
    }

    /// Takes note of the tables of a FROM item, and of what its names stand for.
    pub(super) fn from(&mut self, from: &TableWithJoins, scope: &mut Scope) {
        self.factor(&from.relation, scope);
        for join in &from.joins {
            let before = scope.sources.len();
            match &join.join_operator {
                operator if joins_arrays(operator) => self.array_join(&join.relation, scope),
                operator => {
                    self.is_applied = matches!(operator, JoinOperator::CrossApply | JoinOperator::OuterApply);
                    self.factor(&join.relation, scope);
                    self.is_applied = false;
                }
            }
            if let Some(JoinConstraint::Using(columns) | JoinConstraint::UsingAlias(columns, _)) =
                constraint(&join.join_operator)
            {
                self.using(columns, before, scope);
            }
        }
    }

    /// Columns that a join is USING are of both sides, where a side is one table.
    fn using(&mut self, columns: &[ObjectName], before: usize, scope: &mut Scope) {
        for column in columns.iter().filter_map(|name| name.0.last()).filter_map(|part| part.as_ident()) {
            let (left, right) = scope.sources.split_at(before);
            let known = scope.using.contains(&lower(column));
            let sides = if known { [&[] as &[_], right] } else { [left, right] };
            for side in sides {
                if let [(_, Source::Table(table))] = side {
                    let name = folded(column, self.setting.warehouse);
                    self.column(table.clone(), name, Resolution::Qualified);
                }
            }
            scope.using.insert(lower(column));
        }
    }

    /// Reads what the joins of a FROM item are on; all of the item's names are known by then.
    pub(super) fn joins(&mut self, from: &TableWithJoins) {
        self.factor_expressions(&from.relation);
        for join in &from.joins {
            self.factor_expressions(&join.relation);
            if let JoinOperator::AsOf { match_condition, .. } = &join.join_operator {
                self.expressions(match_condition);
            }
            if let Some(JoinConstraint::On(on)) = constraint(&join.join_operator) {
                self.expressions(on);
            }
        }
    }

    /// Reads an operator of BigQuery's pipe syntax. The columns of the result, if it changes them.
    fn pipe(&mut self, operator: &PipeOperator) -> Option<Rc<Columns>> {
        match operator {
            PipeOperator::Join(join) => {
                let table = TableWithJoins { relation: join.relation.clone(), joins: Vec::new() };
                let mut scope = std::mem::take(self.scope());
                self.from(&table, &mut scope);
                *self.scope() = scope;
                self.joins(&table);
                if let Some(JoinConstraint::On(on)) = constraint(&join.join_operator) {
                    self.expressions(on);
                }
                let mut columns = Columns::default();
                self.add_all(None, &mut columns);
                Some(Rc::new(columns))
            }
            PipeOperator::Select { exprs } => Some(self.items(exprs)),
            PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
                self.expressions(full_table_exprs);
                self.expressions(group_by_expr);
                let all = full_table_exprs.iter().chain(group_by_expr);
                let names: Vec<String> = all
                    .filter_map(|e| e.expr.alias.as_ref().map(lower).or_else(|| name_of(&e.expr.expr)))
                    .collect();
                self.scope().aliases.extend(names.iter().cloned());
                Some(Rc::new(Columns::of(names)))
            }
            PipeOperator::Extend { exprs } => {
                self.items(exprs);
                None
            }
            PipeOperator::As { alias } => {
                let mut columns = Columns::default();
                self.add_all(None, &mut columns);
                let sources = match &*self.scope().sources {
                    [(_, one)] => vec![(lower(alias), one.clone())],
                    _ => vec![(lower(alias), Source::derived(columns))],
                };
                self.scope().sources = sources;
                None
            }
            other => {
                self.expressions(other);
                None
            }
        }
    }
}

fn joins_arrays(operator: &JoinOperator) -> bool {
    matches!(operator, JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin)
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(on) | J::Inner(on) | J::Left(on) | J::LeftOuter(on) | J::Right(on) | J::RightOuter(on) => {
            Some(on)
        }
        J::FullOuter(on) | J::CrossJoin(on) | J::Semi(on) | J::LeftSemi(on) | J::RightSemi(on) => Some(on),
        J::Anti(on) | J::LeftAnti(on) | J::RightAnti(on) | J::StraightJoin(on) => Some(on),
        J::AsOf { constraint, .. } => Some(constraint),
        _ => None,
    }
}

/// The name of a result's column that has no alias.
fn name_of(expr: &sqlparser::ast::Expr) -> Option<String> {
    match expr {
        sqlparser::ast::Expr::Identifier(ident) => Some(lower(ident)),
        sqlparser::ast::Expr::CompoundIdentifier(idents) => idents.last().map(lower),
        // Warehouses make names of their own for these, which nobody refers to.
        _ => None,
    }
}

/// Columns under the names that an alias gives them: what they stand for is read where they are defined.
pub(super) fn renamed(alias: &TableAlias) -> Source {
    Source::derived(Columns::of(alias.columns.iter().map(|column| lower(&column.name))))
}

/// The columns that a recursive CTE has by its first branch.
fn anchor(cte: &Cte) -> Columns {
    if !cte.alias.columns.is_empty() {
        return Columns::of(cte.alias.columns.iter().map(|column| lower(&column.name)));
    }
    let mut body = &*cte.query.body;
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(inner) => body = &inner.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return Columns::unknown(),
        }
    };
    let mut columns = Columns::default();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => columns.named.extend(name_of(expr)),
            SelectItem::ExprWithAlias { alias, .. } => drop(columns.named.insert(lower(alias))),
            _ => columns.open = true,
        }
    }
    columns
}
