-- audit_objects: acts on folders and inbox rules, and which event tells of which.
--
-- reads    journal, mailbox, object_event
--          killed               when workers were killed, machine time
-- gives    temp tables object_act (one row per act), object_pair
-- used by  outlook_lake.lake.audit
--
-- Nobody is told of folders and rules: they are polled. So a *segment* is what happened to one
-- between two polls that showed it, however long that is; a *chain* the acts on its existence,
-- name, place or contents within. A poll can show no more of a chain than what is left of it.
CREATE OR REPLACE TEMP TABLE object_act AS
WITH rows_of_objects AS (
    SELECT number, at_us, wall_us, mailbox, kind, object_key, action, state, observable
    FROM journal
    WHERE object_key IS NOT NULL
    UNION ALL
    -- An answer with the rules shows each of them, those that are gone too.
    SELECT
        journal.number, at_us, wall_us, mailbox, kind, rules.object_key, action, NULL, observable
    FROM journal
    JOIN (
        SELECT DISTINCT mailbox, object_key
        FROM journal
        WHERE kind = 'act' AND starts_with(action, 'rule_')
    ) AS rules USING (mailbox)
    WHERE kind = 'served' AND field = 'rules'
),
cut AS (
    SELECT
        *,
        kind = 'served' AND NOT is_void AS shows,
        coalesce(sum(CAST(kind = 'served' AND NOT is_void AS INTEGER)) OVER (
            PARTITION BY mailbox, object_key ORDER BY number
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS segment
    FROM (
        SELECT
            rows_of_objects.*,
            -- An answer that led to nothing, see audit_void: its worker was killed, or the
            -- product says itself, by the time an event may reach back to, that it had not asked.
            kind = 'served'
                AND NOT EXISTS (
                    FROM object_event AS event
                    WHERE event.tuid = mailbox.tuid
                      AND event.object_key = rows_of_objects.object_key
                      AND event.observed_us = second_of(rows_of_objects.at_us)
                )
                AND (
                    EXISTS (
                        FROM killed
                        WHERE rows_of_objects.wall_us BETWEEN killed.from_us AND killed.to_us
                    )
                    OR EXISTS (
                        FROM object_event AS event
                        WHERE event.tuid = mailbox.tuid
                          AND event.object_key = rows_of_objects.object_key
                          AND event.earliest_us < second_of(rows_of_objects.at_us)
                          AND event.observed_us > second_of(rows_of_objects.at_us)
                    )
                ) AS is_void
        FROM rows_of_objects
        LEFT JOIN mailbox ON mailbox.aad_id = rows_of_objects.mailbox
    )
),
ends AS (
    SELECT mailbox, object_key, segment, at_us AS shown_us
    FROM cut
    WHERE shows
),
acts AS (
    SELECT
        *,
        split_part(action, '_', 1) AS object_kind,
        CASE split_part(action, '_', 2)
            WHEN 'created' THEN 'birth'
            WHEN 'deleted' THEN 'death'
            ELSE action
        END AS chain_of,
        lag(state) OVER (PARTITION BY mailbox, object_key ORDER BY number) AS state_before
    FROM cut
    WHERE kind = 'act'
),
parted AS (
    SELECT
        *,
        -- A folder's state is its name and its place, a rule's is one.
        CASE chain_of
            WHEN 'folder_renamed' THEN split_part(state, ' ', 1)
            WHEN 'folder_moved' THEN split_part(state, ' ', 2)
            ELSE state
        END AS part,
        CASE chain_of
            WHEN 'folder_renamed' THEN split_part(state_before, ' ', 1)
            WHEN 'folder_moved' THEN split_part(state_before, ' ', 2)
            ELSE state_before
        END AS part_before
    FROM acts
),
chained AS (
    SELECT
        parted.*,
        ends.shown_us,
        lead(number) OVER chain IS NULL AS is_last,
        row_number() OVER chain > 1 AND part = first_value(part_before) OVER chain AS is_undone,
        bool_or(chain_of = 'birth') OVER whole AS has_birth,
        bool_or(chain_of = 'death') OVER whole AS has_death,
        max(at_us) FILTER (chain_of = 'death') OVER whole AS death_us
    FROM parted
    LEFT JOIN ends USING (mailbox, object_key, segment)
    WINDOW
        chain AS (PARTITION BY mailbox, object_key, segment, chain_of ORDER BY number),
        whole AS (PARTITION BY mailbox, object_key, segment)
),
scoped AS (
    SELECT
        chained.*,
        mailbox.tuid,
        mailbox.primed_at,
        CASE
            WHEN mailbox.aad_id IS NULL THEN 'unknown'
            WHEN NOT list_contains(mailbox.streams, object_kind || 's') THEN 'switched off'
            WHEN mailbox.watch_from IS NOT NULL THEN 'watched'
            WHEN mailbox.state IN ('parked', 'leaving', 'erased') THEN mailbox.state
            ELSE 'not watched'
        END AS scope,
        second_of(at_us) - second_of(mailbox.watch_from) AS since_watch_us
    FROM chained
    LEFT JOIN mailbox ON mailbox.aad_id = chained.mailbox
)
SELECT
    *,
    observable AND (scope IN ('unknown', 'not watched') OR scope = 'watched' AND since_watch_us > 0)
        AS expected,
    has_birth AND has_death AS is_gone_unseen,
    NOT is_last
        OR is_undone
        OR has_birth AND chain_of <> 'birth'
        OR has_death AND chain_of <> 'death' AS is_overtaken,
    scope = 'watched' AND since_watch_us >= 0
        AND NOT is_gone_unseen AND NOT is_overtaken AS matchable,
    scope = 'watched' AND (primed_at IS NULL OR at_us <= primed_at) AS is_before_primed,
    -- A folder or a rule comes and goes once. That it is gone may be told by a poll that asked
    -- for it by its id later.
    CASE
        WHEN chain_of IN ('birth', 'death') THEN 0
        ELSE second_of(coalesce(shown_us, at_us))
    END AS shown_second
FROM scoped;

-- As for messages: an event belongs to the latest act that had been shown when Graph answered.
CREATE OR REPLACE TEMP TABLE object_pair AS
WITH latest AS (
    SELECT
        event.event_row,
        max(act.shown_second) AS shown_second
    FROM object_event AS event
    JOIN object_act AS act
        ON act.matchable
        AND act.tuid = event.tuid
        AND act.object_key = event.object_key
        AND act.action = event.action
        AND act.shown_second <= event.observed_us
    GROUP BY event.event_row
),
ranked_events AS (
    SELECT
        event.*,
        latest.shown_second,
        row_number() OVER (
            PARTITION BY tuid, object_key, action, shown_second ORDER BY seq, event.event_row
        ) AS place
    FROM object_event AS event
    JOIN latest ON latest.event_row = event.event_row
),
ranked_acts AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY tuid, object_key, action, shown_second ORDER BY number
        ) AS place
    FROM object_act
    WHERE matchable
)
SELECT
    ranked_events.event_row,
    ranked_acts.number
FROM ranked_events
JOIN ranked_acts USING (tuid, object_key, action, shown_second, place)
