-- audit_figures: the verdict in numbers.
--
-- reads    verdict_act, verdict_event
-- params   $from_us, $to_us     only acts and events of this time; Graph time, half-open
-- grain    one row
-- used by  outlook_lake.lake.audit
WITH acts AS (
    SELECT *
    FROM verdict_act
    WHERE at_us >= $from_us AND at_us < $to_us
),
events AS (
    SELECT *
    FROM verdict_event
    WHERE at_us >= $from_us AND at_us < $to_us
)
SELECT
    (SELECT count(*) FROM acts WHERE verdict <> 'optional') AS journal,
    (SELECT count(*) FROM events) AS events,
    (SELECT count(*) FROM acts WHERE verdict = 'lost') AS lost,
    (SELECT count(*) FROM events WHERE verdict = 'doubled') AS doubled,
    (SELECT count(*) FROM events WHERE verdict = 'wrong_action') AS wrong_action,
    (SELECT count(*) FROM events WHERE is_wrong_hour) AS wrong_hour,
    (SELECT count(*) FROM events WHERE is_out_of_order) AS out_of_order,
    (SELECT count(*) FROM events WHERE is_wide) AS wide_intervals,
    (SELECT count(*) FROM acts WHERE verdict = 'gap') AS gap,
    (SELECT count(*) FROM acts WHERE verdict = 'gone_unseen') AS gone_unseen,
    (SELECT count(*) FROM acts WHERE verdict = 'before_primed') AS before_primed,
    (SELECT count(*) FROM acts WHERE verdict = 'coalesced')
        + (SELECT count(*) FROM events WHERE is_dated_by_a_later_act) AS coalesced
