-- Redshift: queries of Hex. SYS_QUERY_HISTORY cuts queries off after 4,000 characters, so that the whole text comes
-- from SYS_QUERY_TEXT. Needs SYS:MONITOR. History is kept for 7 days: extract at least weekly.
-- Unload: UNLOAD ('...') TO 's3://bucket/hex_' IAM_ROLE default FORMAT PARQUET.
WITH texts AS (
    SELECT
        query_id,
        LISTAGG(CASE WHEN LENGTH(RTRIM(text)) = 0 THEN text ELSE RTRIM(text) END, '') WITHIN GROUP (ORDER BY sequence) AS query_text
    FROM sys_query_text
    WHERE start_time >= TIMESTAMP '2000-01-01 00:00:00'
    GROUP BY query_id
),
scans AS (
    SELECT query_id, SUM(input_bytes) AS bytes_scanned
    FROM sys_query_detail
    WHERE step_name = 'scan' AND start_time >= TIMESTAMP '2000-01-01 00:00:00'
    GROUP BY query_id
)
SELECT
    'redshift' AS warehouse,
    q.query_id,
    COALESCE(t.query_text, q.query_text) AS query_text,
    q.start_time AS started_at,
    q.end_time AS ended_at,
    q.elapsed_time / 1000000.0 AS duration_seconds,
    q.status,
    u.usename AS warehouse_user,
    q.query_type AS statement_type,
    s.bytes_scanned,
    q.returned_rows AS rows_produced,
    q.result_cache_hit AS is_cached,
    q.database_name
FROM sys_query_history AS q
LEFT JOIN texts AS t ON t.query_id = q.query_id
LEFT JOIN scans AS s ON s.query_id = q.query_id
LEFT JOIN pg_user AS u ON u.usesysid = q.user_id
WHERE q.start_time >= TIMESTAMP '2000-01-01 00:00:00'
  AND COALESCE(t.query_text, q.query_text) LIKE '%Hex query metadata:%'
ORDER BY q.start_time;
