-- Which tables do projects read that no SQL cell names: by Python, no-code cells, or SQL that code builds?
-- Columns: project_title, owner_email, table_key, evidence, executions, last_executed_at, project_id
SELECT
    project_title,
    owner_email,
    table_key,
    evidence_text AS evidence,
    executions,
    last_executed_at,
    project_id
FROM lineage
WHERE direction = 'read'
  AND executions > 0
  AND NOT list_has_any(string_split(evidence_text, '+'), ['sql', 'scanned'])
ORDER BY executions DESC, project_id, table_key;
