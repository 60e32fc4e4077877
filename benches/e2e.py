#!/usr/bin/env python3
"""Whole exports against the simulator in a process of its own: wall and CPU time, peak memory, requests, bytes.

    cargo build --profile bench --bin hexport
    benches/e2e.py ceiling     request rate against a bare load tool (wrk) on the same URLs
    benches/e2e.py peers       the same workspace exported by dlt's rest_api source (into .venv-bench, from PyPI)
    benches/e2e.py scale       three sizes, the exponent of time in rows, and a second night
    benches/e2e.py store       a million runs to S3 (moto, from .venv): peak memory
    benches/e2e.py parquet     files against those that DuckDB writes of the same rows: size and scan time
    benches/e2e.py history     a query history of 10 million rows imported (made by DuckDB, from .venv): time and peak memory
    benches/e2e.py spark       who reads a table, over a history of 50 million rows of lineage: Spark and DuckDB
    benches/e2e.py report      the report of 5,000 projects in Chromium: size, first paint, when everything is there
    benches/e2e.py startup     --help, and the size of the release binary, if it is built
    benches/e2e.py build       a build from nothing, by the profiles dev and release: time, CPU, size of the binary

Nothing is asserted. Machines are noisy: compare ratios within one run.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEXPORT = os.environ.get("HEXPORT", str(ROOT / "target/release/hexport"))
TOKEN = "bench"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A process that listens, ended with the block."""

    def __init__(self, command, port):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        for _ in range(1200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit(f"{command[0]} does not answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def simulate(projects, *more):
    port = free_port()
    return Server([HEXPORT, "simulate", "--quiet", "--port", str(port), "--projects", str(projects), *more], port)


def measure(command, **env):
    """Runs to the end: wall and CPU seconds, peak resident memory in MB, and what it wrote."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env={**os.environ, **env})
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        out.seek(0)
        text = out.read().decode()
    if process.returncode != 0:
        raise SystemExit(f"{command}: {process.returncode}\n{said.decode()[-3000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024, "out": text}


def export(server, dest, *more, **env):
    env = {"HEX_API_URL": server.url, "HEX_API_TOKEN": TOKEN, "HEXPORT_RATE": "unlimited", **env}
    command = [HEXPORT, "export", str(dest), "--quiet", "--output", "json", *more]
    run = measure(command, **env)
    run["summary"] = json.loads(run.pop("out"))
    return run


def rows(run):
    return sum(table["rows"] for table in run["summary"]["tables"].values())


def size(run):
    return sum(table["bytes"] for table in run["summary"]["tables"].values())


def line(name, run):
    requests = run["summary"]["requests_sent"]
    crawl = run["summary"]["crawl_seconds"]
    print(
        f"{name}: {run['wall']:.1f} s wall, {run['cpu']:.1f} s CPU, {run['rss']:.0f} MB peak; {requests:,} requests in "
        f"{crawl:.1f} s ({requests / max(crawl, 1e-9):,.0f}/s), {rows(run):,} rows, {size(run) / 1e6:.1f} MB",
        flush=True,
    )


def get(server, path):
    request = urllib.request.Request(server.url + "/api/v1" + path, headers={"Authorization": f"Bearer {TOKEN}"})
    return json.load(urllib.request.urlopen(request))


def pages(server, path, name="values", limit=100):
    after = ""
    while True:
        answer = get(server, f"{path}?limit={limit}{after}")
        yield from answer[name]
        cursor = answer["pagination"]["after"]
        if cursor is None:
            return
        after = f"&after={cursor}"


def ceiling(args):
    if not shutil.which("wrk"):
        raise SystemExit("needs wrk: apt-get install wrk")
    with simulate(args.projects) as server, tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        # Once, so that the simulator has generated what it will serve.
        export(server, folder / "warm")
        published = [p["id"] for p in pages(server, "/projects") if p["lastPublishedAt"]]
        urls = [f"/api/v1/projects/{i}/runs?limit=100" for i in published]
        urls += [f"/api/v1/projects/{i}/queriedTables?limit=100" for i in published]
        urls += [f"/api/v1/cells?projectId={i}&limit=100" for i in published]
        script = folder / "urls.lua"
        script.write_text(
            f'wrk.headers["Authorization"] = "Bearer {TOKEN}"\nlocal urls = {{{",".join(json.dumps(u) for u in urls)}}}\n'
            "local i = 0\nfunction request()\n  i = i % #urls + 1\n  return wrk.format('GET', urls[i])\nend\n"
        )
        for connections in (8, 16, 32, 64):
            said = subprocess.run(
                ["wrk", "-t1", f"-c{connections}", "-d5s", "-s", str(script), server.url], capture_output=True, text=True
            ).stdout
            bare = float(next(l.split()[1] for l in said.splitlines() if l.startswith("Requests/sec")))
            before = server.cpu()
            run = export(server, folder / f"lake{connections}", "--concurrency", str(connections))
            rate = run["summary"]["requests_sent"] / run["summary"]["crawl_seconds"]
            print(
                f"{connections} connections: {rate:,.0f} requests/s of {bare:,.0f}: {rate / bare:.2f} of the ceiling "
                f"(crawl {run['summary']['crawl_seconds']:.2f} s; hexport {run['cpu']:.1f} s CPU, simulator {server.cpu() - before:.1f} s)",
                flush=True,
            )


def peers(args):
    venv = ROOT / ".venv-bench"
    python = venv / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "dlt[parquet,filesystem]==1.31.0", "duckdb==2.0.1"], check=True)
    with simulate(args.projects) as server, tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        export(server, folder / "warm")
        line("hexport, with everything that it derives", export(server, folder / "all", "--concurrency", "16"))
        tables = "projects,users,groups,collections,data_connections,runs,queried_tables,cells"
        ours = export(server, folder / "ours", "--concurrency", "16", "--tables", tables)
        line("hexport, the tables that dlt writes", ours)
        theirs = measure([str(python), str(ROOT / "benches/peer_dlt.py"), server.url, str(folder / "dlt")])
        counts = json.loads(theirs["out"].splitlines()[-1])
        print(f"dlt: {theirs['wall']:.1f} s wall, {theirs['cpu']:.1f} s CPU, {theirs['rss']:.0f} MB peak")
        print(f"hexport takes {theirs['wall'] / ours['wall']:.1f} times less wall time, {theirs['cpu'] / ours['cpu']:.1f} times less CPU")
        tables = ours["summary"]["tables"]
        for name, count in sorted(counts.items()):
            found = tables[name]["rows"]
            print(f"  {name}: {found:,} rows, {'the same' if found == count else f'dlt has {count:,}'}")


def scale(args):
    sizes = [args.projects // 4, args.projects // 2, args.projects]
    more = ["--runs-per-project", str(args.runs), "--cells-per-project", str(args.cells)]
    points = []
    for projects in sizes:
        with simulate(projects, *more) as server, tempfile.TemporaryDirectory() as folder:
            first = export(server, folder, "--concurrency", "16")
            line(f"{projects:,} projects", first)
            points.append((rows(first), first["wall"]))
            if projects == sizes[-1]:
                second = export(server, folder, "--concurrency", "16")
                line("  second night, nothing changed", second)
                ratio = second["summary"]["requests_sent"] / first["summary"]["requests_sent"]
                print(f"  {ratio:.2f} of the requests")
    (a, s), (b, t) = points[0], points[-1]
    print(f"time grows with rows to the power of {math.log(t / s) / math.log(b / a):.2f}")


def store(args):
    moto = ROOT / ".venv/bin/moto_server"
    if not moto.exists():
        raise SystemExit("needs moto: tests/run installs it")
    # A million runs: some two thirds of the projects are published.
    with simulate(args.projects, "--runs-per-project", str(args.runs)) as server, tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with Server([str(moto), "-H", "127.0.0.1", "-p", str(port)], port) as s3:
            urllib.request.urlopen(urllib.request.Request(s3.url + "/lake", method="PUT"))
            options = ["--option", f"aws_endpoint={s3.url}", "--option", "aws_allow_http=true", "--tables", "runs,projects,users"]
            run = export(
                server, "s3://lake/hex", *options,
                AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_REGION="us-east-1", HEXPORT_STATE_DIR=folder,
            )
            line("to S3", run)
            print(f"  {run['summary']['tables']['runs']['rows']:,} runs")


def parquet(args):
    script = """
import duckdb, json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
con = duckdb.connect()
for path in sorted(folder.glob("*.parquet"), key=lambda p: -p.stat().st_size)[:6]:
    other = folder / (path.stem + ".duckdb")
    con.execute(f"COPY (SELECT * FROM read_parquet('{path}', hive_partitioning=false)) TO '{other}' (FORMAT parquet, COMPRESSION zstd)")
    times = []
    for file in (path, other):
        best = 9e9
        for _ in range(5):
            begun = time.perf_counter()
            con.execute(f"SELECT count(*), max(hash(t)) FROM read_parquet('{file}', hive_partitioning=false) t").fetchall()
            best = min(best, time.perf_counter() - begun)
        times.append(best)
    a, b = path.stat().st_size, other.stat().st_size
    print(f"{path.stem}: {a:,} bytes, {a / b:.2f} of DuckDB's; scanned in {times[0] * 1e3:.1f} ms, {times[0] / times[1]:.2f} of DuckDB's")
"""
    with simulate(args.projects) as server, tempfile.TemporaryDirectory() as folder:
        run = export(server, folder)
        snapshot = next(pathlib.Path(folder).glob("snapshot=*"))
        line("exported", run)
        subprocess.run([str(ROOT / ".venv/bin/python"), "-c", script, str(snapshot)], check=True)


def history(args):
    # Four queries of five are Hex's; 300 shapes, a cell and a trace for each few, over 30 days.
    script = """
import duckdb, sys
lake, file, rows, org = sys.argv[1:]
duckdb.execute(f'''
COPY (
    WITH p AS (SELECT row_number() OVER () - 1 AS n, project_id FROM read_parquet('{lake}/snapshot=*/projects.parquet', hive_partitioning = false)),
    q AS (SELECT range AS i, hash(range) AS h FROM range({rows}))
    SELECT
        md5(i::VARCHAR) AS query_id,
        'SELECT a, b, count(*) FROM db.core.t' || (h % 300) || ' AS t JOIN db.core.users USING (id) WHERE x > ' || i || repeat(' AND a <> 1', 20)
            || CASE WHEN i % 5 = 0 THEN '' ELSE chr(10) || '-- Hex query metadata: {{"categories": [], "cell_type": "SQL", "connection": "Warehouse 1", "context": "'
            || CASE WHEN h % 3 = 0 THEN 'LOGIC' ELSE 'SCHEDULED_RUN' END || '", "project_id": "' || project_id || '", "project_url": "https://app.hex.tech/' || '{org}' || '/hex/'
            || project_id || '/draft/logic?selectedCellId=cell-' || (h % 12) || '", "trace_id": "' || md5((i // 8)::VARCHAR) || '", "user_email": "u' || (h % 200) || '@acme.example"}}' END AS query_text,
        TIMESTAMP '2026-10-03 00:00:00' + to_milliseconds((h % 2592000000)::BIGINT) AS started_at,
        (h % 60000) / 1000.0 AS duration_seconds,
        'SUCCESS' AS status,
        (h % 1000)::BIGINT << 20 AS bytes_scanned,
        (h % 60000) / 4e6 AS credits
    FROM q JOIN p ON p.n = (q.i // 8) % (SELECT count(*) FROM p)
) TO '{file}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)''')
"""
    with simulate(args.projects) as server, tempfile.TemporaryDirectory() as folder:
        lake, file = f"{folder}/lake", f"{folder}/history.parquet"
        run = export(server, lake)
        manifest = json.loads((pathlib.Path(run["summary"]["path"]) / "manifest.json").read_text())
        org = manifest["workspace"]["org_id"] or "org"
        subprocess.run([str(ROOT / ".venv/bin/python"), "-c", script, lake, file, str(args.rows), org], check=True)
        command = [HEXPORT, "import", "query-history", lake, file, "--warehouse", "snowflake", "--output", "json"]
        for name in ["first import", "the same again"]:
            run = measure(command)
            said = json.loads(run["out"])
            rate = said["rows"] / run["wall"]
            print(
                f"{name}: {said['rows']:,} rows, {said['imported']:,} imported, {run['wall']:.1f} s wall ({rate:,.0f} rows/s), "
                f"{run['cpu']:.1f} s CPU, {run['rss']:.0f} MB peak",
                flush=True,
            )


def spark(args):
    # One night, repeated: each snapshot's files are links to the first one's, so the disk and its cache hold them once.
    python = ROOT / ".venv/clients/spark/bin/python"
    if not python.exists():
        raise SystemExit("needs pyspark: tests/run installs it")
    duck = """
import duckdb, sys
lake, table = sys.argv[1:]
duckdb.execute("SET enable_progress_bar = false")
print(len(duckdb.execute(f'''
SELECT project_id, min(snapshot), max(snapshot), count(DISTINCT snapshot)
FROM read_parquet('{lake}/snapshot=*/lineage.parquet', hive_partitioning = true, hive_types = {{'snapshot': VARCHAR}}, union_by_name = true)
WHERE table_key = '{table}' AND direction = 'read' GROUP BY 1 ORDER BY 1''').fetchall()))
"""
    import datetime

    def timed(command, text=""):
        started = time.monotonic()
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr[-3000:])
        return time.monotonic() - started, done.stdout

    with simulate(args.projects) as server, tempfile.TemporaryDirectory() as folder:
        lake = pathlib.Path(folder) / "lake"
        run = export(server, lake)
        line("exported", run)
        first = next(lake.glob("snapshot=*"))
        usage = (
            "import duckdb, sys; print(duckdb.execute(\"SELECT arg_max(table_key, projects) FROM "
            "read_parquet(?, hive_partitioning = false)\", [sys.argv[1]]).fetchone()[0])"
        )
        table = timed([str(ROOT / ".venv/bin/python"), "-c", usage, str(first / "table_usage.parquet")])[1].strip()
        a_night = run["summary"]["tables"]["lineage"]["rows"]
        began = datetime.datetime.strptime(first.name, "snapshot=%Y-%m-%dT%H%M%SZ")
        made = 1
        for nights in (1, -(-args.rows // a_night)):
            for number in range(made, nights):
                name = (began - datetime.timedelta(days=number)).strftime("snapshot=%Y-%m-%dT%H%M%SZ")
                (lake / name).mkdir()
                os.link(first / "lineage.parquet", lake / name / "lineage.parquet")
            made = nights
            asked = json.dumps({"lake": str(lake), "table": table, "tables": []})
            seconds, said = timed([str(python), str(ROOT / "tests/clients/spark.py")], asked)
            found = json.loads(said.splitlines()[-1])["rows"]
            assert all(row[3] == nights for row in found), found[:3]
            print(f"{nights:,} nights, {nights * a_night:,} rows of lineage: Spark {seconds:.1f} s, with its start", flush=True)
            ours, projects = timed([str(ROOT / ".venv/bin/python"), "-c", duck, str(lake), table])
            assert int(projects) == len(found)
            print(f"  DuckDB {ours:.1f} s; {len(found)} projects read {table}", flush=True)


def report(args):
    # In Chromium, from the file: what a person waits for, by the browser's own clock.
    script = """
import pathlib, shutil, statistics, sys
from playwright.sync_api import sync_playwright
page_file = pathlib.Path(sys.argv[1])
chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])))
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    for name, width, height in [("1280 x 900", 1280, 900), ("390 x 844", 390, 844)]:
        paints, ready = [], []
        for _ in range(5):
            context = browser.new_context(viewport={"width": width, "height": height})
            page = context.new_page()
            page.goto(page_file.as_uri())
            page.wait_for_selector("html[data-ready]")
            ready.append(page.evaluate("performance.now()"))
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            context.close()
        print(f"{name}: first paint {statistics.median(paints):.0f} ms (worst {max(paints):.0f}), everything there after {statistics.median(ready):.0f} ms")
    browser.close()
