-- Which projects have failed since an edit? They succeeded before it, and every run that has ended since failed or got no
-- kernel; cancelled runs don't count.
-- Columns: title, owner_email, change, changed_at, certain, last_success_at, first_failure_at, failures, worked_version, failing_version, has_schedule, observed_in, project_id
--          (one row for each project and change, edited or published. certain: false where the change came after the first
--          failure, but there may have been an earlier one that no snapshot saw. Runs use the published version.)
WITH ended AS (
    SELECT project_id, project_version, coalesce(start_time, ordered_at) AS ran_at, status = 'COMPLETED' AS succeeded
    FROM runs
    WHERE status IN ('COMPLETED', 'ERRORED', 'UNABLE_TO_ALLOCATE_KERNEL')
),
successes AS (
    SELECT project_id, max(ran_at) AS last_success_at, arg_max(project_version, ran_at) AS worked_version
    FROM ended
    WHERE succeeded AND ran_at IS NOT NULL
    GROUP BY project_id
),
failing AS (
    SELECT
        e.project_id,
        any_value(s.last_success_at) AS last_success_at,
        any_value(s.worked_version) AS worked_version,
        min(e.ran_at) AS first_failure_at,
        count(*) AS failures,
        arg_max(e.project_version, e.ran_at) AS failing_version
    FROM ended e
    JOIN successes s ON s.project_id = e.project_id AND e.ran_at > s.last_success_at
    WHERE NOT e.succeeded
    GROUP BY e.project_id
)
SELECT
    p.title,
    p.owner_email,
    c.change,
    c.changed_at,
    c.changed_at <= f.first_failure_at AS certain,
    f.last_success_at,
    f.first_failure_at,
    f.failures,
    f.worked_version,
    f.failing_version,
    EXISTS (SELECT 1 FROM project_schedules s WHERE s.project_id = p.project_id AND s.enabled) AS has_schedule,
    c.observed_in,
    p.project_id
FROM failing f
JOIN projects p ON p.project_id = f.project_id
JOIN project_edits c
    ON c.project_id = f.project_id
    AND c.changed_at > f.last_success_at
    AND (c.changed_at <= f.first_failure_at OR c.unseen_until < f.first_failure_at)
WHERE p.archived_at IS NULL
  AND p.trashed_at IS NULL
QUALIFY row_number() OVER (PARTITION BY p.project_id, c.change ORDER BY certain DESC, c.changed_at DESC) = 1
ORDER BY certain DESC, f.failures DESC, p.title, p.project_id, c.change;
