-- hour_repeats: how many rows of an hour repeat an event id that another row has.
--
-- reads    $files               batches of the event log, and the sealed file if it is a source
-- params   $domain_id, $hour, $sealed   path of the sealed file, or NULL
-- grain    one row
-- used by  outlook_lake.lake.hour_writer
--
-- Hashes are compared because they are cheap; two ids with one hash only lead to the careful
-- query, which compares ids.
SELECT
    count(*) AS rows,
    count(*) - count(DISTINCT hash(event_id)) AS repeats
FROM read_parquet($files, hive_partitioning = false, union_by_name = true, filename = true)
WHERE (domain_id = $domain_id AND hour = $hour)
   OR filename = $sealed
