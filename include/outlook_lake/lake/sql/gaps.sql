-- gaps: who may have lost what, from when to when, and what became of it.
--
-- reads    {gaps}               lake/gaps/*/gaps.parquet, replaced when a gap changes
-- grain    one row per gap
-- used by  the view `gaps`
SELECT *
FROM read_parquet({gaps}, hive_partitioning = false)
