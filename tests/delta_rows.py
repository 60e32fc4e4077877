"""Reads a Delta table with delta-rs: {"table": FOLDER} on standard input; its rows, and its columns of text."""

import json
import os
import sys

import pyarrow
from deltalake import DeltaTable

table = pyarrow.table(DeltaTable(json.load(sys.stdin)["table"]).to_pyarrow_table())
texts = {name: table.column(name).to_pylist() for name in table.column_names if "email" in name}
json.dump({"rows": table.num_rows, **texts}, sys.stdout)
sys.stdout.flush()
os._exit(0)
