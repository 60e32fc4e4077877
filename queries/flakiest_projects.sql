-- Which projects fail most often, and since when do they fail?
-- Set: min_runs, ended runs that a project must have (5 by default)
-- Columns: title, owner_email, runs, errored, success_rate, failure_streak, last_success_at, has_schedule, project_id
SELECT
    p.title,
    p.owner_email,
    s.runs,
    s.errored,
    round(s.success_rate, 3) AS success_rate,
    s.failure_streak,
    s.last_success_at,
    EXISTS (SELECT 1 FROM project_schedules c WHERE c.project_id = p.project_id AND c.enabled) AS has_schedule,
    p.project_id
FROM run_stats s
JOIN projects p USING (project_id)
WHERE s.run_trigger = 'ALL'
  AND s.runs - s.unfinished >= coalesce(getvariable('min_runs'), 5)::INTEGER
  AND s.success_rate < 1
ORDER BY s.success_rate, s.failure_streak DESC, p.project_id;
