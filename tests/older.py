"""Makes a lake one of an older version, for tests: the columns that came later are not in its files.

Reads {"folder": FOLDER} from standard input.
"""

import hashlib
import json
import pathlib
import sys

import duckdb

# What versions before 0.1.0 didn't have, by table. The oldest wrote lineage's evidence as one text.
LATER = {
    "audit_findings": ["exception_reason", "exception_until", "status"],
    "column_lineage": ["resolved_by"],
    "lineage": ["direction", "executions", "first_executed_at", "last_executed_at", "via_component_ids"],
    "project_sharing": ["principal_id", "principal_id_from"],
    "run_daily": ["mean_queue_seconds", "p50_seconds", "p95_seconds", "run_trigger"],
    "run_health": ["last_success_at"],
    "run_stats": ["history_read_until", "late_runs", "missed_runs"],
    "runs": ["first_seen_at", "given_up", "kernel_seconds", "ordered_at", "queue_seconds"],
    "sql_cells": [
        "files",
        "renderings",
        "scanned",
        "select_star",
        "sql_fingerprint",
        "statement_kinds",
        "tables_written",
        "template_error",
    ],
    "sql_tables": ["direction", "evidence"],
    "table_usage": ["archived_projects", "published_projects", "writing_projects"],
}
EVIDENCE = {
    "parquet": "if(len(evidence) > 1, 'both', evidence[1])",
    "csv": "if(json_array_length(evidence) > 1, 'both', json_extract_string(evidence, '$[0]'))",
}
READ = {
    "parquet": "read_parquet('{}', hive_partitioning = false)",
    "csv": "read_csv('{}', header = true, all_varchar = true, hive_partitioning = false)",
}

folder = pathlib.Path(json.load(sys.stdin)["folder"])
for manifest in folder.glob("snapshot=*/manifest.json"):
    text = json.loads(manifest.read_text())
    for name, columns in LATER.items():
        declared = text["tables"].get(name, {}).get("columns", [])
        declared[:] = [
            [column, "utf8" if (name, column) == ("lineage", "evidence") else kind]
            for column, kind in declared
            if column not in columns
        ]
        for file in text["tables"].get(name, {}).get("files", []):
            path, form = manifest.parent / file["path"], file["format"]
            rest = f"replace ({EVIDENCE[form]} as evidence)" if name == "lineage" else ""
            # The oldest had a row a day, whatever began the runs.
            which = "where run_trigger = 'SCHEDULED'" if name == "run_daily" else ""
            rows = f"select * exclude ({', '.join(columns)}) {rest} from {READ[form].format(path)} {which}"
            options = "format parquet" if form == "parquet" else "format csv, header true"
            duckdb.sql(f"copy ({rows}) to '{path}.older' ({options})")
            pathlib.Path(f"{path}.older").replace(path)
            held = path.read_bytes()
            file["bytes"], file["sha256"] = len(held), hashlib.sha256(held).hexdigest()
            count = f"select count(*) from {READ[form].format(path)}"
            text["tables"][name]["rows"] = duckdb.sql(count).fetchall()[0][0]
    text["schema_version"] = 1
    for later in ["sequence", "acting_as"]:
        text.pop(later, None)
    manifest.write_text(json.dumps(text))
print("{}")
