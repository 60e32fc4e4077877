-- What changed since the snapshot before the last?
-- Columns: change, kind, name, detail, id
WITH last_two AS (
    SELECT DISTINCT snapshot FROM projects_history ORDER BY snapshot DESC LIMIT 2
),
now AS (SELECT max(snapshot) AS snapshot FROM last_two),
before AS (SELECT min(snapshot) AS snapshot FROM last_two HAVING count(*) = 2),
projects_now AS (SELECT * FROM projects_history WHERE snapshot = (SELECT snapshot FROM now)),
projects_before AS (SELECT * FROM projects_history WHERE snapshot = (SELECT snapshot FROM before)),
lineage_now AS (SELECT * FROM lineage_history WHERE snapshot = (SELECT snapshot FROM now)),
lineage_before AS (SELECT * FROM lineage_history WHERE snapshot = (SELECT snapshot FROM before))
SELECT 'added' AS change, 'project' AS kind, n.title AS name, n.owner_email AS detail, n.project_id AS id
FROM projects_now n ANTI JOIN projects_before USING (project_id)
WHERE EXISTS (SELECT 1 FROM before WHERE snapshot IS NOT NULL)
UNION ALL
SELECT 'removed', 'project', b.title, b.owner_email, b.project_id
FROM projects_before b ANTI JOIN projects_now USING (project_id)
UNION ALL
SELECT 'changed', 'project', n.title,
       concat_ws(', ',
           CASE WHEN n.title IS DISTINCT FROM b.title THEN 'title' END,
           CASE WHEN n.owner_email IS DISTINCT FROM b.owner_email THEN 'owner' END,
           CASE WHEN n.status IS DISTINCT FROM b.status THEN 'status' END,
           CASE WHEN n.last_edited_at IS DISTINCT FROM b.last_edited_at THEN 'edited' END,
           CASE WHEN n.last_published_at IS DISTINCT FROM b.last_published_at THEN 'published' END,
           CASE WHEN n.archived_at IS DISTINCT FROM b.archived_at THEN 'archived' END,
           CASE WHEN n.trashed_at IS DISTINCT FROM b.trashed_at THEN 'trashed' END) AS detail,
       n.project_id
FROM projects_now n JOIN projects_before b USING (project_id)
WHERE (n.title, n.owner_email, n.status, n.last_edited_at, n.last_published_at, n.archived_at, n.trashed_at)
      IS DISTINCT FROM (b.title, b.owner_email, b.status, b.last_edited_at, b.last_published_at, b.archived_at, b.trashed_at)
UNION ALL
SELECT 'added', 'lineage', n.project_title, n.table_key, n.project_id
FROM lineage_now n ANTI JOIN lineage_before b
    ON b.project_id = n.project_id AND b.table_key = n.table_key AND b.data_connection_id IS NOT DISTINCT FROM n.data_connection_id
WHERE EXISTS (SELECT 1 FROM before WHERE snapshot IS NOT NULL)
UNION ALL
SELECT 'removed', 'lineage', b.project_title, b.table_key, b.project_id
FROM lineage_before b ANTI JOIN lineage_now n
    ON b.project_id = n.project_id AND b.table_key = n.table_key AND b.data_connection_id IS NOT DISTINCT FROM n.data_connection_id
ORDER BY kind DESC, change, name, detail, id;
