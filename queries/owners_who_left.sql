-- Which projects belong to people who have left the workspace? (None, if the users could not be read.)
-- Columns: owner_email, title, status, is_published, has_schedule, app_views_last_30_days, tables_read, project_id
SELECT
    p.owner_email,
    p.title,
    p.status,
    p.last_published_at IS NOT NULL AS is_published,
    EXISTS (SELECT 1 FROM project_schedules s WHERE s.project_id = p.project_id AND s.enabled) AS has_schedule,
    p.app_views_last_30_days,
    (SELECT count(*) FROM lineage l WHERE l.project_id = p.project_id AND l.direction = 'read') AS tables_read,
    p.project_id
FROM projects p
WHERE p.owner_email <> ''
  AND NOT EXISTS (SELECT 1 FROM users u WHERE lower(u.email) = lower(p.owner_email))
  AND EXISTS (
      SELECT 1 FROM crawl_coverage c
      WHERE c.operation = 'ListUsers' AND c.entity_id IS NULL AND c.state IN ('fetched', 'reused')
  )
  AND p.archived_at IS NULL
  AND p.trashed_at IS NULL
ORDER BY p.owner_email, p.app_views_last_30_days DESC, p.project_id;
