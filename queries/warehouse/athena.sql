-- Athena keeps its history behind its API alone, for 45 days. Either import what the AWS CLI prints as it is:
--   aws athena list-query-executions --work-group primary --query 'QueryExecutionIds[]' --output text | xargs -n 50 \
--     aws athena batch-get-query-execution --query-execution-ids > executions.json
-- or keep that in S3, and extract from a table query_executions over it (JSON SerDe, one object a line):
SELECT
    'athena' AS warehouse,
    queryexecutionid AS query_id,
    query AS query_text,
    status.submissiondatetime AS started_at,
    status.completiondatetime AS ended_at,
    statistics.totalexecutiontimeinmillis / 1000.0 AS duration_seconds,
    status.state AS status,
    statementtype AS statement_type,
    statistics.datascannedinbytes AS bytes_scanned,
    queryexecutioncontext.catalog AS database_name,
    queryexecutioncontext.database AS schema_name
FROM query_executions
WHERE from_iso8601_timestamp(status.submissiondatetime) >= TIMESTAMP '2000-01-01 00:00:00 UTC'
  AND query LIKE '%Hex query metadata:%'
ORDER BY status.submissiondatetime;
