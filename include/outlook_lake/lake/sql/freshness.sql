-- freshness: how soon after it happened an event was committed, over the newest batches.
--
-- reads    $files               the newest batches of the event log
--          batches              (filename, committed_us) of each
-- grain    one row
-- used by  outlook_lake.lake.status
--
-- Only events a notification led to count: rounds and priming find what is old by nature. Both
-- ends are Graph time.
SELECT
    max(epoch_us(timestamp)) AS newest_us,
    count(*) FILTER (sighting = 'notification') AS events,
    round(quantile_cont((committed_us - epoch_us(timestamp)) / 1e6, 0.5)
        FILTER (sighting = 'notification'), 1) AS p50_s,
    round(quantile_cont((committed_us - epoch_us(timestamp)) / 1e6, 0.95)
        FILTER (sighting = 'notification'), 1) AS p95_s
FROM read_parquet($files, hive_partitioning = false, filename = true) AS events
JOIN batches ON batches.filename = events.filename
