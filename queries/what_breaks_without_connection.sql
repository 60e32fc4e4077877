-- What breaks if a connection goes away?
-- Set: connection, its name or identifier; all connections by default
-- Columns: connection_name, project_title, owner_email, tables, is_published, has_schedule, last_run_at,
--          app_views_last_30_days, project_id
SELECT
    l.connection_name,
    l.project_title,
    l.owner_email,
    count(DISTINCT l.table_key) AS tables,
    l.is_published,
    EXISTS (SELECT 1 FROM project_schedules c WHERE c.project_id = l.project_id AND c.enabled) AS has_schedule,
    l.last_run_at,
    p.app_views_last_30_days,
    l.project_id
FROM lineage l
JOIN projects p USING (project_id)
WHERE NOT l.is_archived
  AND (getvariable('connection') IS NULL
       OR lower(l.connection_name) = lower(getvariable('connection'))
       OR l.data_connection_id = getvariable('connection'))
GROUP BY ALL
ORDER BY l.connection_name, p.app_views_last_30_days DESC, l.project_title, l.project_id;
