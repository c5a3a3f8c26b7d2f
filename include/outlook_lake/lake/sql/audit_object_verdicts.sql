-- audit_object_verdicts: what is to be said of acts on folders and rules, and of their events.
--
-- reads    object_act, object_event, object_pair, gap, journal
-- gives    temp tables object_verdict_act, object_verdict_event
-- used by  outlook_lake.lake.audit
CREATE OR REPLACE MACRO poll_us() AS CAST(2 * 3600 AS BIGINT) * 1000000;

-- One row per act: matched, optional, excused by a name, or lost.
CREATE OR REPLACE TEMP TABLE object_verdict_act AS
SELECT
    act.*,
    CASE
        WHEN pair.number IS NOT NULL THEN 'matched'
        WHEN NOT expected THEN 'optional'
        WHEN scope <> 'watched' THEN 'lost'
        WHEN EXISTS (
            FROM gap
            WHERE gap.tuid = act.tuid
              AND gap.loss = 'all'
              AND act.at_us BETWEEN gap.from_us AND coalesce(gap.to_us, act.at_us)
        ) THEN 'gap'
        WHEN is_gone_unseen THEN 'gone_unseen'
        WHEN is_before_primed THEN 'before_primed'
        WHEN is_overtaken THEN 'coalesced'
        -- The round of an hour comes after it: what nobody asked for yet is not late before.
        WHEN shown_us IS NULL
            AND act.at_us > (SELECT max(at_us) FROM journal) - poll_us() THEN 'not_polled_yet'
        ELSE 'lost'
    END AS verdict
FROM object_act AS act
LEFT JOIN object_pair AS pair ON pair.number = act.number;

-- One row per event: matched, doubled or a wrong action.
CREATE OR REPLACE TEMP TABLE object_verdict_event AS
WITH placed AS (
    SELECT
        event.*,
        act.number,
        act.at_us AS act_us,
        (
            act.segment,
            CASE act.chain_of WHEN 'birth' THEN 0 WHEN 'death' THEN 2 ELSE 1 END
        ) AS phase
    FROM object_event AS event
    LEFT JOIN object_pair AS pair ON pair.event_row = event.event_row
    LEFT JOIN object_act AS act ON act.number = pair.number
),
ordered AS (
    SELECT
        event_row,
        phase < lag(phase) OVER (
            PARTITION BY tuid, object_key ORDER BY seq, event_row
        ) AS is_out_of_order
    FROM placed
    WHERE number IS NOT NULL
)
SELECT
    placed.*,
    CASE
        WHEN number IS NOT NULL THEN 'matched'
        WHEN EXISTS (
            FROM object_verdict_act AS told
            WHERE told.tuid = placed.tuid
              AND told.object_key = placed.object_key
              AND told.action = placed.action
              AND told.verdict = 'matched'
        ) THEN 'doubled'
        ELSE 'wrong_action'
    END AS verdict,
    hour <> strftime(make_timestamp(at_us), '%Y-%m-%dT%H')
        OR coalesce(
            at_us < earliest_us
            OR at_us > latest_us
            OR act_us < earliest_us
            OR act_us > latest_us,
            false
        ) AS is_wrong_hour,
    coalesce(is_out_of_order, false) AS is_out_of_order
FROM placed
LEFT JOIN ordered USING (event_row);
