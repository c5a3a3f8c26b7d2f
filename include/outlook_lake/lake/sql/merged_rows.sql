-- merged_rows: the rows of several batches as one batch holds them.
--
-- reads    $files               the batches
--          sources              (filename, batch_seq) of each
-- grain    one row per event
-- used by  outlook_lake.lake.merge
--
-- The lower batch wins, as it does in export: afterwards nobody can tell which came first.
SELECT events.* EXCLUDE (filename)
FROM read_parquet($files, hive_partitioning = false, filename = true) AS events
JOIN sources ON sources.filename = events.filename
QUALIFY row_number() OVER (
    PARTITION BY domain_id, hour, event_id ORDER BY sources.batch_seq, seq
) = 1
