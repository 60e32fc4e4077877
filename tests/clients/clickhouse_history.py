"""Runs the extraction of a ClickHouse query history in ClickHouse itself, over a table with the columns of
system.query_log, as https://clickhouse.com/docs/operations/system-tables/query_log documents them.

Reads {"sql": EXTRACTION, "rows": [...], "out": FILE} from standard input; the result goes to the file, as Parquet.
"""

import json
import sys
import tempfile

from chdb import session

COLUMNS = """
    hostname LowCardinality(String),
    type Enum8('QueryStart' = 1, 'QueryFinish' = 2, 'ExceptionBeforeStart' = 3, 'ExceptionWhileProcessing' = 4),
    event_date Date,
    event_time DateTime,
    event_time_microseconds DateTime64(6),
    query_start_time DateTime,
    query_start_time_microseconds DateTime64(6),
    query_duration_ms UInt64,
    read_rows UInt64,
    read_bytes UInt64,
    written_rows UInt64,
    written_bytes UInt64,
    result_rows UInt64,
    result_bytes UInt64,
    memory_usage UInt64,
    current_database LowCardinality(String),
    query String,
    formatted_query String,
    normalized_query_hash UInt64,
    query_kind LowCardinality(String),
    databases Array(LowCardinality(String)),
    tables Array(LowCardinality(String)),
    columns Array(LowCardinality(String)),
    exception_code Int32,
    exception String,
    is_initial_query UInt8,
    user LowCardinality(String),
    query_id String,
    initial_user LowCardinality(String),
    initial_query_id String,
    query_cache_usage Enum8('Unknown' = 0, 'None' = 1, 'Write' = 2, 'Read' = 3)
"""


def main():
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        clickhouse = session.Session(folder + "/data")
        clickhouse.query(f"CREATE TABLE default.query_log ({COLUMNS}) ENGINE = MergeTree ORDER BY event_time")
        with open(folder + "/rows.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in asked["rows"])
        clickhouse.query(
            f"INSERT INTO default.query_log SELECT * FROM file('{folder}/rows.jsonl', 'JSONEachRow', '{COLUMNS.strip().replace(chr(39), chr(92) + chr(39))}') "
            "SETTINGS date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1"
        )
        # Only the name of the table is another: what is in `system` is ClickHouse's own.
        sql = asked["sql"].replace("system.query_log", "default.query_log").strip().rstrip(";")
        assert "default.query_log" in sql
        clickhouse.query(f"{sql} INTO OUTFILE '{asked['out']}' FORMAT Parquet")
        version = str(clickhouse.query("SELECT version()", "TSV")).strip()
        clickhouse.close()
    print(json.dumps({"version": version}))


main()
