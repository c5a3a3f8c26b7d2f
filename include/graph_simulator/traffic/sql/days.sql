-- days: how many mailbox records each local day of the file holds.
--
-- reads    holders, busiest
-- grain    one row per local day with a record
-- params   none
-- used by  graph_simulator.traffic.laying
SELECT
    CAST(local_at AS DATE) AS day,
    count(*) AS records
FROM holders
WHERE address IN (SELECT address FROM busiest)
GROUP BY day
ORDER BY day;
