-- Each table of this lake in all snapshots, for DuckDB. Start duckdb in this folder (duckdb -init views.sql), or name it first:
-- SET file_search_path = '/path/to/lake';

-- Findings of the audit's rules, by the settings of the export, including those that exceptions accept
CREATE OR REPLACE VIEW audit_findings_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/audit_findings.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW audit_findings_history IS 'Findings of the audit''s rules, by the settings of the export, including those that exceptions accept';

-- The audit's rules: whether each could be evaluated, what it left out, how much it found
CREATE OR REPLACE VIEW audit_rules_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/audit_rules.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW audit_rules_history IS 'The audit''s rules: whether each could be evaluated, what it left out, how much it found';

-- Cells of drafts that were added, removed or edited between two readings, in the last 90 days
CREATE OR REPLACE VIEW cell_changes_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/cell_changes.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW cell_changes_history IS 'Cells of drafts that were added, removed or edited between two readings, in the last 90 days';

-- What each cell's warehouse queries used and cost
CREATE OR REPLACE VIEW cell_cost_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/cell_cost.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW cell_cost_history IS 'What each cell''s warehouse queries used and cost';

-- Which cell reads which other cell's result within a project: chained SQL, and dataframes in code
CREATE OR REPLACE VIEW cell_lineage_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/cell_lineage.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW cell_lineage_history IS 'Which cell reads which other cell''s result within a project: chained SQL, and dataframes in code';

-- Cells of projects' drafts, with the source of SQL, code and markdown cells
CREATE OR REPLACE VIEW cells_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/cells.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW cells_history IS 'Cells of projects'' drafts, with the source of SQL, code and markdown cells';

-- Grants on collections
CREATE OR REPLACE VIEW collection_sharing_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/collection_sharing.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW collection_sharing_history IS 'Grants on collections';

-- Collections of projects
CREATE OR REPLACE VIEW collections_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/collections.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW collections_history IS 'Collections of projects';

-- Columns of warehouse tables that projects' SQL cells read
CREATE OR REPLACE VIEW column_lineage_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/column_lineage.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW column_lineage_history IS 'Columns of warehouse tables that projects'' SQL cells read';

-- Components that the drafts of projects import, by the projects' exported files
CREATE OR REPLACE VIEW component_imports_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/component_imports.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW component_imports_history IS 'Components that the drafts of projects import, by the projects'' exported files';

-- What each data connection is used for
CREATE OR REPLACE VIEW connection_usage_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/connection_usage.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW connection_usage_history IS 'What each data connection is used for';

-- What the crawl asked for and with what result, by operation and project or group
CREATE OR REPLACE VIEW crawl_coverage_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/crawl_coverage.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW crawl_coverage_history IS 'What the crawl asked for and with what result, by operation and project or group';

-- Grants on data connections
CREATE OR REPLACE VIEW data_connection_sharing_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/data_connection_sharing.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW data_connection_sharing_history IS 'Grants on data connections';

-- Data connections, with their settings where the token may see them; no secrets
CREATE OR REPLACE VIEW data_connections_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/data_connections.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW data_connections_history IS 'Data connections, with their settings where the token may see them; no secrets';

-- Drafts of guides for Hex's agents
CREATE OR REPLACE VIEW draft_guides_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/draft_guides.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW draft_guides_history IS 'Drafts of guides for Hex''s agents';

-- Who can open which project, and through which grant; grants to groups and collections are expanded to people
CREATE OR REPLACE VIEW effective_access_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/effective_access.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW effective_access_history IS 'Who can open which project, and through which grant; grants to groups and collections are expanded to people';

-- Warehouse tables that executed queries read and wrote, by day (UTC); a query counts for each of its tables
CREATE OR REPLACE VIEW executed_tables_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/executed_tables.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW executed_tables_history IS 'Warehouse tables that executed queries read and wrote, by day (UTC); a query counts for each of its tables';

-- Members of groups
CREATE OR REPLACE VIEW group_members_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/group_members.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW group_members_history IS 'Members of groups';

-- Groups of users
CREATE OR REPLACE VIEW groups_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/groups.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW groups_history IS 'Groups of users';

-- Days (UTC) of which query histories were imported, by connection: the watermark of the next extraction
CREATE OR REPLACE VIEW history_days_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/history_days.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW history_days_history IS 'Days (UTC) of which query histories were imported, by connection: the watermark of the next extraction';

-- Warehouse tables that projects read or write, by Hex's queried tables, the cells' SQL, imported components and executed queries
CREATE OR REPLACE VIEW lineage_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/lineage.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW lineage_history IS 'Warehouse tables that projects read or write, by Hex''s queried tables, the cells'' SQL, imported components and executed queries';

-- Categories of projects
CREATE OR REPLACE VIEW project_categories_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/project_categories.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW project_categories_history IS 'Categories of projects';

-- What each project's warehouse queries used and cost, by context, user and day (UTC)
CREATE OR REPLACE VIEW project_cost_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/project_cost.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW project_cost_history IS 'What each project''s warehouse queries used and cost, by context, user and day (UTC)';

-- Edits and publications of projects that successive snapshots have seen, in the last 400 days, and the last of each project
CREATE OR REPLACE VIEW project_edits_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/project_edits.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW project_edits_history IS 'Edits and publications of projects that successive snapshots have seen, in the last 400 days, and the last of each project';

