"""Makes the corpus of benches/sql_corpus.rs: statements of sqlglot's own tests, with the tables that sqlglot reads in them.

    pip download --no-deps --no-binary :all: --dest /tmp/corpus sqlglot
    tar -xzf /tmp/corpus/sqlglot-*.tar.gz -C /tmp/corpus
    pip install sqlglot
    python benches/sql_corpus.py /tmp/corpus/sqlglot-* > /tmp/corpus/statements.jsonl
    HEXPORT_SQL_CORPUS=/tmp/corpus/statements.jsonl cargo bench --bench sql_corpus

A line is a statement: the dialect, the SQL, and the names of the tables that it reads (null if sqlglot doesn't read it).
"""

import ast
import json
import pathlib
import sys

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# sqlglot's dialect of each test file: hexport's connection type.
DIALECTS = {
    "athena": "athena", "bigquery": "bigquery", "clickhouse": "clickhouse", "databricks": "databricks",
    "duckdb": "duckdb", "mysql": "mysql", "postgres": "postgres", "presto": "trino", "redshift": "redshift",
    "snowflake": "snowflake", "trino": "trino", "tsql": "sqlserver",
}
VERBS = ("SELECT", "WITH", "(SELECT", "FROM", "INSERT", "MERGE", "UPDATE", "DELETE", "CREATE", "COPY", "PIVOT", "UNPIVOT")


def texts(path):
    """Texts of a test file that look like statements."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.strip()
            if "FUNCTION" not in text.upper()[:40] and text.upper().startswith(tuple(verb + " " for verb in VERBS)) and "\x00" not in text:
                yield text


def reads(sql, dialect):
    """Names of the tables that a statement reads, as sqlglot has them; None if it can't be parsed."""
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree]
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError):
        return None
    found = set()
    for tree in trees:
        # What defines a table, function or index without a query reads nothing.
        if isinstance(tree, exp.Create) and (tree.kind not in ("TABLE", "VIEW") or not tree.find(exp.Select)):
            return None
        if isinstance(tree, exp.Command) or tree.find(exp.Command):
            return None
        ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        written = set()
        if isinstance(tree, (exp.Insert, exp.Create, exp.Update, exp.Delete, exp.Merge, exp.Copy)):
            target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
            written = {id(target)}
            if not isinstance(tree, (exp.Insert, exp.Create)):
                # A target that stands in its own FROM clause is still only written.
                written |= {id(t) for t in tree.find_all(exp.Table) if isinstance(target, exp.Table) and t.name == target.name}
        for table in tree.find_all(exp.Table):
            if id(table) in written or not isinstance(table.this, exp.Identifier):
                continue
            if not table.db and table.name.lower() in ctes:
                continue
            parts = [part.name for part in table.parts]
            if all(parts):
                found.add(".".join(parts).lower())
    return sorted(found)


def main():
    root = pathlib.Path(sys.argv[1])
    seen = set()
    sources = [(kind, dialect, texts(root / f"tests/dialects/test_{dialect}.py")) for dialect, kind in DIALECTS.items()]
    lines = (root / "tests/fixtures/identity.sql").read_text().splitlines()
    sources.append(("other", "", (line for line in lines if line.upper().startswith(VERBS))))
    for kind, dialect, statements in sources:
        for sql in statements:
            tables = reads(sql, dialect)
            # What sqlglot itself refuses in this dialect is mostly another dialect's text.
            # A statement that reads no table says nothing of lineage.
            if not tables or (kind, sql) in seen:
                continue
            seen.add((kind, sql))
            print(json.dumps({"connection_type": kind, "sql": sql, "reads": tables}))


main()
