-- Which schedules cost most, of apps that nobody views and whose runs notify nobody?
-- Set: max_views, views in 30 days up to which an app counts as unviewed (0 by default)
-- Columns: title, owner_email, cadences, cost, credits, warehouse_hours, queries, app_views_last_30_days,
--          last_viewed_at, project_id
SELECT
    p.title,
    p.owner_email,
    (SELECT string_agg(s.cadence, ', ' ORDER BY s.position) FROM project_schedules s
     WHERE s.project_id = p.project_id AND s.enabled) AS cadences,
    round(sum(c.cost), 2) AS cost,
    round(sum(c.credits), 3) AS credits,
    round(sum(c.seconds) / 3600, 3) AS warehouse_hours,
    sum(c.queries)::BIGINT AS queries,
    p.app_views_last_30_days,
    p.last_viewed_at,
    p.project_id
FROM project_cost c
JOIN projects p USING (project_id)
WHERE c.context ILIKE '%SCHEDULED%'
  AND c.day > (SELECT max(day) FROM project_cost) - INTERVAL 30 DAY
  AND p.app_views_last_30_days <= coalesce(getvariable('max_views'), 0)::INTEGER
  AND NOT EXISTS (
      SELECT 1 FROM runs n
      WHERE n.project_id = p.project_id AND n.notifications IS NOT NULL AND len(n.notifications) > 0
  )
GROUP BY ALL
ORDER BY cost DESC NULLS LAST, credits DESC, warehouse_hours DESC, p.project_id
LIMIT 10;
