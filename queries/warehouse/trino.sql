-- Trino: queries of Hex from the table of its MySQL event listener, read through a MySQL catalog called events.
SELECT
    'trino' AS warehouse,
    query_id,
    query AS query_text,
    create_time AS started_at,
    end_time AS ended_at,
    wall_time_millis / 1000.0 AS duration_seconds,
    query_state AS status,
    error_code,
    "user" AS warehouse_user,
    query_type AS statement_type,
    physical_input_bytes AS bytes_scanned,
    output_rows AS rows_produced,
    cpu_time_millis / 1000.0 AS slot_seconds,
    catalog AS database_name,
    schema AS schema_name,
    inputs_json AS tables_read,
    output_json AS tables_written
FROM events.trino.trino_queries
WHERE create_time >= TIMESTAMP '2000-01-01 00:00:00'
  AND query LIKE '%Hex query metadata:%'
ORDER BY create_time;
