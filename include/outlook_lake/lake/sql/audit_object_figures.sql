-- audit_object_figures: the verdict on folders and rules in numbers.
--
-- reads    object_verdict_act, object_verdict_event
-- params   $from_us, $to_us     only acts and events of this time; Graph time, half-open
-- grain    one row per kind: folder, rule
-- used by  outlook_lake.lake.audit
WITH acts AS (
    SELECT
        object_kind,
        count(*) FILTER (verdict <> 'optional') AS journal,
        count(*) FILTER (verdict = 'lost') AS lost,
        count(*) FILTER (verdict = 'gap') AS gap,
        count(*) FILTER (verdict = 'gone_unseen') AS gone_unseen,
        count(*) FILTER (verdict = 'before_primed') AS before_primed,
        count(*) FILTER (verdict = 'coalesced') AS coalesced,
        count(*) FILTER (verdict = 'not_polled_yet') AS not_polled_yet
    FROM object_verdict_act
    WHERE at_us >= $from_us AND at_us < $to_us
    GROUP BY object_kind
),
events AS (
    SELECT
        object_kind,
        count(*) AS events,
        count(*) FILTER (verdict = 'doubled') AS doubled,
        count(*) FILTER (verdict = 'wrong_action') AS wrong_action,
        count(*) FILTER (is_wrong_hour) AS wrong_hour,
        count(*) FILTER (is_out_of_order) AS out_of_order
    FROM object_verdict_event
    WHERE at_us >= $from_us AND at_us < $to_us
    GROUP BY object_kind
)
SELECT
    object_kind,
    COLUMNS(* EXCLUDE (object_kind))
FROM acts
FULL JOIN events USING (object_kind)
ORDER BY object_kind
