-- rounds: how far each mailbox is proven, and by what: the evidence behind `hours`.
--
-- reads    {rounds}             lake/rounds/*/rounds.parquet, replaced when it changes
-- grain    one row per mailbox that was ever watched
-- used by  the view `rounds`
SELECT *
FROM read_parquet({rounds}, hive_partitioning = false)
