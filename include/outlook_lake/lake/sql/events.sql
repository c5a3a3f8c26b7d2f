-- events: every event of every sealed hour, whole hours only.
--
-- reads    {sealed}             lake/events/domain_id=…/event_date=…/event_hour=HH/events.parquet
-- grain    one row per event
-- used by  the view `events`
--
-- Filters on domain_id, hour, event_date or event_hour open only the files they need.
SELECT
    domain_id,
    strftime(event_date, '%Y-%m-%d') || 'T' || event_hour AS hour,
    event_date,
    event_hour,
    * EXCLUDE (domain_id, event_date, event_hour)
FROM read_parquet(
    {sealed},
    hive_partitioning = true,
    hive_types = {{'domain_id': VARCHAR, 'event_date': DATE, 'event_hour': VARCHAR}}
)
