-- Lineage as edges, for a graph: table -> project that reads it, and project -> table that it writes
-- Columns: source, source_type, target, target_type, via, evidence
WITH edges AS (
    SELECT *, concat_ws('/', connection_name, table_key) AS warehouse_table, lower(project_type) AS kind FROM lineage
)
SELECT
    CASE direction WHEN 'write' THEN project_title ELSE warehouse_table END AS source,
    CASE direction WHEN 'write' THEN kind ELSE 'table' END AS source_type,
    CASE direction WHEN 'write' THEN warehouse_table ELSE project_title END AS target,
    CASE direction WHEN 'write' THEN 'table' ELSE kind END AS target_type,
    connection_name AS via,
    evidence_text AS evidence
FROM edges
ORDER BY ALL;
