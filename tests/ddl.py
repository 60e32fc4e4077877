"""Parses SQL in the dialects of engines. Reads {ENGINE: SQL} from standard input; writes the number of statements
that each read, as JSON."""

import json
import sys

import sqlglot

found = {}
for engine, sql in json.load(sys.stdin).items():
    statements = [s for s in sqlglot.parse(sql, dialect=engine, error_level=sqlglot.ErrorLevel.RAISE) if s is not None]
    # What it takes for an opaque command was not read, but for CALL, which has no grammar there.
    commands = [s for s in statements if isinstance(s, sqlglot.exp.Command) and s.name.upper() != "CALL"]
    assert not commands, commands[0].sql()
    found[engine] = len(statements)
json.dump(found, sys.stdout)
