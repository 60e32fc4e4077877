-- Databricks: queries of Hex with the DBUs of their SQL warehouse, by their share of its task time in each hour.
-- Needs SELECT on system.query, system.billing and system.access.
WITH dbus AS (
    SELECT
        usage_metadata.warehouse_id AS warehouse_id,
        DATE_TRUNC('HOUR', usage_start_time) AS hour,
        SUM(usage_quantity) AS quantity
    FROM system.billing.usage
    WHERE usage_unit = 'DBU'
      AND usage_metadata.warehouse_id IS NOT NULL
      AND usage_start_time >= TIMESTAMP '2000-01-01 00:00:00+00:00'
    GROUP BY usage_metadata.warehouse_id, DATE_TRUNC('HOUR', usage_start_time)
),
work AS (
    SELECT
        compute.warehouse_id AS warehouse_id,
        DATE_TRUNC('HOUR', start_time) AS hour,
        SUM(total_task_duration_ms) AS milliseconds
    FROM system.query.history
    WHERE start_time >= TIMESTAMP '2000-01-01 00:00:00+00:00'
    GROUP BY compute.warehouse_id, DATE_TRUNC('HOUR', start_time)
),
touched AS (
    SELECT
        statement_id,
        TO_JSON(COLLECT_SET(source_table_full_name)) AS tables_read,
        TO_JSON(COLLECT_SET(target_table_full_name)) AS tables_written
    FROM system.access.table_lineage
    WHERE event_time >= TIMESTAMP '2000-01-01 00:00:00+00:00'
    GROUP BY statement_id
)
SELECT
    'databricks' AS warehouse,
    q.statement_id AS query_id,
    q.statement_text AS query_text,
    q.start_time AS started_at,
    q.end_time AS ended_at,
    q.total_duration_ms / 1000 AS duration_seconds,
    q.execution_status AS status,
    q.executed_by AS warehouse_user,
    q.statement_type,
    q.read_bytes AS bytes_scanned,
    q.produced_rows AS rows_produced,
    d.quantity * q.total_task_duration_ms / NULLIF(w.milliseconds, 0) AS credits,
    q.from_result_cache AS is_cached,
    t.tables_read,
    t.tables_written
FROM system.query.history AS q
LEFT JOIN work AS w
    ON w.warehouse_id = q.compute.warehouse_id AND w.hour = DATE_TRUNC('HOUR', q.start_time)
LEFT JOIN dbus AS d
    ON d.warehouse_id = q.compute.warehouse_id AND d.hour = DATE_TRUNC('HOUR', q.start_time)
LEFT JOIN touched AS t
    ON t.statement_id = q.statement_id
WHERE q.start_time >= TIMESTAMP '2000-01-01 00:00:00+00:00'
  AND q.statement_text LIKE '%Hex query metadata:%'
ORDER BY q.start_time;
