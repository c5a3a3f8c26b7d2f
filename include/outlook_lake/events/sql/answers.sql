-- answers: what becomes of the hints that led to these looks, and which looks ask for another.
--
-- grain    one row per observation that answers a hint, or is postponed to one
-- keys     mailbox_id, item_key
-- reads    temp table compared
-- used by  outlook_lake.events.diff
--
-- once_more   an `updated` hint whose look shows no difference: replication lag, asked again once;
--             or an answer dated before what is known: it answers nothing, asked until it does
-- postponed   a row of delta that must be looked at instead
-- gone_unseen an item nobody knew and that is not there: an outcome, never an event
SELECT
    mailbox_id,
    item_key,
    item_id,
    hint_count,
    seen_at,
    hint_first_at,
    postponed,
    NOT known AND gone AS gone_unseen,
    stale OR (NOT gone AND known AND len(changes) = 0
        AND (hint_kinds & 3) = 2 AND hint_attempts = 0) AS once_more
FROM compared
WHERE hint_kinds <> 0 OR postponed
