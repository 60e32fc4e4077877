-- Which heavy queries do several projects send, each for itself?
-- Set: min_projects, projects that must send it (2 by default)
-- Columns: fingerprint, warehouse, projects, queries, warehouse_hours, credits, titles
SELECT
    f.fingerprint,
    f.warehouse,
    count(DISTINCT f.project_id) AS projects,
    sum(f.queries)::BIGINT AS queries,
    round(sum(f.seconds) / 3600, 3) AS warehouse_hours,
    round(sum(f.credits), 3) AS credits,
    string_agg(DISTINCT p.title, ', ' ORDER BY p.title) AS titles
FROM query_fingerprints f
LEFT JOIN projects p USING (project_id)
WHERE f.project_id <> ''
GROUP BY f.fingerprint, f.warehouse
HAVING count(DISTINCT f.project_id) >= coalesce(getvariable('min_projects'), 2)::INTEGER
ORDER BY warehouse_hours DESC, f.fingerprint;
