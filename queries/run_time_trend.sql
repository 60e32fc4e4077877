-- How do run times develop, and which weeks stand out?
-- Set: project, its identifier or title; all projects by default
-- Columns: title, week, runs, failed, median_seconds, usual_seconds, times_usual, is_anomaly, project_id
--          (usual: median of the eight weeks before; an anomaly is a week of at least three runs that took
--          more than twice as long)
WITH weeks AS (
    SELECT
        project_id,
        date_trunc('week', start_time) AS week,
        count(*) AS runs,
        count(*) FILTER (status = 'ERRORED') AS failed,
        median(duration_seconds) AS median_seconds
    FROM runs
    WHERE start_time IS NOT NULL
    GROUP BY ALL
),
compared AS (
    SELECT
        *,
        median(median_seconds) OVER (
            PARTITION BY project_id ORDER BY week ROWS BETWEEN 8 PRECEDING AND 1 PRECEDING
        ) AS usual_seconds
    FROM weeks
)
SELECT
    p.title,
    c.week::DATE AS week,
    c.runs,
    c.failed,
    round(c.median_seconds, 1) AS median_seconds,
    round(c.usual_seconds, 1) AS usual_seconds,
    round(c.median_seconds / c.usual_seconds, 2) AS times_usual,
    coalesce(c.runs >= 3 AND c.median_seconds > 2 * c.usual_seconds, false) AS is_anomaly,
    c.project_id
FROM compared c
JOIN projects p USING (project_id)
WHERE getvariable('project') IS NULL OR p.project_id = getvariable('project') OR p.title = getvariable('project')
ORDER BY is_anomaly DESC, p.title, c.project_id, c.week;
