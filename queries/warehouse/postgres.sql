-- PostgreSQL: queries of Hex from the table postgres_log that the documentation of csvlog defines, with
-- log_min_duration_statement = 0 (or auto_explain). pg_stat_statements can't say who ran a query: it keeps one text
-- for all. Identifiers of queries are those of their sessions: import each server's log with its own --connection.
SELECT
    'postgres' AS warehouse,
    session_id || '.' || session_line_num AS query_id,
    COALESCE(
        query,
        SUBSTRING(message FROM 'duration: [0-9.]+ ms +(?:statement|execute [^:]*|parse [^:]*|bind [^:]*): (.*)'),
        SUBSTRING(message FROM 'Query Text: (.*)')
    ) AS query_text,
    log_time - COALESCE(CAST(SUBSTRING(message FROM 'duration: ([0-9.]+) ms') AS DOUBLE PRECISION), 0) * INTERVAL '1 millisecond' AS started_at,
    log_time AS ended_at,
    CAST(SUBSTRING(message FROM 'duration: ([0-9.]+) ms') AS DOUBLE PRECISION) / 1000 AS duration_seconds,
    CASE WHEN error_severity IN ('ERROR', 'FATAL', 'PANIC') THEN 'failed' ELSE 'success' END AS status,
    NULLIF(sql_state_code, '00000') AS error_code,
    user_name AS warehouse_user,
    command_tag AS statement_type,
    database_name
FROM postgres_log
WHERE log_time >= TIMESTAMPTZ '2000-01-01 00:00:00+00'
  AND (message LIKE 'duration: %' OR error_severity IN ('ERROR', 'FATAL', 'PANIC'))
  AND (message LIKE '%Hex query metadata:%' OR query LIKE '%Hex query metadata:%')
ORDER BY log_time;