"""
    with simulate(args.projects) as server, tempfile.TemporaryDirectory() as folder:
        line("exported", export(server, folder))
        file = pathlib.Path(folder) / "report.html"
        made = measure([HEXPORT, "report", folder, "-o", str(file)])
        print(f"report of {args.projects:,} projects: {file.stat().st_size / 1e6:.1f} MB in {made['wall']:.1f} s, {made['rss']:.0f} MB peak", flush=True)
        subprocess.run([str(ROOT / ".venv/bin/python"), "-c", script, str(file)], check=True)


def startup(args):
    times = sorted(measure([HEXPORT, "--help"])["wall"] for _ in range(50))
    print(f"--help: median {times[25] * 1e3:.1f} ms, 90 % {times[45] * 1e3:.1f} ms (with the start of a process from Python)")
    binary = ROOT / "target/release/hexport"
    print(f"{binary.name}: {binary.stat().st_size / 1e6:.1f} MB" if binary.exists() else "no release binary")


def build(args):
    """What it costs to build from nothing, as `cargo run -- demo` and `cargo install` do."""
    for profile in args.profile or ["dev", "release"]:
        with contextlib.nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as target:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.monotonic()
            command = ["cargo", "build", "--locked", "--profile", profile, "--target-dir", target]
            done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            folder = pathlib.Path(target)
            binary = folder / ("debug" if profile == "dev" else profile) / "hexport"
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
            print(
                f"{profile}: {(time.monotonic() - began) / 60:.1f} min, {spent / 60:.1f} min of CPU,"
                f" {done.stderr.count('Compiling ')} packages, {size / 1e9:.1f} GB;"
                f" {binary.name} of {binary.stat().st_size / 1e6:.1f} MB",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, projects, runs, cells in [
        ("ceiling", ceiling, 3000, 40, 14),
        ("peers", peers, 1000, 40, 14),
        ("scale", scale, 50_000, 150, 40),
        ("store", store, 10_000, 190, 14),
        ("parquet", parquet, 3000, 40, 14),
        ("history", history, 3000, 10, 4),
        ("spark", spark, 10_000, 2, 14),
        ("report", report, 5000, 40, 14),
        ("startup", startup, 0, 0, 0),
        ("build", build, 0, 0, 0),
    ]:
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--projects", type=int, default=projects)
        command.add_argument("--runs", type=int, default=runs, help="mean runs of a published project")
        if name == "build":
            command.add_argument("--profile", action="append", choices=["dev", "release"], help="only this one")
            command.add_argument("--keep", help="build into this folder, which has to be new, and leave it there")
        command.add_argument("--cells", type=int, default=cells, help="mean cells of a project")
        rows = 50_000_000 if name == "spark" else 10_000_000
        command.add_argument("--rows", type=int, default=rows, help="rows of the query history, or of lineage over all nights")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