-- Schedules of projects
CREATE OR REPLACE VIEW project_schedules_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/project_schedules.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW project_schedules_history IS 'Schedules of projects';

-- Grants on projects: to users, groups, collections, the workspace, the public web and Hex's support
CREATE OR REPLACE VIEW project_sharing_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/project_sharing.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW project_sharing_history IS 'Grants on projects: to users, groups, collections, the workspace, the public web and Hex''s support';

-- Projects and components, including archived and trashed ones
CREATE OR REPLACE VIEW projects_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/projects.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW projects_history IS 'Projects and components, including archived and trashed ones';

-- Warehouse tables that a project's published runs have queried (Enterprise plan)
CREATE OR REPLACE VIEW queried_tables_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/queried_tables.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW queried_tables_history IS 'Warehouse tables that a project''s published runs have queried (Enterprise plan)';

-- Warehouse queries that Hex sent, added up by day (UTC), project, cell, context, user and outcome
CREATE OR REPLACE VIEW query_days_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/query_days.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW query_days_history IS 'Warehouse queries that Hex sent, added up by day (UTC), project, cell, context, user and outcome';

-- Warehouse queries that Hex sent, added up by fingerprint (the query without literals and layout) and project
CREATE OR REPLACE VIEW query_fingerprints_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/query_fingerprints.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW query_fingerprints_history IS 'Warehouse queries that Hex sent, added up by fingerprint (the query without literals and layout) and project';

-- Queries of scheduled, API and app runs that ran again on a day (UTC), with the same text, rows and bytes: a cached result would have done
CREATE OR REPLACE VIEW query_repeats_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/query_repeats.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW query_repeats_history IS 'Queries of scheduled, API and app runs that ran again on a day (UTC), with the same text, rows and bytes: a cached result would have done';

-- Warehouse queries that Hex sent, added up by the trace that they belong to
CREATE OR REPLACE VIEW query_runs_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/query_runs.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW query_runs_history IS 'Warehouse queries that Hex sent, added up by the trace that they belong to';

-- What the warehouse queries of each run used and cost; of queries that belong to no known run, by trace
CREATE OR REPLACE VIEW run_cost_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/run_cost.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW run_cost_history IS 'What the warehouse queries of each run used and cost; of queries that belong to no known run, by trace';

-- Runs of each project by the day (UTC) that they started on, and by trigger
CREATE OR REPLACE VIEW run_daily_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/run_daily.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW run_daily_history IS 'Runs of each project by the day (UTC) that they started on, and by trigger';

-- How each project's runs of the last 7 days compare with those of the 60 days before
CREATE OR REPLACE VIEW run_health_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/run_health.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW run_health_history IS 'How each project''s runs of the last 7 days compare with those of the 60 days before';

-- Outcomes and durations of each project's runs, by trigger and overall (trigger ALL); quantiles interpolate linearly
CREATE OR REPLACE VIEW run_stats_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/run_stats.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW run_stats_history IS 'Outcomes and durations of each project''s runs, by trigger and overall (trigger ALL); quantiles interpolate linearly';

-- Runs of projects: started over the API, by schedule, or by publishing or refreshing an app
CREATE OR REPLACE VIEW runs_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/runs.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW runs_history IS 'Runs of projects: started over the API, by schedule, or by publishing or refreshing an app';

-- SQL cells, and whether they could be parsed for lineage
CREATE OR REPLACE VIEW sql_cells_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/sql_cells.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW sql_cells_history IS 'SQL cells, and whether they could be parsed for lineage';

-- Columns of warehouse tables that SQL cells read, and how each was attributed to its table
CREATE OR REPLACE VIEW sql_columns_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/sql_columns.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW sql_columns_history IS 'Columns of warehouse tables that SQL cells read, and how each was attributed to its table';

-- Warehouse tables that SQL cells read and write, according to their SQL
CREATE OR REPLACE VIEW sql_tables_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/sql_tables.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW sql_tables_history IS 'Warehouse tables that SQL cells read and write, according to their SQL';

-- Who reads and writes each warehouse table, and how much
CREATE OR REPLACE VIEW table_usage_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/table_usage.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW table_usage_history IS 'Who reads and writes each warehouse table, and how much';

-- Agent threads, without their messages (managers and admins only)
CREATE OR REPLACE VIEW threads_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/threads.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW threads_history IS 'Agent threads, without their messages (managers and admins only)';

-- Topics of agent threads
CREATE OR REPLACE VIEW topics_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/topics.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW topics_history IS 'Topics of agent threads';

-- What each person owns and does, including people who left but still own or created something
CREATE OR REPLACE VIEW user_activity_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/user_activity.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW user_activity_history IS 'What each person owns and does, including people who left but still own or created something';

-- Users of the workspace, except deactivated ones
CREATE OR REPLACE VIEW users_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/users.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW users_history IS 'Users of the workspace, except deactivated ones';

-- Queries that Hex sent to warehouses, from their query histories; a snapshot holds those of one import
CREATE OR REPLACE VIEW warehouse_queries_history AS SELECT * EXCLUDE (filename), regexp_extract(filename, 'snapshot=([^/]+)/[^/]+$', 1) AS snapshot FROM read_parquet('snapshot=*/warehouse_queries.parquet', hive_partitioning = false, union_by_name = true, filename = true);
COMMENT ON VIEW warehouse_queries_history IS 'Queries that Hex sent to warehouses, from their query histories; a snapshot holds those of one import';
