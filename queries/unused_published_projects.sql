-- Which published projects has nobody viewed, published, edited or run for long?
-- Set: days, how long a project may go unused (90 by default)
-- Columns: title, owner_email, last_published_at, last_viewed_at, last_edited_at, last_run_at, app_views_last_30_days,
--          last_used_at, project_id (projects whose views the API doesn't tell, or whose runs were not read, are left
--          out)
SELECT
    p.title,
    p.owner_email,
    p.last_published_at,
    p.last_viewed_at,
    p.last_edited_at,
    s.last_run_at,
    p.app_views_last_30_days,
    greatest(p.last_published_at, p.last_viewed_at, p.last_edited_at, s.last_run_at) AS last_used_at,
    p.project_id
FROM projects p
LEFT JOIN run_stats s ON s.project_id = p.project_id AND s.run_trigger = 'ALL'
WHERE p.type = 'PROJECT'
  AND p.last_published_at IS NOT NULL
  AND p.archived_at IS NULL
  AND p.trashed_at IS NULL
  AND (p.last_viewed_at IS NOT NULL OR p.app_views_all_time IS NOT NULL)
  AND coalesce(p.app_views_last_30_days, 0) = 0
  AND greatest(p.last_published_at, p.last_viewed_at, p.last_edited_at, s.last_run_at)
      < p.snapshot_at - to_days(coalesce(getvariable('days'), 90)::INTEGER)
  AND EXISTS (
      SELECT 1 FROM crawl_coverage c
      WHERE c.operation = 'GetProjectRuns' AND c.entity_id = p.project_id
        AND c.state IN ('fetched', 'reused', 'skipped')
  )
ORDER BY last_used_at, p.title, p.project_id;
