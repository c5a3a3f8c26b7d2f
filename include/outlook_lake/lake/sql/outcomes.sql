-- outcomes: what was announced and could not be looked at any more.
--
-- reads    {outcomes}           lake/outcomes/*/outcomes.parquet, replaced when it changes
-- grain    one row per item, mailbox and kind
-- used by  the view `outcomes`
SELECT *
FROM read_parquet({outcomes}, hive_partitioning = false)
