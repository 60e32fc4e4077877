-- Which projects that everyone on the web may open read sensitive schemas?
-- Set: sensitive, a regular expression over schema and table (hr, payroll, salaries, finance, private, pii by default)
-- Columns: title, owner_email, web_access, workspace_access, table_key, connection_name, evidence, project_id
SELECT
    l.project_title AS title,
    l.owner_email,
    web.access AS web_access,
    workspace.access AS workspace_access,
    l.table_key,
    l.connection_name,
    l.evidence_text AS evidence,
    l.project_id
FROM lineage l
JOIN project_sharing web
    ON web.project_id = l.project_id AND web.principal_type = 'PUBLIC_WEB' AND web.access <> 'NONE'
LEFT JOIN project_sharing workspace
    ON workspace.project_id = l.project_id AND workspace.principal_type = 'WORKSPACE'
WHERE l.direction = 'read' AND regexp_matches(
    lower(concat_ws('.', l.schema_name, l.table_name)),
    coalesce(getvariable('sensitive'), '(^|[._])(hr|payroll|salaries|salary|finance|private|pii)([._]|$)')
)
ORDER BY l.project_title, l.table_key, l.project_id;
