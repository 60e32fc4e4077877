"""Reads OpenLineage events from standard input, one a line, and builds each with the types of the
specification's own Python client, which know their fields and check them. Facets too. Writes their number.
"""

import json
import sys

from openlineage.client import event_v2, facet_v2

FACETS = {
    "documentation": (facet_v2.documentation_job.DocumentationJobFacet, facet_v2.documentation_dataset.DocumentationDatasetFacet),
    "ownership": (facet_v2.ownership_job.OwnershipJobFacet,),
    "sql": (facet_v2.sql_job.SQLJobFacet,),
    "sourceCodeLocation": (facet_v2.source_code_location_job.SourceCodeLocationJobFacet,),
    "tags": (facet_v2.tags_job.TagsJobFacet, facet_v2.tags_run.TagsRunFacet),
    "jobType": (facet_v2.job_type_job.JobTypeJobFacet,),
    "nominalTime": (facet_v2.nominal_time_run.NominalTimeRunFacet,),
    "errorMessage": (facet_v2.error_message_run.ErrorMessageRunFacet,),
    "dataSource": (facet_v2.datasource_dataset.DatasourceDatasetFacet,),
    "processing_engine": (facet_v2.processing_engine_run.ProcessingEngineRunFacet,),
    "lifecycleStateChange": (facet_v2.lifecycle_state_change_dataset.LifecycleStateChangeDatasetFacet,),
    "columnLineage": (facet_v2.column_lineage_dataset.ColumnLineageDatasetFacet,),
}


def facets(given):
    built = {}
    for name, fields in (given or {}).items():
        if name.startswith("hex_"):
            continue
        fields = dict(fields)
        producer, schema = fields.pop("_producer"), fields.pop("_schemaURL")
        kind = next(k for k in FACETS[name] if k._get_schema() == schema)
        built[name] = kind(**fields, producer=producer)
    return built


def dataset(kind, given):
    return kind(namespace=given["namespace"], name=given["name"], facets=facets(given.get("facets")))


def main():
    count = 0
    for line in sys.stdin:
        event = json.loads(line)
        common = {"eventTime": event["eventTime"], "producer": event["producer"]}
        if "job" in event:
            job = event["job"]
            common["job"] = event_v2.Job(
                namespace=job["namespace"], name=job["name"], facets=facets(job["facets"])
            )
            common["inputs"] = [dataset(event_v2.InputDataset, d) for d in event["inputs"]]
            common["outputs"] = [dataset(event_v2.OutputDataset, d) for d in event["outputs"]]
        if "run" in event:
            run = event_v2.Run(runId=event["run"]["runId"], facets=facets(event["run"]["facets"]))
            built = event_v2.RunEvent(eventType=event_v2.RunState[event["eventType"]], run=run, **common)
        elif "job" in event:
            built = event_v2.JobEvent(**common)
        else:
            built = event_v2.DatasetEvent(
                dataset=dataset(event_v2.StaticDataset, event["dataset"]), **common
            )
        if built.schemaURL != event["schemaURL"]:
            raise SystemExit(f"{built.schemaURL} is not {event['schemaURL']}")
        count += 1
    print(count)


main()
