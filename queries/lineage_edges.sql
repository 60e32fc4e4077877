-- Lineage as edges, for a graph: table -> project
-- Columns: source, source_type, target, target_type, via, evidence
SELECT
    concat_ws('/', l.connection_name, l.table_key) AS source,
    'table' AS source_type,
    l.project_title AS target,
    lower(l.project_type) AS target_type,
    l.connection_name AS via,
    l.evidence
FROM lineage l
ORDER BY ALL;
