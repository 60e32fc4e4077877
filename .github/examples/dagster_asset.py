"""A Dagster asset that exports a Hex workspace every night.

hexport exits with 4 when it committed a snapshot that isn't complete: the asset is materialized all the same, with a
check that says so. Any other code that isn't 0 fails the run; the next one goes on where it ended.

    dagster dev -f dagster_asset.py     # with HEX_API_TOKEN and HEX_LAKE in the environment
"""

import json
import os
import subprocess

from dagster import AssetCheckResult, AssetCheckSpec, AssetSelection, Definitions, Failure, MaterializeResult
from dagster import ScheduleDefinition, asset, define_asset_job

INCOMPLETE = 4


@asset(check_specs=[AssetCheckSpec(name="complete", asset="hex_workspace")])
def hex_workspace() -> MaterializeResult:
    """The workspace as tables in the lake."""
    lake = os.environ["HEX_LAKE"]
    # Less than the time until the next run: what is left then is a matter of the next night.
    command = [os.environ.get("HEXPORT", "hexport"), "export", lake, "--output", "json", "--budget", "6h"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, INCOMPLETE):
        raise Failure(f"hexport ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    summary = json.loads(done.stdout)
    tables = {name: table["rows"] for name, table in summary["tables"].items()}
    return MaterializeResult(
        metadata={"snapshot": summary["snapshot_id"], "rows": tables},
        check_results=[AssetCheckResult(check_name="complete", passed=done.returncode == 0)],
    )


nightly = ScheduleDefinition(
    job=define_asset_job("export_hex", AssetSelection.assets(hex_workspace)), cron_schedule="0 2 * * *"
)
defs = Definitions(assets=[hex_workspace], schedules=[nightly])
