"""dagster-hex, unchanged, against the simulator.

Reads {url, token, published} from standard input. Prints what it saw.

What the client itself gets wrong, seen here: `cancel_run` loops until an answer is JSON. A 204 never is, so it sends
DELETE again and ends with the 422 of a run that has ended: the run is cancelled, and the caller gets a Failure.
"""

import json
import sys

sys.path.pop(0)  # This folder: its `dagster.py` is not the package.

from dagster import Failure  # noqa: E402
from dagster_hex.resources import HexResource  # noqa: E402

asked = json.load(sys.stdin)
project = asked["published"]
resource = HexResource(api_key=asked["token"], base_url=asked["url"], request_max_retries=0)
done = resource.run_and_poll(project, {"lower": 3}, poll_interval=0.05, poll_timeout=60)
running = resource.run_project(project, use_cached_sql=False, update_published_results=True)
cancelled = None
try:
    resource.cancel_run(project, running["runId"])
except Failure as e:
    cancelled = e.description
failed = None
try:
    resource.run_and_poll(project, {"lower": -1}, poll_interval=0.05, poll_timeout=60)
except Failure as e:
    failed = e.description
refused = None
try:
    HexResource(api_key="wrong", base_url=asked["url"]).run_project(project)
except Failure as e:
    refused = e.description
print(
    json.dumps(
        {
            "projects": len(resource.get_all_projects()["values"]),
            "title": resource.get_project_details(project)["title"],
            "done": done.status_response["status"],
            "cancelled": cancelled,
            "status": resource.run_status(project, running["runId"])["status"],
            "failed": failed,
            "refused": refused,
        }
    )
)
