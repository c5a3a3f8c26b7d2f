-- audit_acts: what people did, and what of it the product could see.
--
-- reads    journal, mailbox
--          void                 answers that never counted, see audit_void and audit_pushed
-- grain    one row per act on a message
-- macros   window_us()          60 machine seconds: what is quicker may be overtaken
-- gives    temp table act
-- used by  outlook_lake.lake.audit
--
-- Words: a *segment* is what happened to an item between two answers of Graph that showed its
-- state; a *chain* is the acts on one field within a segment. Nobody can see more of a chain
-- than what is left of it at the end: its last act, if the field differs from before.
CREATE OR REPLACE TEMP TABLE act AS
WITH rows_of_items AS (
    SELECT
        *,
        last_value(CASE WHEN kind = 'act' THEN state END IGNORE NULLS) OVER (
            earlier ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS state_before
    FROM journal
    WHERE item_key IS NOT NULL
    WINDOW earlier AS (PARTITION BY mailbox, item_key ORDER BY number)
),
told AS (
    SELECT
        *,
        -- An answer that lags behind shows an older state: what happened since stays unseen.
        kind IN ('served', 'pushed')
            AND (state_before IS NULL OR state = state_before)
            AND number NOT IN (FROM void) AS shows
    FROM rows_of_items
),
cut AS (
    SELECT
        *,
        coalesce(sum(CAST(shows AS INTEGER)) OVER (
            PARTITION BY mailbox, item_key ORDER BY number
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS segment
    FROM told
),
ends AS (
    SELECT
        mailbox,
        item_key,
        segment,
        number AS shown_number,
        at_us AS shown_us,
        wall_us AS shown_wall_us,
        state AS shown_state
    FROM cut
    WHERE shows
),
acts AS (
    SELECT
        *,
        CASE
            WHEN action IN ('email_received', 'email_sent', 'email_drafted', 'email_added')
                THEN 'birth'
            WHEN action = 'email_purged' AND field = 'existence' THEN 'death'
            ELSE field
        END AS chain_of,
        CASE action
            WHEN 'email_flagged' THEN 'flagged'
            WHEN 'email_unflagged' THEN 'none'
            WHEN 'email_flag_completed' THEN 'complete'
        END AS flag
    FROM cut
    WHERE kind = 'act' AND starts_with(action, 'email_')
),
placed AS (
    SELECT
        acts.*,
        ends.shown_number,
        ends.shown_us,
        ends.shown_wall_us,
        ends.shown_state,
        before.shown_state AS shown_before,
        last_value(flag IGNORE NULLS) OVER (
            PARTITION BY acts.mailbox, acts.item_key ORDER BY number
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS flag_before
    FROM acts
    LEFT JOIN ends
        ON ends.mailbox = acts.mailbox
        AND ends.item_key = acts.item_key
        AND ends.segment = acts.segment
    LEFT JOIN ends AS before
        ON before.mailbox = acts.mailbox
        AND before.item_key = acts.item_key
        AND before.segment = acts.segment - 1
),
chained AS (
    SELECT
        *,
        row_number() OVER chain AS place,
        lead(number) OVER chain IS NULL AS is_last,
        lead(wall_us) OVER chain AS next_wall_us,
        lag(wall_us) OVER chain AS previous_wall_us,
        first_value(from_folder) OVER chain AS chain_from,
        first_value(flag_before) OVER chain AS chain_flag,
        first_value(coalesce(state_before, shown_before)) OVER segments AS segment_state,
        min(CASE WHEN action = 'email_purged' THEN wall_us END) OVER (
            PARTITION BY mailbox, item_key, segment ORDER BY number
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) AS purge_wall_us,
        min(CASE WHEN chain_of = 'birth' THEN wall_us END) OVER whole AS birth_wall_us,
        min(CASE WHEN chain_of = 'birth' THEN at_us END) OVER whole AS birth_us,
        max(CASE WHEN chain_of = 'birth' THEN action END) OVER whole AS birth_action,
        max(CASE WHEN action = 'email_purged' THEN wall_us END) OVER whole AS last_purge_wall_us,
        max(CASE WHEN action = 'email_purged' THEN at_us END) OVER whole AS last_purge_us,
        max(CASE WHEN action = 'email_purged' THEN number END) OVER whole AS last_purge_number
    FROM placed
    WINDOW
        chain AS (PARTITION BY mailbox, item_key, segment, chain_of ORDER BY number),
        segments AS (PARTITION BY mailbox, item_key, segment ORDER BY number),
        whole AS (PARTITION BY mailbox, item_key, segment)
),
weighed AS (
    SELECT
        *,
        -- What is left of the chain up to this act: none, some, or unknown to the journal.
        CASE
            WHEN chain_of IN ('birth', 'death') THEN 'some'
            WHEN birth_action IS NOT NULL AND chain_of = 'folder' AND (
                to_folder IN ('inbox', 'junk') AND birth_action = 'email_received'
                OR to_folder = 'sent' AND birth_action = 'email_sent'
                OR to_folder = 'drafts' AND birth_action = 'email_drafted'
            ) THEN 'none'
            WHEN place = 1 THEN 'some'
            WHEN state = segment_state THEN 'none'
            WHEN chain_of = 'folder' AND chain_from = to_folder AND to_folder <> 'other' THEN 'none'
            WHEN chain_of = 'folder' AND chain_from IS DISTINCT FROM to_folder THEN 'some'
            WHEN chain_of = 'read' THEN CASE WHEN place % 2 = 0 THEN 'none' ELSE 'some' END
            WHEN chain_of = 'flag' AND chain_flag IS NOT NULL
                THEN CASE WHEN flag = chain_flag THEN 'none' ELSE 'some' END
            ELSE 'unknown'
        END AS net,
        -- A chain of moves has the name its two ends give it.
        CASE
            WHEN chain_of <> 'folder' OR place = 1 OR chain_from IS NULL THEN action
            WHEN to_folder = 'dumpster' THEN 'email_purged'
            WHEN chain_from = 'dumpster' THEN 'email_restored'
            WHEN to_folder = 'deleted' THEN 'email_deleted'
            WHEN chain_from = 'deleted' THEN 'email_restored'
            ELSE 'email_moved'
        END AS seen_action,
        CASE chain_of
            WHEN 'birth' THEN CASE action
                WHEN 'email_received' THEN received_us
                WHEN 'email_sent' THEN sent_us
                ELSE created_us
            END
            ELSE modified_us
        END AS own_date_us
    FROM chained
),
scoped AS (
    SELECT
        weighed.*,
        mailbox.tuid,
        mailbox.watch_from,
        mailbox.primed_at,
        CASE
            WHEN mailbox.aad_id IS NULL THEN 'unknown'
            WHEN mailbox.watch_from IS NOT NULL THEN 'watched'
            WHEN mailbox.state IN ('parked', 'leaving', 'erased') THEN mailbox.state
            ELSE 'not watched'
        END AS scope,
        -- Arrivals are dated by Graph's own date of creation, changes by when they happened.
        second_of(CASE WHEN chain_of = 'birth' THEN coalesce(created_us, at_us) ELSE at_us END)
            - second_of(mailbox.watch_from) AS since_watch_us
    FROM weighed
    LEFT JOIN mailbox ON mailbox.aad_id = weighed.mailbox
)
SELECT
    *,
    -- In the second in which watching began an act may go either way.
    observable AND (scope IN ('unknown', 'not watched') OR scope = 'watched' AND since_watch_us > 0)
        AS expected,
    scope = 'watched' AND is_last AND net <> 'none' AND since_watch_us >= 0 AS matchable,
    second_of(coalesce(shown_us, at_us)) AS shown_second,
    net <> 'some' AND wall_us - previous_wall_us <= window_us()
        OR next_wall_us - wall_us <= window_us()
        OR chain_of <> 'birth'
            AND coalesce(shown_state, 'absent') = 'absent'
            AND purge_wall_us - wall_us <= window_us()
        OR birth_action IS NOT NULL
            AND chain_of NOT IN ('birth', 'death')
            AND (chain_of <> 'folder' OR net = 'none')
            AND shown_wall_us - wall_us <= window_us() AS is_overtaken,
    -- The same however long it took: what a later act hid before anybody looked.
    net <> 'some' AND previous_wall_us IS NOT NULL
        OR next_wall_us IS NOT NULL
        OR chain_of <> 'birth'
            AND coalesce(shown_state, 'absent') = 'absent'
            AND purge_wall_us IS NOT NULL
        OR birth_action IS NOT NULL
            AND chain_of NOT IN ('birth', 'death')
            AND (chain_of <> 'folder' OR net = 'none') AS is_hidden,
    birth_action IS NOT NULL
        AND coalesce(shown_state, 'absent') = 'absent'
        AND number <= last_purge_number
        AND last_purge_wall_us - birth_wall_us <= window_us() AS is_gone_unseen,
    chain_of <> 'birth' AND scope = 'watched' AND (primed_at IS NULL OR at_us <= primed_at)
        AS is_before_primed
FROM scoped
