"""DataHub's source for Hex, unchanged, as a whole pipeline against the simulator.

What the client itself gets wrong, seen here: it reads one page of data connections and of queried tables only (25 of
each by default), and names a component once for each cell that imports it.

Reads {url, token, file} from standard input. Prints the pipeline's findings and what it wrote: projects and
components with their table lineage and the components that they import.
"""

import json
import sys

sys.path.pop(0)  # This folder: its `datahub.py` is not the package.

from datahub.ingestion.run.pipeline import Pipeline  # noqa: E402

asked = json.load(sys.stdin)
pipeline = Pipeline.create(
    {
        "source": {
            "type": "hex",
            "config": {
                "workspace_name": "acme",
                "token": asked["token"],
                "base_url": f"{asked['url']}/api/v1",
                "page_size": 100,
            },
        },
        "sink": {"type": "file", "config": {"filename": asked["file"]}},
    },
    no_progress=True,
    report_to=None,
)
pipeline.run()
report = pipeline.source.get_report()
with open(asked["file"]) as file:
    written = json.load(file)
dashboards = {}
for item in written:
    aspect = item.get("aspect", {}).get("json")
    # Patches (of the time of the last run) are lists.
    if item.get("aspectName") == "dashboardInfo" and isinstance(aspect, dict):
        dashboards[item["entityUrn"]] = {
            "charts": aspect.get("charts", []) + [edge["destinationUrn"] for edge in aspect.get("chartEdges") or []],
            "datasets": [edge["destinationUrn"] for edge in aspect.get("datasetEdges") or []],
        }
print(
    json.dumps(
        {
            "failures": [str(failure) for failure in report.failures],
            "warnings": [str(warning) for warning in report.warnings],
            "written": len(written),
            "dashboards": dashboards,
            "charts": sorted({i["entityUrn"] for i in written if i.get("aspectName") == "chartInfo"}),
        }
    )
)
