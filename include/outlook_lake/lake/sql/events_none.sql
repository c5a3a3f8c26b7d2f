-- events_none: `events` of a lake in which no hour is sealed yet: the columns without a row.
--
-- reads    {schema}             a file with the columns of a batch
-- used by  the view `events`
SELECT
    domain_id,
    hour,
    CAST(NULL AS DATE) AS event_date,
    CAST(NULL AS VARCHAR) AS event_hour,
    * EXCLUDE (domain_id, hour)
FROM read_parquet({schema}, hive_partitioning = false)
WHERE false
