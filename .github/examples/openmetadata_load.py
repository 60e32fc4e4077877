"""Sends what `hexport openmetadata` wrote to OpenMetadata.

    hexport openmetadata /data/lake/hex | OPENMETADATA_TOKEN=... python openmetadata_load.py https://openmetadata.example/api

Owners and ends of lineage are looked up by name first: the API wants the identifiers that the server gave them. What
the server doesn't know is left out and counted.
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

PLACES = {"table": "tables", "dashboard": "dashboards", "chart": "charts"}


def main():
    base, known, unknown, sent = sys.argv[1].rstrip("/"), {}, set(), 0

    def call(method, path, body=None):
        request = urllib.request.Request(base + path, method=method, data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", "Bearer " + os.environ["OPENMETADATA_TOKEN"])
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def reference(to):
        name = to.get("fullyQualifiedName") or to["email"]
        if (to["type"], name) not in known:
            place, wanted = PLACES.get(to["type"], "users"), name if "email" not in to else name.split("@")[0].lower()
            try:
                found = call("GET", f"/v1/{place}/name/{urllib.parse.quote(wanted, safe='')}")
                is_it = "email" not in to or found.get("email", "").lower() == name.lower()
                known[to["type"], name] = {"id": found["id"], "type": to["type"]} if is_it else None
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                known[to["type"], name] = None
        if known[to["type"], name] is None:
            unknown.add(name)
        return known[to["type"], name]

    for line in sys.stdin:
        request = json.loads(line)
        body, resolve = request["body"], request.get("resolve", {})
        owners = [owner for owner in map(reference, resolve.pop("owners", [])) if owner]
        if owners:
            body["owners"] = owners
        ends = {place: reference(to) for place, to in resolve.items()}
        if not all(ends.values()):
            continue
        for place, end in ends.items():
            outer, inner = place.split(".")
            body[outer][inner] = end
        call(request["method"], request["path"], body)
        sent += 1
    print(json.dumps({"sent": sent, "unknown": sorted(unknown)}))


main()
