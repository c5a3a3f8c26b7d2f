-- acts: what is played, in order. A send stands for its own record and for those of its
-- recipients; a message of a sender without a mailbox arrives in each recipient's mailbox.
--
-- reads    judged, holders, busiest, days_played
-- grain    one row per act
-- params   $folded            lay everything on one day, or keep the dates
--          $midnight          local midnight of that day, as a local timestamp
--          $zone              IANA zone of the local times
-- used by  graph_simulator.traffic.laying
WITH records AS (
    SELECT holders.message_no, holders.address, holders.role
    FROM holders
    WHERE holders.address IN (SELECT address FROM busiest)
        AND CAST(holders.local_at AS DATE) IN (SELECT day FROM days_played)
),
sends AS (
    SELECT
        message_no,
        max(address) FILTER (role = 'sent') AS address,
        count(*) AS records
    FROM records
    GROUP BY message_no
    HAVING count(*) FILTER (role = 'sent') > 0
),
acts AS (
    SELECT message_no, address, 'send' AS do, records
    FROM sends
    UNION ALL
    SELECT message_no, address, 'receive' AS do, 1 AS records
    FROM records
    WHERE message_no NOT IN (SELECT message_no FROM sends)
)
SELECT
    epoch_us(CASE
        WHEN $folded THEN timezone(
            $zone, $midnight + (judged.local_at - date_trunc('day', judged.local_at))
        )
        ELSE judged.sent_at
    END) AS at_us,
    acts.address,
    acts.do,
    CAST(acts.records AS INTEGER) AS records,
    acts.message_no
FROM acts
JOIN judged ON judged.message_no = acts.message_no
ORDER BY at_us, judged.message_id, acts.address;
