-- The newest of each table of this lake, for DuckDB. Start duckdb in this folder (duckdb -init views.sql), or name it first:
-- SET file_search_path = '/path/to/lake';
-- Views over all snapshots (named ..._history) are in history.sql: making them opens every file.

-- Findings of the audit's rules, by the settings of the export, including those that exceptions accept
CREATE OR REPLACE VIEW audit_findings AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/audit_findings.parquet', hive_partitioning = false);
COMMENT ON VIEW audit_findings IS 'Findings of the audit''s rules, by the settings of the export, including those that exceptions accept';

-- The audit's rules: whether each could be evaluated, what it left out, how much it found
CREATE OR REPLACE VIEW audit_rules AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/audit_rules.parquet', hive_partitioning = false);
COMMENT ON VIEW audit_rules IS 'The audit''s rules: whether each could be evaluated, what it left out, how much it found';

-- Cells of drafts that were added, removed or edited between two readings, in the last 90 days
CREATE OR REPLACE VIEW cell_changes AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/cell_changes.parquet', hive_partitioning = false);
COMMENT ON VIEW cell_changes IS 'Cells of drafts that were added, removed or edited between two readings, in the last 90 days';

-- What each cell's warehouse queries used and cost
CREATE OR REPLACE VIEW cell_cost AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/cell_cost.parquet', hive_partitioning = false);
COMMENT ON VIEW cell_cost IS 'What each cell''s warehouse queries used and cost';

-- Which cell reads which other cell's result within a project: chained SQL, and dataframes in code
CREATE OR REPLACE VIEW cell_lineage AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/cell_lineage.parquet', hive_partitioning = false);
COMMENT ON VIEW cell_lineage IS 'Which cell reads which other cell''s result within a project: chained SQL, and dataframes in code';

-- Cells of projects' drafts, with the source of SQL, code and markdown cells
CREATE OR REPLACE VIEW cells AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/cells.parquet', hive_partitioning = false);
COMMENT ON VIEW cells IS 'Cells of projects'' drafts, with the source of SQL, code and markdown cells';

-- Grants on collections
CREATE OR REPLACE VIEW collection_sharing AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/collection_sharing.parquet', hive_partitioning = false);
COMMENT ON VIEW collection_sharing IS 'Grants on collections';

-- Collections of projects
CREATE OR REPLACE VIEW collections AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/collections.parquet', hive_partitioning = false);
COMMENT ON VIEW collections IS 'Collections of projects';

-- Columns of warehouse tables that projects' SQL cells read
CREATE OR REPLACE VIEW column_lineage AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/column_lineage.parquet', hive_partitioning = false);
COMMENT ON VIEW column_lineage IS 'Columns of warehouse tables that projects'' SQL cells read';

-- Components that the drafts of projects import, by the projects' exported files
CREATE OR REPLACE VIEW component_imports AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/component_imports.parquet', hive_partitioning = false);
COMMENT ON VIEW component_imports IS 'Components that the drafts of projects import, by the projects'' exported files';

-- What each data connection is used for
CREATE OR REPLACE VIEW connection_usage AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/connection_usage.parquet', hive_partitioning = false);
COMMENT ON VIEW connection_usage IS 'What each data connection is used for';

-- What the crawl asked for and with what result, by operation and project or group
CREATE OR REPLACE VIEW crawl_coverage AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/crawl_coverage.parquet', hive_partitioning = false);
COMMENT ON VIEW crawl_coverage IS 'What the crawl asked for and with what result, by operation and project or group';

-- Grants on data connections
CREATE OR REPLACE VIEW data_connection_sharing AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/data_connection_sharing.parquet', hive_partitioning = false);
COMMENT ON VIEW data_connection_sharing IS 'Grants on data connections';

-- Data connections, with their settings where the token may see them; no secrets
CREATE OR REPLACE VIEW data_connections AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/data_connections.parquet', hive_partitioning = false);
COMMENT ON VIEW data_connections IS 'Data connections, with their settings where the token may see them; no secrets';

-- Drafts of guides for Hex's agents
CREATE OR REPLACE VIEW draft_guides AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/draft_guides.parquet', hive_partitioning = false);
COMMENT ON VIEW draft_guides IS 'Drafts of guides for Hex''s agents';

-- Who can open which project, and through which grant; grants to groups and collections are expanded to people
CREATE OR REPLACE VIEW effective_access AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/effective_access.parquet', hive_partitioning = false);
COMMENT ON VIEW effective_access IS 'Who can open which project, and through which grant; grants to groups and collections are expanded to people';

