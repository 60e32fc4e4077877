-- Who reads a table, who owns it, does it still run, how long does it take? (owner_is_active: null, if the users could not be read.)
-- Set: table_name, the end of the table's whole name in any case (orders, core.orders); all tables by default
-- Columns: table_key, connection_name, project_title, owner_email, owner_is_active, evidence, is_archived,
--          last_run_at, success_rate, median_seconds, app_views_last_30_days, project_id
SELECT
    l.table_key,
    l.connection_name,
    l.project_title,
    l.owner_email,
    CASE WHEN EXISTS (
        SELECT 1 FROM crawl_coverage c
        WHERE c.operation = 'ListUsers' AND c.entity_id IS NULL AND c.state IN ('fetched', 'reused')
    ) THEN u.is_active_user END AS owner_is_active,
    l.evidence_text AS evidence,
    l.is_archived,
    s.last_run_at,
    round(s.success_rate, 3) AS success_rate,
    round(s.p50_seconds, 1) AS median_seconds,
    p.app_views_last_30_days,
    l.project_id
FROM lineage l
JOIN projects p USING (project_id)
LEFT JOIN user_activity u ON lower(u.email) = lower(l.owner_email)
LEFT JOIN run_stats s ON s.project_id = l.project_id AND s.run_trigger = 'ALL'
WHERE l.direction = 'read'
  AND (getvariable('table_name') IS NULL
       OR lower(l.table_key) = lower(getvariable('table_name'))
       OR ends_with(lower(l.table_key), '.' || lower(getvariable('table_name'))))
ORDER BY l.table_key, p.app_views_last_30_days DESC, l.project_title, l.project_id;
