"""Asks DuckDB, for tests that don't trust our own reader.

Reads {"views": FILE, FILES or null, "folder": FOLDER, "sql": [QUERY, ...]} from standard input and writes the rows
of each query as JSON. With {"same": [NAME, ...]} it compares FOLDER/NAME.parquet with FOLDER/NAME.csv and
writes the differences.
"""

import datetime
import json
import os
import re
import sys

import duckdb

TIME = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")


def plain(value):
    """A value in one form, whichever file it came from. CSV can't tell an empty text from null."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str) and TIME.match(value):
        try:
            return datetime.datetime.fromisoformat(value).astimezone(datetime.timezone.utc).isoformat()
        except ValueError:
            return value
    return None if value == "" else value


def differences(connection, folder, name):
    parquet = f"read_parquet('{folder}/{name}.parquet')"
    columns = connection.sql(f"DESCRIBE SELECT * FROM {parquet}").fetchall()
    csv = f"read_csv('{folder}/{name}.csv', header = true, all_varchar = true)"
    from_parquet, from_csv, nested = [], [], []
    for column, kind, *_ in columns:
        is_nested = kind.startswith("STRUCT") or kind.endswith("[]")
        nested.append(is_nested)
        if kind == "TIMESTAMP WITH TIME ZONE":
            from_parquet.append(f'epoch_us("{column}")')
            from_csv.append(f'epoch_us(CAST("{column}" AS TIMESTAMPTZ))')
        elif is_nested:
            from_parquet.append(f'CAST(to_json("{column}") AS VARCHAR)')
            from_csv.append(f'"{column}"')
        else:
            from_parquet.append(f'"{column}"')
            from_csv.append(f'CAST("{column}" AS {kind})')
    a = connection.sql(f"SELECT {', '.join(from_parquet)} FROM {parquet}").fetchall()
    b = connection.sql(f"SELECT {', '.join(from_csv)} FROM {csv}").fetchall()

    def normal(row):
        return [plain(json.loads(v)) if deep and v is not None else plain(v) for v, deep in zip(row, nested)]

    if len(a) != len(b):
        return [f"{name}: {len(a)} rows in Parquet, {len(b)} in CSV"]
    return [f"{name}: {normal(x)} != {normal(y)}" for x, y in zip(a, b) if normal(x) != normal(y)][:3]


def main():
    asked = json.load(sys.stdin)
    os.chdir(asked["folder"])
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    if "same" in asked:
        found = [d for name in asked["same"] for d in differences(connection, asked["folder"], name)]
        json.dump(found, sys.stdout)
        return
    views = asked.get("views") or []
    for name in [views] if isinstance(views, str) else views:
        with open(name, encoding="utf-8") as text:
            connection.execute(text.read())
    results = []
    for query in asked["sql"]:
        connection.execute(query)
        results.append([list(row) for row in connection.fetchall()])
    json.dump(results, sys.stdout, default=str)


main()
