-- holders: who has a record of which message, among internal addresses, in the hours played.
--
-- reads    judged
-- grain    one row per (message, internal address, role)
-- params   $from_hour, $to_hour   local hours of the day, half-open
-- used by  graph_simulator.traffic.laying
--
-- No company's name is known here: a domain is internal if an internal sender wrote from it,
-- or from a domain above it.
CREATE TABLE holders AS
WITH home AS (
    SELECT DISTINCT split_part(sender, '@', 2) AS domain
    FROM judged
    WHERE sender_internal AND unplayable IS NULL
),
played AS (
    SELECT message_no, sender, sender_internal, to_list, cc_list, local_at
    FROM judged
    WHERE unplayable IS NULL
        AND hour(local_at) >= $from_hour
        AND hour(local_at) < $to_hour
),
received AS (
    SELECT
        message_no,
        local_at,
        unnest(list_concat(to_list, cc_list)) AS address
    FROM played
),
inside AS (
    SELECT DISTINCT seen.domain
    FROM (SELECT DISTINCT split_part(address, '@', 2) AS domain FROM received) AS seen
    JOIN home ON seen.domain = home.domain OR ends_with(seen.domain, '.' || home.domain)
)
SELECT message_no, local_at, sender AS address, 'sent' AS role
FROM played
WHERE sender_internal
UNION ALL
SELECT message_no, local_at, address, 'received' AS role
FROM received
WHERE split_part(address, '@', 2) IN (SELECT domain FROM inside);
