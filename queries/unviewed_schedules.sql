-- Which schedules burn credits for apps that nobody views, and whose runs notify nobody?
-- Set: max_views, views in 30 days up to which an app counts as unviewed (0 by default)
-- Columns: title, owner_email, cadences, scheduled_runs_last_30_days, hours_last_30_days, app_views_last_30_days,
--          last_viewed_at, project_id
SELECT
    p.title,
    p.owner_email,
    (SELECT string_agg(s.cadence, ', ' ORDER BY s.position) FROM project_schedules s
     WHERE s.project_id = p.project_id AND s.enabled) AS cadences,
    count(*) AS scheduled_runs_last_30_days,
    round(sum(r.duration_seconds) / 3600, 2) AS hours_last_30_days,
    p.app_views_last_30_days,
    p.last_viewed_at,
    p.project_id
FROM runs r
JOIN projects p USING (project_id)
WHERE r.run_trigger = 'SCHEDULED'
  AND r.start_time > p.snapshot_at - INTERVAL 30 DAY
  AND p.app_views_last_30_days <= coalesce(getvariable('max_views'), 0)::INTEGER
  AND NOT EXISTS (
      SELECT 1 FROM runs n
      WHERE n.project_id = p.project_id AND n.notifications IS NOT NULL AND len(n.notifications) > 0
  )
GROUP BY ALL
ORDER BY hours_last_30_days DESC, p.project_id;
