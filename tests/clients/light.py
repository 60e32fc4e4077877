"""hex-toolkit, hex-api and the hook of airflow-provider-hex, unchanged, against the simulator.

Reads {url, token, published, unpublished, semantic} from standard input. Prints what each client saw.

What the clients themselves get wrong, seen here:
- airflow-provider-hex imports `airflow.hooks.base` and `airflow.exceptions`, which Airflow 3 has moved: BaseHook and
  AirflowException are stood in for. Its operator needs Airflow itself and is not run.
- hex-toolkit and hex-api send a semantic model's ingestion as JSON without a file, which the description allows
  and Hex's own documentation doesn't.
- hex-toolkit reads `Retry-After` with int(): a fraction would end it.
"""

import json
import logging
import sys
import types


def hex_toolkit(asked):
    import hex_toolkit
    from hex_toolkit.exceptions import HexAuthenticationError, HexNotFoundError, HexValidationError

    client = hex_toolkit.HexClient(api_key=asked["token"], base_url=f"{asked['url']}/api")
    seen, after = [], None
    while True:
        page = client.projects.list(
            include_archived=True, include_components=True, include_trashed=True, limit=5, after=after
        )
        seen += [str(project.id) for project in page.values]
        after = page.pagination.after
        if not after:
            break
    project = client.projects.get(asked["published"], include_sharing=True)
    started = client.projects.run(asked["published"], input_params={"lower": 3})
    status = client.runs.get_status(asked["published"], started.run_id)
    client.runs.cancel(asked["published"], started.run_id)
    killed = client.runs.get_status(asked["published"], started.run_id)
    runs = client.runs.list(asked["published"], limit=2, offset=1)
    url = client.embedding.create_presigned_url(asked["published"], expires_in=15000)
    synced = client.semantic_models.ingest(asked["semantic"], dry_run=True)
    refused = {}
    for name, call, error in [
        ("unknown", lambda: client.projects.get("00000000-0000-4000-8000-000000000000"), HexNotFoundError),
        ("unpublished", lambda: client.projects.run(asked["unpublished"]), HexValidationError),
        (
            "inputs",
            lambda: client.projects.run(asked["published"], input_params={"lower": 3}, update_published_results=True),
            HexValidationError,
        ),
        (
            "token",
            lambda: hex_toolkit.HexClient(api_key="wrong", base_url=f"{asked['url']}/api").projects.list(),
            HexAuthenticationError,
        ),
    ]:
        try:
            call()
        except error as e:
            refused[name] = str(e)
    return {
        "projects": seen,
        "title": project.title,
        "status": str(status.status),
        "killed": str(killed.status),
        "runs": len(runs.runs),
        "url": url.url,
        "contents": synced.contents if hasattr(synced, "contents") else synced.trace_id,
        "refused": refused,
    }


def hex_api(asked):
    import hex_api

    client = hex_api.HexClient(api_key=asked["token"], base_url=f"{asked['url']}/api")
    page = client.projects.list(limit=100, include_archived=True, include_components=True, include_trashed=True)
    started = client.projects.run(asked["published"], dry_run=True)
    real = client.projects.run(asked["published"], use_cached_sql_results=False)
    cancelled = client.runs.cancel(asked["published"], real["runId"])
    status = client.runs.get_status(asked["published"], real["runId"])
    refused = None
    try:
        client.runs.get_status(asked["published"], started["runId"])
    except hex_api.HexNotFoundError as e:
        refused = str(e)
    return {
        "projects": [project["id"] for project in page["values"]],
        "dry": started["runId"] != real["runId"],
        "cancelled": cancelled,
        "status": status["status"],
        "refused": refused,
        "runs": len(client.runs.list(asked["published"], limit=3)["runs"]),
        "ingested": client.semantic_models.ingest(asked["semantic"])["contents"],
    }


def airflow(asked):
    class Connection:
        host, password = asked["url"], asked["token"]

    class BaseHook:
        log = logging.getLogger("airflow")

        def get_connection(self, _):
            return Connection

    class AirflowException(Exception):
        pass

    for name, members in [
        ("airflow", {}),
        ("airflow.exceptions", {"AirflowException": AirflowException}),
        ("airflow.hooks", {}),
        ("airflow.hooks.base", {"BaseHook": BaseHook}),
    ]:
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    from airflow_provider_hex.hooks.hex import HexHook

    hook = HexHook("hex")
    done = hook.run_and_poll(asked["published"], {"lower": 3}, poll_interval=0.05, poll_timeout=60)
    running = hook.run_project(asked["published"], update_cache=True)
    cancelled = hook.cancel_run(asked["published"], running["runId"])
    failed = None
    try:
        hook.run_and_poll(asked["published"], {"lower": -1}, poll_interval=0.05, poll_timeout=60)
    except AirflowException as e:
        failed = str(e)
    return {
        "done": done["status"],
        "cancelled": cancelled == running["runId"],
        "status": hook.run_status(asked["published"], running["runId"])["status"],
        "failed": failed,
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps({f.__name__: f(asked) for f in (hex_toolkit, hex_api, airflow)}))
