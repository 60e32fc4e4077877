"""Sends what hexport openmetadata wrote to a server that takes it as OpenMetadata's does, with the example's script: each
body must be of OpenMetadata's own model, and what it refers to must be there.

Reads {"file": FILE, "loader": SCRIPT, "tables": [NAME, ...], "people": [EMAIL, ...]} from standard input. Writes what was
sent, by path.
"""

import http.server
import importlib
import json
import os
import pathlib
import site
import subprocess
import sys
import threading
import types
import urllib.parse
import uuid

# The package's own beginning imports SQLAlchemy and much else; its models need nothing of that.
package = types.ModuleType("metadata")
package.__path__ = [str(pathlib.Path(site.getsitepackages()[0]) / "metadata")]
sys.modules["metadata"] = package

asked = json.load(sys.stdin)
sent, problems = {}, []
ids = {("tables", name): str(uuid.uuid4()) for name in asked["tables"]}
people = {email.split("@")[0].lower(): {"id": str(uuid.uuid4()), "email": email} for email in asked["people"]}
models = {}
for line in pathlib.Path(asked["file"]).read_text(encoding="utf-8").splitlines():
    request = json.loads(line)
    module, name = request["model"].rsplit(".", 1)
    models[request["path"]] = getattr(importlib.import_module(module), name)


def quoted(part):
    return '"' + part.replace('"', '""') + '"' if "." in part or '"' in part else part


class Server(http.server.BaseHTTPRequestHandler):
    def answer(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        kind, name = self.path.removeprefix("/api/v1/").split("/name/")
        name = urllib.parse.unquote(name)
        found = people.get(name) if kind == "users" else {"id": ids.get((kind, name))}
        self.answer(200, found) if found and found["id"] else self.answer(404, {})

    def do_PUT(self):
        path = self.path.removeprefix("/api")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            made = models[path].model_validate(body, strict=False)
            unknown = set(body) - set(type(made).model_fields)
            assert not unknown, unknown
            kind = path.removeprefix("/v1/")
            if kind in ("charts", "dashboards"):
                assert body["service"] in map(quoted, sent["/v1/services/dashboardServices"]), body["service"]
                for chart in body.get("charts", []):
                    assert ("charts", chart) in ids, chart
                for tag in body.get("tags", []):
                    assert tag["tagFQN"] in {f"HexCategories.{quoted(name)}" for name in sent["/v1/tags"]}, tag
                ids[kind, f"{body['service']}.{quoted(body['name'])}"] = str(uuid.uuid4())
            if kind == "lineage":
                name = [body["edge"][end]["type"] + " " + body["edge"][end]["id"] for end in ("fromEntity", "toEntity")]
                assert all(end.split()[1] in ids.values() for end in name)
            else:
                name = body["name"]
            sent.setdefault(path, []).append(name)
            if body.get("owners"):
                sent.setdefault("owners", []).append(body["owners"][0]["id"])
        except Exception as error:
            problems.append(f"{path}: {error}"[:500])
        self.answer(200, {"id": str(uuid.uuid4())})

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
done = subprocess.run(
    [sys.executable, asked["loader"], f"http://127.0.0.1:{server.server_port}/api"],
    stdin=open(asked["file"], encoding="utf-8"), capture_output=True, text=True,
    env={**os.environ, "OPENMETADATA_TOKEN": "x"},
)
if done.returncode:
    problems.append(done.stderr[-1500:])
counts = {path: len(names) for path, names in sent.items()}
loader = json.loads(done.stdout or "{}")
print(json.dumps({"problems": problems, "counts": counts, "distinct": {p: len(set(map(str, n))) for p, n in sent.items()}, "loader": loader}))
