-- Which projects cost most in the last 30 days of the imported query histories, and what of it is failed or unviewed?
-- Columns: title, owner_email, cost, credits, warehouse_hours, queries, failed_cost, app_views_last_30_days, project_id
SELECT
    p.title,
    p.owner_email,
    round(sum(c.cost), 2) AS cost,
    round(sum(c.credits), 3) AS credits,
    round(sum(c.seconds) / 3600, 3) AS warehouse_hours,
    sum(c.queries)::BIGINT AS queries,
    round(sum(c.failed_cost), 2) AS failed_cost,
    p.app_views_last_30_days,
    c.project_id
FROM project_cost c
LEFT JOIN projects p USING (project_id)
WHERE c.day > (SELECT max(day) FROM project_cost) - INTERVAL 30 DAY
GROUP BY ALL
ORDER BY cost DESC NULLS LAST, credits DESC, warehouse_hours DESC, c.project_id;
