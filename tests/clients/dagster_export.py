"""Dagster, unchanged, materializes the asset of .github/examples/dagster_asset.py.

Reads {example} from standard input; HEX_LAKE, HEXPORT and the settings of hexport come by the environment. Prints
what became of it.
"""

import importlib.util
import json
import sys

sys.path.pop(0)  # This folder: its `dagster.py` is not the package.

from dagster import DagsterInstance, materialize  # noqa: E402

asked = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("example", asked["example"])
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
with DagsterInstance.ephemeral() as instance:
    result = materialize([example.hex_workspace], instance=instance, raise_on_error=False)
    said = {"success": result.success, "metadata": None, "checks": []}
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        said["metadata"] = {name: value.value for name, value in metadata.items()}
    said["checks"] = [check.passed for check in result.get_asset_check_evaluations()]
    said["schedules"] = [schedule.cron_schedule for schedule in example.defs.schedules]
print(json.dumps(said))
