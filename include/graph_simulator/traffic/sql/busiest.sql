-- busiest: the internal addresses that get a mailbox, most records first.
--
-- reads    holders
-- grain    one row per mailbox
-- params   $mailboxes         how many
-- used by  graph_simulator.traffic.laying
CREATE TABLE busiest AS
SELECT address, count(*) AS records
FROM holders
GROUP BY address
ORDER BY records DESC, address
LIMIT $mailboxes;