-- Warehouse tables that executed queries read and wrote, by day (UTC); a query counts for each of its tables
CREATE OR REPLACE VIEW executed_tables AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/executed_tables.parquet', hive_partitioning = false);
COMMENT ON VIEW executed_tables IS 'Warehouse tables that executed queries read and wrote, by day (UTC); a query counts for each of its tables';

-- Members of groups
CREATE OR REPLACE VIEW group_members AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/group_members.parquet', hive_partitioning = false);
COMMENT ON VIEW group_members IS 'Members of groups';

-- Groups of users
CREATE OR REPLACE VIEW groups AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/groups.parquet', hive_partitioning = false);
COMMENT ON VIEW groups IS 'Groups of users';

-- Days (UTC) of which query histories were imported, by connection: the watermark of the next extraction
CREATE OR REPLACE VIEW history_days AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/history_days.parquet', hive_partitioning = false);
COMMENT ON VIEW history_days IS 'Days (UTC) of which query histories were imported, by connection: the watermark of the next extraction';

-- Warehouse tables that projects read or write, by Hex's queried tables, the cells' SQL, imported components and executed queries
CREATE OR REPLACE VIEW lineage AS SELECT *, regexp_replace(replace(trim(CAST(evidence AS VARCHAR), '[]'), '"', ''), ', ?', '+', 'g') AS evidence_text FROM read_parquet('snapshot=2026-11-02T060001Z/lineage.parquet', hive_partitioning = false);
COMMENT ON VIEW lineage IS 'Warehouse tables that projects read or write, by Hex''s queried tables, the cells'' SQL, imported components and executed queries';

-- Categories of projects
CREATE OR REPLACE VIEW project_categories AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/project_categories.parquet', hive_partitioning = false);
COMMENT ON VIEW project_categories IS 'Categories of projects';

-- What each project's warehouse queries used and cost, by context, user and day (UTC)
CREATE OR REPLACE VIEW project_cost AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/project_cost.parquet', hive_partitioning = false);
COMMENT ON VIEW project_cost IS 'What each project''s warehouse queries used and cost, by context, user and day (UTC)';

-- Edits and publications of projects that successive snapshots have seen, in the last 400 days, and the last of each project
CREATE OR REPLACE VIEW project_edits AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/project_edits.parquet', hive_partitioning = false);
COMMENT ON VIEW project_edits IS 'Edits and publications of projects that successive snapshots have seen, in the last 400 days, and the last of each project';

-- Schedules of projects
CREATE OR REPLACE VIEW project_schedules AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/project_schedules.parquet', hive_partitioning = false);
COMMENT ON VIEW project_schedules IS 'Schedules of projects';

-- Grants on projects: to users, groups, collections, the workspace, the public web and Hex's support
CREATE OR REPLACE VIEW project_sharing AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/project_sharing.parquet', hive_partitioning = false);
COMMENT ON VIEW project_sharing IS 'Grants on projects: to users, groups, collections, the workspace, the public web and Hex''s support';

-- Projects and components, including archived and trashed ones
CREATE OR REPLACE VIEW projects AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/projects.parquet', hive_partitioning = false);
COMMENT ON VIEW projects IS 'Projects and components, including archived and trashed ones';

-- Warehouse tables that a project's published runs have queried (Enterprise plan)
CREATE OR REPLACE VIEW queried_tables AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/queried_tables.parquet', hive_partitioning = false);
COMMENT ON VIEW queried_tables IS 'Warehouse tables that a project''s published runs have queried (Enterprise plan)';

-- Warehouse queries that Hex sent, added up by day (UTC), project, cell, context, user and outcome
CREATE OR REPLACE VIEW query_days AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/query_days.parquet', hive_partitioning = false);
COMMENT ON VIEW query_days IS 'Warehouse queries that Hex sent, added up by day (UTC), project, cell, context, user and outcome';

-- Warehouse queries that Hex sent, added up by fingerprint (the query without literals and layout) and project
CREATE OR REPLACE VIEW query_fingerprints AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/query_fingerprints.parquet', hive_partitioning = false);
COMMENT ON VIEW query_fingerprints IS 'Warehouse queries that Hex sent, added up by fingerprint (the query without literals and layout) and project';

-- Queries of scheduled, API and app runs that ran again on a day (UTC), with the same text, rows and bytes: a cached result would have done
CREATE OR REPLACE VIEW query_repeats AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/query_repeats.parquet', hive_partitioning = false);
COMMENT ON VIEW query_repeats IS 'Queries of scheduled, API and app runs that ran again on a day (UTC), with the same text, rows and bytes: a cached result would have done';

