-- live_hours: which committed batches hold rows that no sealed file has, hour by hour.
--
-- reads    {live}               log/live.parquet, replaced after every commit
-- params   {home}               the folder its paths start from
-- grain    one row per batch and hour
-- used by  the view `events_live`
SELECT
    {home} || '/' || path AS filename,
    domain_id,
    hour,
    CAST(hour[1:10] AS DATE) AS event_date,
    hour[12:13] AS event_hour,
    seq AS batch_seq,
    rows
FROM read_parquet({live}, hive_partitioning = false)
