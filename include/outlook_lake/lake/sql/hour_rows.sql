-- hour_rows: the events of one tenant and hour, in the order of its file.
--
-- reads    $files               batches of the event log that hold rows of this hour
-- params   $domain_id, $hour
-- grain    one row per event
-- used by  outlook_lake.lake.hour_writer, when no event id stands in two batches
--
-- Row groups of other hours are skipped by their statistics. event_id ends the sort key so
-- that the order is total: the same rows give the same bytes.
SELECT * EXCLUDE (domain_id, hour)
FROM read_parquet($files, hive_partitioning = false)
WHERE domain_id = $domain_id
  AND hour = $hour
ORDER BY tuid, timestamp, seq, event_id
