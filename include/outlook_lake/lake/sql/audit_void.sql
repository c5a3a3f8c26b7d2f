-- audit_void: answers of Graph that led to nothing, because their worker died before the commit.
--
-- reads    act, pair, event     as matched so far
--          killed               when workers were killed, machine time
-- grain    one row per answer (its journal number)
-- gives    rows for the temp table void
-- used by  outlook_lake.lake.audit, between one matching and the next
--
-- What such an answer showed had to be asked again; until then it could be overtaken. An answer
-- is void if no event of the item bears its time, and either what it showed is told by events
-- of a later answer that showed another state, or a worker was killed when it came.
WITH answers AS (
    SELECT DISTINCT
        tuid,
        item_key,
        segment,
        shown_number,
        shown_second,
        shown_wall_us
    FROM act
    WHERE shown_number IS NOT NULL AND tuid IS NOT NULL
),
told_later AS (
    SELECT DISTINCT act.shown_number
    FROM pair
    JOIN act ON act.number = pair.number
    JOIN event ON event.event_row = pair.event_row
    JOIN answers AS heir
        ON heir.tuid = event.tuid
        AND heir.item_key = event.item_key
        AND heir.shown_second <= event.observed_us
    WHERE heir.shown_number > act.shown_number
)
SELECT answers.shown_number AS number
FROM answers
ANTI JOIN event
    ON event.tuid = answers.tuid
    AND event.item_key = answers.item_key
    AND event.observed_us = answers.shown_second
WHERE answers.shown_number IN (FROM told_later)
   OR EXISTS (
       FROM killed
       WHERE answers.shown_wall_us BETWEEN killed.from_us AND killed.to_us
   )
