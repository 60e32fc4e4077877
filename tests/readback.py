"""Reads a snapshot's Parquet files and its Delta tables with engines that aren't ours, and compares what each
finds, value by value and type by type.

Reads {"snapshot": FOLDER, "delta": FOLDER, "version": N, "before": FOLDER} from standard input: the Delta tables'
latest version holds the snapshot, and version N the snapshot in "before". Writes the differences, and how many
values were compared, as JSON.
"""

import datetime
import json
import math
import os
import pathlib
import sys

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.parquet
from deltalake import DeltaTable

UTC = datetime.timezone.utc
compared = 0


def plain(value):
    """A value in one form, whichever engine it came from."""
    if value is None or value is pandas.NaT or value is pandas.NA:
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, datetime.datetime):
        assert value.tzinfo is not None, f"{value} has no time zone"
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if hasattr(value, "tolist") and not isinstance(value, (str, bytes)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def compare(what, columns, expected, found, differences):
    global compared
    if len(expected) != len(found):
        differences.append(f"{what}: {len(found)} rows, and not {len(expected)}")
        return
    for row, (a, b) in enumerate(zip(expected, found)):
        for name in columns:
            compared += 1
            if a[name] != b[name]:
                differences.append(f"{what}: row {row}, {name}: {str(a[name])[:80]!r}, {str(b[name])[:80]!r}")
                return


def rows_of(table):
    return [{name: plain(value) for name, value in row.items()} for row in table.to_pylist()]


def by_key(rows):
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def main():
    asked = json.load(sys.stdin)
    differences = []
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for path in sorted(pathlib.Path(asked["snapshot"]).glob("*.parquet")):
        name = path.stem
        arrow = pyarrow.parquet.ParquetFile(path).read()
        for field in arrow.schema:
            if pyarrow.types.is_timestamp(field.type) and str(field.type) != "timestamp[us, tz=UTC]":
                differences.append(f"{name}.{field.name} is {field.type}")
            if not (field.metadata or {}).get(b"comment"):
                differences.append(f"{name}.{field.name} has no docs")
        columns = arrow.column_names
        expected = rows_of(arrow)

        result = connection.execute(f"SELECT * FROM read_parquet('{path}', hive_partitioning = false)")
        duck = [dict(zip(columns, map(plain, row))) for row in result.fetchall()]
        compare(f"DuckDB, {name}", columns, expected, duck, differences)

        frame = polars.read_parquet(path, hive_partitioning=False)
        compare(f"polars, {name}", columns, expected, [{n: plain(v) for n, v in row.items()} for row in frame.to_dicts()], differences)

        frame = pandas.read_parquet(path, dtype_backend="pyarrow", partitioning=None)
        found = [{n: plain(v) for n, v in row.items()} for row in frame.to_dict("records")]
        compare(f"pandas, {name}", columns, expected, found, differences)

        latest = DeltaTable(f"{asked['delta']}/{name}")
        for version, folder in [(None, asked["snapshot"]), (asked["version"], asked["before"])]:
            table = latest if version is None else DeltaTable(f"{asked['delta']}/{name}", version=version)
            of_then = by_key(rows_of(pyarrow.parquet.ParquetFile(f"{folder}/{name}.parquet").read()))
            delta = pyarrow.table(table.to_pyarrow_table())
            if "snapshot_date" in delta.column_names:
                day = max(delta.column("snapshot_date").to_pylist(), default=None)
                keep = [day == of for of in delta.column("snapshot_date").to_pylist()]
                delta = delta.filter(pyarrow.array(keep, type=pyarrow.bool_())).drop_columns(["snapshot_date"])
            compare(f"deltalake, {name}, version {version}", columns, of_then, by_key(rows_of(delta)), differences)
        said = latest.history(1)[0].get("userMetadata")
        if said != pathlib.Path(asked["snapshot"]).name.removeprefix("snapshot="):
            differences.append(f"{name}: the last commit names {said}")
        found = connection.execute(f"SELECT count(*) FROM read_parquet('{asked['delta']}/{name}/**/*.parquet')").fetchone()[0]
        if found < len(expected):
            differences.append(f"DuckDB, {name}: Delta's files hold {found} rows")
    json.dump({"differences": differences[:20], "compared": compared}, sys.stdout)
    sys.stdout.flush()
    # Some of these engines' threads don't like to be ended in order.
    os._exit(0)


main()
