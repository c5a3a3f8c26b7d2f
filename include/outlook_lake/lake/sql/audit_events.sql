-- audit_events: our events as the audit compares them.
--
-- reads    events_live
-- gives    temp tables event, object_event; macro second_of
-- used by  outlook_lake.lake.audit
--
-- Times are microseconds.
CREATE OR REPLACE MACRO second_of(us) AS us // 1000000 * 1000000;

CREATE OR REPLACE TEMP TABLE event AS
SELECT
    row_number() OVER (ORDER BY tuid, seq, event_id) AS event_row,
    tuid,
    item_key,
    action,
    seq,
    hour,
    time_basis,
    epoch_us(timestamp) AS at_us,
    epoch_us(earliest_at) AS earliest_us,
    epoch_us(latest_at) AS latest_us,
    -- Graph cuts the Date of an answer to the second: what it shows may be that much younger.
    second_of(epoch_us(observed_at)) AS observed_us,
    from_folder_kind IS NULL AS prior_unknown
FROM events_live
WHERE object_kind = 'message';

CREATE OR REPLACE TEMP TABLE object_event AS
SELECT
    row_number() OVER (ORDER BY tuid, seq, event_id) AS event_row,
    tuid,
    item_key AS object_key,
    object_kind,
    action,
    seq,
    hour,
    time_basis,
    epoch_us(timestamp) AS at_us,
    epoch_us(earliest_at) AS earliest_us,
    epoch_us(latest_at) AS latest_us,
    second_of(epoch_us(observed_at)) AS observed_us
FROM events_live
WHERE object_kind IN ('folder', 'rule')
