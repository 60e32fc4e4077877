"""Has a real PostgreSQL log queries as the documentation of csvlog says, loads the log into the table postgres_log
that it defines, and runs an extraction over it.

Reads {"setup": SQL, "statements": [...], "sql": EXTRACTION, "out": FILE} from standard input; the result goes to the
file, as CSV. Writes how many statements failed.
"""

import glob
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

# https://www.postgresql.org/docs/15/runtime-config-logging.html#RUNTIME-CONFIG-LOGGING-CSVLOG
TABLE = """
CREATE TABLE postgres_log (
    log_time timestamp(3) with time zone, user_name text, database_name text, process_id integer,
    connection_from text, session_id text, session_line_num bigint, command_tag text,
    session_start_time timestamp with time zone, virtual_transaction_id text, transaction_id bigint,
    error_severity text, sql_state_code text, message text, detail text, hint text, internal_query text,
    internal_query_pos integer, context text, query text, query_pos integer, location text, application_name text,
    backend_type text, leader_pid integer, query_id bigint, PRIMARY KEY (session_id, session_line_num)
)
"""


def main():
    asked = json.load(sys.stdin)
    found = shutil.which("initdb") or max(glob.glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    if not found:
        raise SystemExit("the tests need PostgreSQL: run tests/run, which installs it")
    programs = pathlib.Path(found).resolve().parent
    # The server refuses to run as root.
    other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        if other:
            shutil.chown(folder, "postgres")
        data = folder + "/data"

        def run(*command, **options):
            return subprocess.run([*other, *map(str, command)], check=True, capture_output=True, cwd="/", **options)

        run(programs / "initdb", "-D", data, "-U", "hex", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8")
        settings = {
            "listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "logging_collector": "on",
            "log_destination": "csvlog", "log_min_duration_statement": "0", "log_filename": "log",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = subprocess.Popen(
            [*other, str(programs / "postgres"), "-D", data, *options],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

        def psql(sql, *more):
            command = [str(programs / "psql"), "-X", "-q", "-h", folder, "-U", "hex", "-d", "postgres", *more]
            return subprocess.run(command, input=sql, text=True, capture_output=True)

        try:
            for _ in range(200):
                if psql("SELECT 1").returncode == 0:
                    break
                time.sleep(0.05)

            def must(sql):
                done = psql(sql, "-v", "ON_ERROR_STOP=1")
                if done.returncode:
                    raise SystemExit(done.stderr)
                return done.stdout

            must(asked["setup"] + ";" + TABLE)
            failed = sum(psql("", "-c", sql).returncode != 0 for sql in asked["statements"])
            # The logger is another process: it may be behind.
            last = asked["statements"][-1].splitlines()[0]
            log = pathlib.Path(data, "log", "log.csv")
            for _ in range(200):
                if last in log.read_text(encoding="utf-8"):
                    break
                time.sleep(0.05)
            time.sleep(0.2)
            must(f"COPY postgres_log FROM '{log}' WITH csv")
            copy = asked["sql"].strip().rstrip(";")
            pathlib.Path(asked["out"]).write_text(must(f"COPY ({copy}\n) TO STDOUT WITH (FORMAT csv, HEADER)"), encoding="utf-8")
        finally:
            server.terminate()
            server.wait(30)
    print(json.dumps({"failed": failed}))


main()
