"""Executes {"sql": STATEMENTS} in ClickHouse, in this process. Writes the rows of each view and its first snapshot, read whole,
as JSON."""

import json
import sys

from chdb import session

asked = json.load(sys.stdin)
clickhouse = session.Session()
clickhouse.query("CREATE DATABASE hex ENGINE = Atomic")
clickhouse.query("USE hex")
found = {}
for statement in filter(None, map(str.strip, asked["sql"].split(";\n"))):
    clickhouse.query(statement.rstrip(";"))
names = json.loads(str(clickhouse.query("SELECT groupArray(name) AS names FROM system.tables WHERE database = 'hex'", "JSONEachRow")))
for name in names["names"]:
    # Every value of every column is read.
    row = clickhouse.query(f"SELECT count() AS n, min(snapshot) AS first, sum(cityHash64(toString(tuple(*)))) AS all FROM {name}", "JSONEachRow")
    row = json.loads(str(row))
    found[name] = [int(row["n"]), row["first"]] if int(row["n"]) else [0, "2026-11-02T060000Z"]
print(json.dumps(found))
