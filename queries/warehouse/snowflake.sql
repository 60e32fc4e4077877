-- Snowflake: queries of Hex with the credits that Snowflake attributes to them.
-- Needs a role that may read SNOWFLAKE.ACCOUNT_USAGE (GRANT IMPORTED PRIVILEGES ON DATABASE snowflake).
-- Attribution is up to 8 hours late: queries of the last 9 hours are left to the next extraction.
-- Without Enterprise Edition there is no ACCESS_HISTORY: remove its join and its two columns, and the tables are read
-- from the SQL. Unload as Parquet: COPY INTO @stage/hex_ FROM (...) FILE_FORMAT = (TYPE = PARQUET) HEADER = TRUE.
SELECT
    'snowflake' AS warehouse,
    q.query_id,
    q.query_text,
    CAST(CONVERT_TIMEZONE('UTC', q.start_time) AS TIMESTAMP_NTZ) AS started_at,
    CAST(CONVERT_TIMEZONE('UTC', q.end_time) AS TIMESTAMP_NTZ) AS ended_at,
    q.total_elapsed_time / 1000 AS duration_seconds,
    q.execution_status AS status,
    q.error_code,
    q.user_name AS warehouse_user,
    q.query_type AS statement_type,
    q.bytes_scanned,
    q.rows_produced,
    COALESCE(a.credits_attributed_compute, 0) + COALESCE(a.credits_used_query_acceleration, 0) AS credits,
    q.database_name,
    q.schema_name,
    TO_JSON(h.base_objects_accessed) AS tables_read,
    TO_JSON(h.objects_modified) AS tables_written
FROM snowflake.account_usage.query_history AS q
LEFT JOIN snowflake.account_usage.query_attribution_history AS a
    ON a.query_id = q.query_id
LEFT JOIN snowflake.account_usage.access_history AS h
    ON h.query_id = q.query_id
WHERE q.start_time >= TO_TIMESTAMP_TZ('2000-01-01 00:00:00 +00:00')
  AND q.end_time < DATEADD('hour', -9, CURRENT_TIMESTAMP())
  AND q.query_text ILIKE '%Hex query metadata:%'
ORDER BY q.start_time;
