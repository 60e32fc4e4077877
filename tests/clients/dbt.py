"""dbt-core with dbt-duckdb, unchanged: parses a project.

Reads {project} from standard input: a folder with dbt_project.yml and profiles.yml. Prints what the manifest says of
exposures, and any warning.
"""

import json
import os
import sys

sys.path.pop(0)  # This folder: its `dbt.py` is not the package.

from dbt.cli.main import dbtRunner  # noqa: E402

asked = json.load(sys.stdin)
warnings = []


def note(event):
    if event.info.level in ("warn", "error"):
        warnings.append(f"{event.info.name}: {event.info.msg}")


os.chdir(asked["project"])
result = dbtRunner(callbacks=[note]).invoke(
    ["--quiet", "--no-partial-parse", "parse", "--profiles-dir", ".", "--no-version-check"]
)
if not result.success:
    raise SystemExit(f"dbt refuses the project: {result.exception}")
with open("target/manifest.json") as file:
    manifest = json.load(file)
print(
    json.dumps(
        {
            "exposures": {
                exposure["label"]: {
                    "name": exposure["name"],
                    "url": exposure["url"],
                    "maturity": exposure["maturity"],
                    "description": exposure["description"],
                    "owner": exposure["owner"],
                    "nodes": sorted(exposure["depends_on"]["nodes"]),
                }
                for exposure in manifest["exposures"].values()
            },
            "relations": {
                id: node["relation_name"]
                for id, node in {**manifest["nodes"], **manifest["sources"]}.items()
                if node.get("relation_name")
            },
            "warnings": warnings,
        }
    )
)
