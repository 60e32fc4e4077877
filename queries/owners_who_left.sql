-- Which projects belong to people who are no users any more?
-- Columns: owner_email, title, status, is_published, has_schedule, app_views_last_30_days, tables_read, project_id
SELECT
    p.owner_email,
    p.title,
    p.status,
    p.last_published_at IS NOT NULL AS is_published,
    p.project_id IN (SELECT project_id FROM project_schedules WHERE enabled) AS has_schedule,
    p.app_views_last_30_days,
    (SELECT count(*) FROM lineage l WHERE l.project_id = p.project_id) AS tables_read,
    p.project_id
FROM projects p
WHERE p.owner_email NOT IN (SELECT email FROM users)
  AND p.archived_at IS NULL
  AND p.trashed_at IS NULL
ORDER BY p.owner_email, p.app_views_last_30_days DESC, p.project_id;
