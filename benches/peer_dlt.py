"""The simulated workspace exported by dlt's rest_api source to Parquet files: run by e2e.py peers.

Usage: peer_dlt.py URL FOLDER. The last line is the rows of each table, as JSON.
"""

import json
import os
import pathlib
import sys

url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
os.environ.update(
    {
        "EXTRACT__WORKERS": "16",
        "EXTRACT__MAX_PARALLEL_ITEMS": "64",
        "NORMALIZE__WORKERS": "2",
        "LOAD__WORKERS": "4",
        "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "DLT_DATA_DIR": str(folder / "dlt-home"),
    }
)

import dlt  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402
import duckdb  # noqa: E402

CURSOR = {"type": "cursor", "cursor_path": "pagination.after", "cursor_param": "after"}


def listing(name, path, selector="values", paginator=CURSOR, parallel=True, **params):
    endpoint = {"path": path, "params": {"limit": 100, **params}, "data_selector": selector, "paginator": paginator}
    return {"name": name, "endpoint": endpoint, "parallelized": parallel}


def of_project(name, path, selector, paginator, **params):
    resource = listing(name, path, selector, paginator, **params)
    resource["include_from_parent"] = ["id"]
    return resource


def main():
    runs = {"type": "json_link", "next_url_path": "nextPage"}
    source = rest_api_source(
        {
            "client": {
                "base_url": url + "/api/v1/",
                "auth": {"type": "bearer", "token": "bench"},
            },
            "resource_defaults": {"write_disposition": "replace", "max_table_nesting": 0},
            "resources": [
                listing("projects", "projects", includeArchived="true", includeTrashed="true", includeComponents="true", includeSharing="true"),
                listing("users", "users"),
                listing("groups", "groups"),
                listing("collections", "collections"),
                listing("data_connections", "data-connections"),
                of_project("runs", "projects/{resources.projects.id}/runs", "runs", runs),
                of_project("queried_tables", "projects/{resources.projects.id}/queriedTables", "values", CURSOR),
                of_project("cells", "cells", "values", CURSOR, projectId="{resources.projects.id}"),
            ],
        }
    )
    pipeline = dlt.pipeline(
        "peer",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "lake").as_uri()),
        dataset_name="hex",
    )
    pipeline.run(source, loader_file_format="parquet")
    counts = {}
    for name in ["projects", "users", "groups", "collections", "data_connections", "runs", "queried_tables", "cells"]:
        files = f"{folder}/lake/hex/{name}/*.parquet"
        counts[name] = duckdb.sql(f"SELECT count(*) FROM read_parquet('{files}')").fetchall()[0][0]
    print(json.dumps(counts))


main()
