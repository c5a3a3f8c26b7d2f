-- rows_about: how many events carry something of one person, and in how many hours they lie.
--
-- grain    one row: (events, hours)
-- reads    events_live
-- params   $tuids: list of text; $keys: list of 16-byte keyed hashes of addresses
-- used by  outlook_lake.steps.erasing
SELECT
    count(*) AS events,
    count(DISTINCT (domain_id, date_trunc('hour', "timestamp"))) AS hours
FROM events_live
WHERE list_contains($tuids, tuid)
   OR list_contains($tuids, from_tuid)
   OR list_contains($keys, from_key)
   OR len(list_filter(recipients, lambda one: list_contains($keys, one.key))) > 0;
