-- ClickHouse: queries of Hex. On a cluster, read clusterAllReplicas(default, system.query_log) instead.
-- Add INTO OUTFILE 'hex.parquet' FORMAT Parquet. Queries are cut off after log_queries_cut_to_length bytes.
SELECT
    'clickhouse' AS warehouse,
    query_id,
    query AS query_text,
    toTimeZone(query_start_time_microseconds, 'UTC') AS started_at,
    toTimeZone(event_time_microseconds, 'UTC') AS ended_at,
    query_duration_ms / 1000 AS duration_seconds,
    toString(type) AS status,
    toString(exception_code) AS error_code,
    user AS warehouse_user,
    query_kind AS statement_type,
    read_bytes AS bytes_scanned,
    result_rows AS rows_produced,
    toString(query_cache_usage) = 'Read' AS is_cached,
    current_database AS schema_name,
    arrayFilter(name -> NOT startsWith(name, '_table_function'), tables) AS tables_read
FROM system.query_log
WHERE event_time >= toDateTime('2000-01-01 00:00:00', 'UTC')
  AND type != 'QueryStart'
  AND is_initial_query
  AND query LIKE '%Hex query metadata:%'
ORDER BY query_start_time_microseconds;
