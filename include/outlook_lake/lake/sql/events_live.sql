-- events_live: sealed hours and, seconds after they happened, the events that follow them.
--
-- reads    events, live_hours
--          {log}                batches of the event log; only those live_hours lists are opened
-- grain    one row per event
-- used by  the view `events_live`
--
-- Between the moment an hour's file is replaced and the moment its batches leave the list both
-- are there: a row that the file of its hour already has is left out. The range of dates keeps
-- that comparison from opening more than a few files.
SELECT *
FROM events
UNION ALL BY NAME
SELECT
    fresh.* EXCLUDE (filename),
    CAST(fresh.hour[1:10] AS DATE) AS event_date,
    fresh.hour[12:13] AS event_hour
FROM read_parquet({log}, hive_partitioning = false, filename = true) AS fresh
SEMI JOIN live_hours
    ON live_hours.filename = fresh.filename
    AND live_hours.domain_id = fresh.domain_id
    AND live_hours.hour = fresh.hour
ANTI JOIN (
    SELECT event_id
    FROM events
    SEMI JOIN live_hours USING (domain_id, event_date, event_hour)
    WHERE event_date BETWEEN
        (SELECT min(event_date) FROM live_hours) AND (SELECT max(event_date) FROM live_hours)
) AS sealed
    ON sealed.event_id = fresh.event_id
