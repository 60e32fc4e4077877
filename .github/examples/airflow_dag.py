"""An Airflow DAG that exports a Hex workspace every night.

hexport exits with 4 when it committed a snapshot that isn't complete: the export succeeds, and the task `complete`
is skipped, so that a task that needs everything can depend on it. 5 and 130 are worth another try, which goes on where the
last one ended; the others need a person.

Needs HEX_API_TOKEN in the worker's environment (from a secrets backend), and the folder or bucket below.
"""

import subprocess
from datetime import datetime, timedelta

from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk import dag, task

LAKE = "s3://lake/hex"
INCOMPLETE = 4
RESUMABLE = (5, 130)


def export(lake=LAKE, hexport="hexport"):
    """Exports, and says whether the snapshot is complete."""
    done = subprocess.run([hexport, "export", lake, "--quiet", "--budget", "6h"], capture_output=True, text=True)
    if done.returncode in RESUMABLE:
        raise AirflowException(f"not finished, to be resumed: {done.stderr.strip()}")
    if done.returncode not in (0, INCOMPLETE):
        raise AirflowFailException(f"hexport ended with {done.returncode}: {done.stderr.strip()}")
    return done.returncode == 0


def complete(is_complete):
    """Skips what needs a complete snapshot."""
    if not is_complete:
        raise AirflowSkipException("the snapshot isn't complete: see crawl_coverage")


@dag(schedule="0 2 * * *", start_date=datetime(2026, 1, 1), catchup=False)
def export_hex():
    exported = task(retries=2, retry_delay=timedelta(minutes=30))(export)()
    task(complete)(exported)


export_hex()
