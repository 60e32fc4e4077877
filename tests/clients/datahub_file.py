"""DataHub's file source and its classes, unchanged, on what hexport datahub wrote.

Reads {file, workspace, instance, connections} from standard input. Prints what the pipeline says of the file, what
the classes read from it, and the names that DataHub's own Hex source would give.
"""

import json
import os
import pathlib
import sys
import tempfile

sys.path.pop(0)  # This folder: its `datahub.py` is not the package.

from datahub.ingestion.run.pipeline import Pipeline  # noqa: E402
from datahub.ingestion.source.file import read_metadata_file  # noqa: E402
from datahub.ingestion.source.hex.mapper import Mapper  # noqa: E402
from datahub.metadata.urns import Urn  # noqa: E402

asked = json.load(sys.stdin)
sink = os.path.join(tempfile.mkdtemp(), "out.json")
pipeline = Pipeline.create(
    {
        "source": {"type": "file", "config": {"path": asked["file"]}},
        "sink": {"type": "file", "config": {"filename": sink}},
    },
    no_progress=True,
    report_to=None,
)
pipeline.run()
report = pipeline.source.get_report()
items = list(read_metadata_file(pathlib.Path(asked["file"])))
aspects = {}
invalid = []
for item in items:
    if not item.validate():
        invalid.append(str(item.entityUrn))
    Urn.from_string(item.entityUrn)
    aspects.setdefault(item.entityUrn, {})[item.aspectName] = item.aspect.to_obj()
mapper = Mapper(workspace_name=asked["workspace"], platform_instance=asked["instance"], env="PROD")
print(
    json.dumps(
        {
            "failures": [str(failure) for failure in report.failures],
            "warnings": [str(warning) for warning in report.warnings],
            "read": report.events_produced,
            "items": len(items),
            "invalid": invalid,
            "aspects": aspects,
            "written": len(json.load(open(sink))),
            "names": {
                "workspace": mapper._workspace_urn.urn(),
                "dashboard": mapper.get_dashboard_urn("x").urn(),
                "chart": mapper.get_chart_urn("x").urn(),
                "instance": mapper._platform_instance_aspect().instance,
            },
        }
    )
)
