-- untraced: messages a trace tells of that no event of their mailbox tells of.
--
-- reads    traced               (tuid, internet_message_id, mailbox_id, at) of the trace
--          events_live
-- grain    one row per message and mailbox without an event
-- params   $domain_id, $since, $until   hours, half-open: the trace's and a margin around them
-- used by  outlook_lake.coverage.trace
SELECT
    traced.mailbox_id,
    traced.at
FROM traced
ANTI JOIN (
    SELECT DISTINCT
        tuid,
        internet_message_id
    FROM events_live
    WHERE domain_id = $domain_id
      AND hour >= $since
      AND hour < $until
      AND internet_message_id IS NOT NULL
) AS told
    ON told.tuid = traced.tuid AND told.internet_message_id = traced.internet_message_id
ORDER BY traced.mailbox_id, traced.at
