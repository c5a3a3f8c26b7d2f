-- audit_verdicts: what is to be said of every act and of every event.
--
-- reads    act, event, pair, gap
-- macros   window_us()          60 machine seconds: what is quicker may be overtaken
-- gives    temp tables verdict_act, verdict_event
-- used by  outlook_lake.lake.audit
-- One row per act: matched, optional, excused by a name, or lost.
CREATE OR REPLACE TEMP TABLE verdict_act AS
SELECT
    act.*,
    CASE
        WHEN pair.number IS NOT NULL THEN 'matched'
        WHEN NOT expected THEN 'optional'
        WHEN EXISTS (
            FROM gap
            WHERE gap.tuid = act.tuid
              AND act.at_us BETWEEN gap.from_us AND coalesce(gap.to_us, act.at_us)
              AND (
                  gap.loss = 'all'
                  OR gap.loss = 'changes' AND act.chain_of <> 'birth' AND act.is_hidden
                  OR gap.loss IN ('changes', 'created_and_purged')
                      AND act.birth_us >= gap.from_us
                      AND act.last_purge_us <= coalesce(gap.to_us, act.last_purge_us)
                      AND coalesce(act.shown_state, 'absent') = 'absent'
              )
        ) THEN 'gap'
        WHEN scope = 'watched' AND is_gone_unseen THEN 'gone_unseen'
        WHEN is_before_primed THEN 'before_primed'
        WHEN scope = 'watched' AND is_overtaken THEN 'coalesced'
        ELSE 'lost'
    END AS verdict
FROM act
LEFT JOIN pair ON pair.number = act.number;

-- One row per event: matched, explained by an act before priming, doubled or a wrong action.
CREATE OR REPLACE TEMP TABLE verdict_event AS
WITH loose AS (
    SELECT
        event.*,
        row_number() OVER (PARTITION BY event.tuid, event.item_key ORDER BY event.seq) AS place,
        prior_unknown AND event.action IN
            ('email_changed', 'email_moved', 'email_deleted', 'email_purged') AS is_vague
    FROM event
    ANTI JOIN pair ON pair.event_row = event.event_row
),
judged AS (
    SELECT
        loose.event_row,
        CASE
            -- Before priming the product may know that something changed and not what.
            WHEN is_vague AND place <= (
                SELECT count(*)
                FROM verdict_act AS early
                WHERE early.tuid = loose.tuid
                  AND early.item_key = loose.item_key
                  AND early.since_watch_us >= 0
                  AND early.is_before_primed
                  AND early.verdict IN ('before_primed', 'optional', 'gap')
                  AND early.at_us <= loose.observed_us + 999999
            ) THEN 'explained'
            -- Flagged anew before anybody looked: the status is as before, its dates are not.
            WHEN action = 'email_changed' AND EXISTS (
                FROM verdict_act AS anew
                WHERE anew.tuid = loose.tuid
                  AND anew.item_key = loose.item_key
                  AND anew.chain_of = 'flag'
                  AND anew.is_last
                  AND anew.place > 1
                  AND anew.net <> 'some'
                  AND anew.verdict = 'coalesced'
                  AND anew.shown_second BETWEEN loose.earliest_us AND loose.observed_us
            ) THEN 'explained'
            WHEN EXISTS (
                FROM verdict_act AS told
                WHERE told.tuid = loose.tuid
                  AND told.item_key = loose.item_key
                  AND told.seen_action = loose.action
                  AND told.verdict = 'matched'
            ) THEN 'doubled'
            ELSE 'wrong_action'
        END AS verdict
    FROM loose
),
timed AS (
    SELECT
        event.event_row,
        act.number,
        act.segment,
        CASE act.chain_of WHEN 'birth' THEN 0 WHEN 'death' THEN 2 ELSE 1 END AS phase,
        CASE
            WHEN event.time_basis = 'graph' AND second_of(event.at_us) = second_of(act.own_date_us)
                THEN 'right'
            WHEN event.time_basis = 'graph' THEN CASE
                WHEN act.chain_of <> 'birth' AND EXISTS (
                    FROM act AS later
                    WHERE later.mailbox = act.mailbox
                      AND later.item_key = act.item_key
                      AND later.segment = act.segment
                      AND later.number > act.number
                      AND later.bumped
                      AND later.wall_us - act.wall_us <= window_us()
                      AND second_of(later.modified_us) = second_of(event.at_us)
                ) THEN 'coalesced'
                ELSE 'wrong'
            END
            WHEN act.at_us < event.earliest_us
                OR second_of(act.at_us) > event.latest_us
                OR event.at_us < event.earliest_us
                OR event.at_us > event.latest_us THEN 'wrong'
            ELSE 'right'
        END AS dating
    FROM pair
    JOIN event ON event.event_row = pair.event_row
    JOIN act ON act.number = pair.number
),
ordered AS (
    SELECT
        timed.*,
        (segment, phase) < lag((segment, phase)) OVER (
            PARTITION BY event.tuid, event.item_key ORDER BY event.seq, event.event_row
        ) AS is_out_of_order
    FROM timed
    JOIN event ON event.event_row = timed.event_row
)
SELECT
    event.*,
    ordered.number,
    coalesce(judged.verdict, 'matched') AS verdict,
    -- Whatever else is true of it, an event lies in the file of the hour of its timestamp.
    event.hour <> strftime(make_timestamp(event.at_us), '%Y-%m-%dT%H')
        OR coalesce(ordered.dating = 'wrong', false) AS is_wrong_hour,
    coalesce(ordered.dating = 'coalesced', false) AS is_dated_by_a_later_act,
    coalesce(ordered.is_out_of_order, false) AS is_out_of_order,
    event.latest_us - event.earliest_us > 15 * 60 * 1000000 AS is_wide
FROM event
LEFT JOIN ordered ON ordered.event_row = event.event_row
LEFT JOIN judged ON judged.event_row = event.event_row
