"""Reads SQL as sqlglot does. Reads [{"sql": TEXT, "dialect": DIALECT}] from standard input; writes for each the sorted kinds of
its statements, whether it reads all columns of a table (not of a query within it), and its shape: the SQL as sqlglot writes
it, without comments, and with a placeholder for each literal and list of literals."""

import json
import sys

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope


def kind(statement):
    match statement:
        case exp.Query():
            return "SELECT"
        case exp.Create():
            return f"CREATE {statement.args['kind']}"
        case exp.Drop():
            return "DROP"
        case _:
            return type(statement).__name__.upper()


def has_star(query):
    columns = query.selects if isinstance(query, exp.Select) else []
    return any(column.is_star for column in columns)


def reads_all(statement):
    queries = [statement] if isinstance(statement, exp.Query) else list(statement.find_all(exp.Query))[:1]
    for scope in (scope for query in queries for scope in traverse_scope(query)):
        # Whether there are rows is all that EXISTS asks.
        if isinstance(scope.expression.parent, exp.Exists):
            continue
        # Of a query within another one only what the other takes is read.
        if (scope.is_cte or scope.is_derived_table) and not has_star(scope.parent.expression):
            continue
        for column in scope.expression.selects if isinstance(scope.expression, exp.Select) else []:
            named = column.table if isinstance(column, exp.Column) and isinstance(column.this, exp.Star) else None
            if named is None and not isinstance(column, exp.Star):
                continue
            sources = [scope.sources.get(named)] if named else scope.sources.values()
            if any(isinstance(source, exp.Table) for source in sources):
                return True
    return False


def shape(statement, dialect):
    placeholder = exp.Placeholder()
    for inside in list(statement.find_all(exp.In)):
        if inside.expressions and all(isinstance(value, exp.Literal) for value in inside.expressions):
            inside.set("expressions", [placeholder.copy()])
    plain = statement.transform(lambda node: placeholder.copy() if isinstance(node, exp.Literal) else node)
    return plain.sql(dialect=dialect, comments=False)


told = []
for asked in json.load(sys.stdin):
    dialect = asked["dialect"]
    read = [s for s in sqlglot.parse(asked["sql"], dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE) if s is not None]
    assert not any(isinstance(s, exp.Command) for s in read), asked
    told.append(
        {
            "kinds": sorted({kind(s) for s in read}),
            "select_star": any(reads_all(s) for s in read),
            "shape": "; ".join(shape(s, dialect) for s in read),
        }
    )
json.dump(told, sys.stdout)
