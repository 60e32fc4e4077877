-- BigQuery: queries of Hex with bytes billed, slot time and referenced tables.
-- Needs bigquery.jobs.listAll in the project that Hex runs its queries in. Name your region.
-- Unload: EXPORT DATA OPTIONS (uri = 'gs://bucket/hex-*.parquet', format = 'PARQUET') AS (...).
SELECT
    'bigquery' AS warehouse,
    job_id AS query_id,
    query AS query_text,
    start_time AS started_at,
    end_time AS ended_at,
    TIMESTAMP_DIFF(end_time, start_time, MILLISECOND) / 1000 AS duration_seconds,
    state AS status,
    error_result.reason AS error_code,
    user_email AS warehouse_user,
    statement_type,
    total_bytes_billed AS bytes_scanned,
    total_slot_ms / 1000 AS slot_seconds,
    cache_hit AS is_cached,
    TO_JSON_STRING(referenced_tables) AS tables_read,
    IF(statement_type = 'SELECT', NULL, TO_JSON_STRING([destination_table])) AS tables_written
FROM `region-us`.INFORMATION_SCHEMA.JOBS_BY_PROJECT
WHERE creation_time >= TIMESTAMP '2000-01-01 00:00:00+00:00'
  AND job_type = 'QUERY'
  AND state = 'DONE'
  AND query LIKE '%Hex query metadata:%'
ORDER BY start_time;