-- Warehouse queries that Hex sent, added up by the trace that they belong to
CREATE OR REPLACE VIEW query_runs AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/query_runs.parquet', hive_partitioning = false);
COMMENT ON VIEW query_runs IS 'Warehouse queries that Hex sent, added up by the trace that they belong to';

-- What the warehouse queries of each run used and cost; of queries that belong to no known run, by trace
CREATE OR REPLACE VIEW run_cost AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/run_cost.parquet', hive_partitioning = false);
COMMENT ON VIEW run_cost IS 'What the warehouse queries of each run used and cost; of queries that belong to no known run, by trace';

-- Runs of each project by the day (UTC) that they started on, and by trigger
CREATE OR REPLACE VIEW run_daily AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/run_daily.parquet', hive_partitioning = false);
COMMENT ON VIEW run_daily IS 'Runs of each project by the day (UTC) that they started on, and by trigger';

-- How each project's runs of the last 7 days compare with those of the 60 days before
CREATE OR REPLACE VIEW run_health AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/run_health.parquet', hive_partitioning = false);
COMMENT ON VIEW run_health IS 'How each project''s runs of the last 7 days compare with those of the 60 days before';

-- Outcomes and durations of each project's runs, by trigger and overall (trigger ALL); quantiles interpolate linearly
CREATE OR REPLACE VIEW run_stats AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/run_stats.parquet', hive_partitioning = false);
COMMENT ON VIEW run_stats IS 'Outcomes and durations of each project''s runs, by trigger and overall (trigger ALL); quantiles interpolate linearly';

-- Runs of projects: started over the API, by schedule, or by publishing or refreshing an app
CREATE OR REPLACE VIEW runs AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/runs.parquet', hive_partitioning = false);
COMMENT ON VIEW runs IS 'Runs of projects: started over the API, by schedule, or by publishing or refreshing an app';

-- SQL cells, and whether they could be parsed for lineage
CREATE OR REPLACE VIEW sql_cells AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/sql_cells.parquet', hive_partitioning = false);
COMMENT ON VIEW sql_cells IS 'SQL cells, and whether they could be parsed for lineage';

-- Columns of warehouse tables that SQL cells read, and how each was attributed to its table
CREATE OR REPLACE VIEW sql_columns AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/sql_columns.parquet', hive_partitioning = false);
COMMENT ON VIEW sql_columns IS 'Columns of warehouse tables that SQL cells read, and how each was attributed to its table';

-- Warehouse tables that SQL cells read and write, according to their SQL
CREATE OR REPLACE VIEW sql_tables AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/sql_tables.parquet', hive_partitioning = false);
COMMENT ON VIEW sql_tables IS 'Warehouse tables that SQL cells read and write, according to their SQL';

-- Who reads and writes each warehouse table, and how much
CREATE OR REPLACE VIEW table_usage AS SELECT * FROM read_parquet('snapshot=2026-11-02T060001Z/table_usage.parquet', hive_partitioning = false);
COMMENT ON VIEW table_usage IS 'Who reads and writes each warehouse table, and how much';

-- Agent threads, without their messages (managers and admins only)
CREATE OR REPLACE VIEW threads AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/threads.parquet', hive_partitioning = false);
COMMENT ON VIEW threads IS 'Agent threads, without their messages (managers and admins only)';

-- Topics of agent threads
CREATE OR REPLACE VIEW topics AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/topics.parquet', hive_partitioning = false);
COMMENT ON VIEW topics IS 'Topics of agent threads';

-- What each person owns and does, including people who left but still own or created something
CREATE OR REPLACE VIEW user_activity AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/user_activity.parquet', hive_partitioning = false);
COMMENT ON VIEW user_activity IS 'What each person owns and does, including people who left but still own or created something';

-- Users of the workspace, except deactivated ones
CREATE OR REPLACE VIEW users AS SELECT * FROM read_parquet('snapshot=2026-11-02T060000Z/users.parquet', hive_partitioning = false);
COMMENT ON VIEW users IS 'Users of the workspace, except deactivated ones';

-- Queries that Hex sent to warehouses, from their query histories; a snapshot holds those of one import
CREATE OR REPLACE VIEW warehouse_queries AS SELECT * FROM read_parquet('snapshot=*/warehouse_queries.parquet', hive_partitioning = false, union_by_name = true);
COMMENT ON VIEW warehouse_queries IS 'Queries that Hex sent to warehouses, from their query histories; a snapshot holds those of one import';
