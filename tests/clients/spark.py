"""Runs the job that .github/docs/lake.md shows for Spark, on {"lake": FOLDER, "table": TABLE} from standard input. Writes
its rows, and how many rows of each table Spark reads in all snapshots, as JSON."""

import json
import pathlib
import re
import sys

asked = json.load(sys.stdin)
docs = pathlib.Path(__file__).parents[2] / ".github/docs/lake.md"
(job,) = re.findall(r"```python\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
job = job.replace("s3a://lake/hex", asked["lake"]).replace("analytics.orders", asked["table"])
names = {}
exec(compile(job, str(docs), "exec"), names)
rows = [list(row) for row in names["nights"].collect()]

spark = names["spark"]
counts = {}
for name in asked["tables"]:
    read = spark.read.option("basePath", asked["lake"]).parquet(f"{asked['lake']}/snapshot=*/{name}.parquet")
    counts[name] = [read.count(), sorted(row[0] for row in read.select("snapshot").distinct().collect())]
    # Every value of every column, nested ones included.
    read.selectExpr("sum(length(to_json(struct(*))))").collect()
spark.stop()
print(json.dumps({"rows": rows, "counts": counts}))
