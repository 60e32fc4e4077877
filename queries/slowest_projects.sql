-- Which projects take the most time to run?
-- Set: min_runs, ended runs that a project must have (5 by default)
-- Columns: title, owner_email, runs, p50_seconds, p95_seconds, max_seconds, total_hours, project_id
SELECT
    p.title,
    p.owner_email,
    s.runs,
    round(s.p50_seconds, 1) AS p50_seconds,
    round(s.p95_seconds, 1) AS p95_seconds,
    round(s.max_seconds, 1) AS max_seconds,
    round(s.mean_seconds * (s.runs - s.unfinished) / 3600, 2) AS total_hours,
    p.project_id
FROM run_stats s
JOIN projects p USING (project_id)
WHERE s.run_trigger = 'ALL'
  AND s.runs - s.unfinished >= coalesce(getvariable('min_runs'), 5)::INTEGER
ORDER BY s.p50_seconds DESC NULLS LAST, p.project_id;
