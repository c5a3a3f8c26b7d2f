-- audit_pushed: states sent out with rich notifications that nobody used.
--
-- reads    journal, mailbox, event
-- grain    one row per such state (its journal number)
-- gives    rows for the temp table void
-- used by  outlook_lake.lake.audit
--
-- Such a state is taken at an unknown moment and may come late, never, or beside others from
-- which nobody can tell the youngest: then the item was looked at instead, and what the state
-- showed may be overtaken. It counts as shown when an event was made from it: when it is the
-- last state shown before the event was observed.
WITH states AS (
    SELECT
        journal.number,
        journal.kind,
        mailbox.tuid,
        journal.item_key,
        second_of(journal.at_us) AS shown_second
    FROM journal
    JOIN mailbox ON mailbox.aad_id = journal.mailbox
    WHERE journal.kind IN ('served', 'pushed') AND journal.item_key IS NOT NULL
),
used AS (
    SELECT max_by(states.number, (states.shown_second, states.number)) AS number
    FROM event
    JOIN states
        ON states.tuid = event.tuid
        AND states.item_key = event.item_key
        AND states.shown_second <= event.observed_us
    GROUP BY event.event_row
)
SELECT states.number
FROM states
WHERE states.kind = 'pushed' AND states.number NOT IN (SELECT number FROM used)
