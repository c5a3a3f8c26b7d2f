-- hours: one row per tenant and hour that has, or is to have, a file.
--
-- reads    {hours}              lake/hours/*/hours.parquet, replaced by every export
-- grain    one row per tenant and hour
-- used by  the view `hours`
SELECT *
FROM read_parquet({hours}, hive_partitioning = false)
