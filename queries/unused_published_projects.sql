-- Which published projects does nobody use?
-- Set: days, how long a project may go unseen (90 by default)
-- Columns: title, owner_email, last_published_at, last_viewed_at, app_views_last_30_days, runs_in_period, project_id
SELECT
    p.title,
    p.owner_email,
    p.last_published_at,
    p.last_viewed_at,
    p.app_views_last_30_days,
    count(r.run_id) AS runs_in_period,
    p.project_id
FROM projects p
LEFT JOIN runs r
    ON r.project_id = p.project_id
   AND r.start_time > p.snapshot_at - to_days(coalesce(getvariable('days'), 90)::INTEGER)
WHERE p.type = 'PROJECT'
  AND p.last_published_at IS NOT NULL
  AND p.archived_at IS NULL
  AND p.trashed_at IS NULL
  AND coalesce(p.last_viewed_at, p.last_published_at) < p.snapshot_at - to_days(coalesce(getvariable('days'), 90)::INTEGER)
GROUP BY ALL
ORDER BY runs_in_period DESC, p.last_viewed_at NULLS FIRST, p.title, p.project_id;
