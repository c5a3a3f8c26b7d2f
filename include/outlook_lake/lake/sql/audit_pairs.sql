-- audit_pairs: which event tells of which act.
--
-- reads    act, event
-- grain    one row per event that belongs to an act
-- gives    temp table pair
-- used by  outlook_lake.lake.audit
--
-- Acts and events are matched by (mailbox, item, action). Within these an event belongs to the
-- latest act that had been shown when Graph answered; more than one in that second, in order.
CREATE OR REPLACE TEMP TABLE pair AS
WITH shown AS (
    SELECT DISTINCT tuid, item_key, seen_action, shown_second
    FROM act
    WHERE matchable
),
latest AS (
    -- Not ASOF JOIN: in DuckDB 2.0.0 it misses some rows of large tables, others at each run.
    SELECT
        event.event_row,
        max(shown.shown_second) AS shown_second
    FROM event
    JOIN shown
        ON shown.tuid = event.tuid
        AND shown.item_key = event.item_key
        AND shown.seen_action = event.action
        AND shown.shown_second <= event.observed_us
    GROUP BY event.event_row
),
dated AS (
    SELECT
        event.*,
        latest.shown_second
    FROM event
    LEFT JOIN latest ON latest.event_row = event.event_row
),
ranked_events AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY tuid, item_key, action, shown_second ORDER BY seq, event_row
        ) AS place
    FROM dated
),
ranked_acts AS (
    SELECT
        number,
        tuid,
        item_key,
        seen_action,
        shown_second,
        row_number() OVER (
            PARTITION BY tuid, item_key, seen_action, shown_second ORDER BY number
        ) AS place
    FROM act
    WHERE matchable
)
SELECT
    ranked_events.event_row,
    ranked_acts.number
FROM ranked_events
JOIN ranked_acts
    ON ranked_acts.tuid = ranked_events.tuid
    AND ranked_acts.item_key = ranked_events.item_key
    AND ranked_acts.seen_action = ranked_events.action
    AND ranked_acts.shown_second = ranked_events.shown_second
    AND ranked_acts.place = ranked_events.place
