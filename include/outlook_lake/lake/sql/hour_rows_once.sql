-- hour_rows_once: the events of one tenant and hour, each event id once.
--
-- reads    $files               batches of the event log, and the sealed file if it is a source
--          sources              (filename, batch_seq) of each of them; the sealed file comes first
-- params   $domain_id, $hour, $sealed   path of the sealed file, or NULL
-- grain    one row per event
-- used by  outlook_lake.lake.hour_writer, when ids repeat or old batches were cleared away
--
-- The lower batch wins, so the answer does not depend on how often or when this runs.
SELECT * EXCLUDE (domain_id, hour, filename, batch_seq)
FROM (
    SELECT
        events.*,
        sources.batch_seq
    FROM read_parquet($files, hive_partitioning = false, union_by_name = true, filename = true)
        AS events
    JOIN sources ON sources.filename = events.filename
    WHERE (domain_id = $domain_id AND hour = $hour)
       OR events.filename = $sealed
)
QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY batch_seq, seq) = 1
ORDER BY tuid, timestamp, seq, event_id
