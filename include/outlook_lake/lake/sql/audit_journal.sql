-- audit_journal: the journal's rows as the audit compares them.
--
-- reads    raw_journal          the journal as it came, times as text
--          item_keys            BLAKE2b-128 of the id of each item, folder and rule
-- gives    temp table journal; macros text_us, window_us
-- used by  outlook_lake.lake.audit
--
-- Times are microseconds. Dates of messages are whole seconds at the source.
CREATE OR REPLACE MACRO text_us(moment) AS epoch_us(CAST(moment AS TIMESTAMPTZ));
CREATE OR REPLACE MACRO window_us() AS 60 * 1000000;

CREATE OR REPLACE TEMP TABLE journal AS
SELECT
    number,
    text_us("at") AS at_us,
    text_us(wall_at) AS wall_us,
    mailbox,
    kind,
    item_keys.item_key,
    objects.item_key AS object_key,
    action,
    field,
    from_folder,
    to_folder,
    state,
    coalesce(bumped, false) AS bumped,
    coalesce(observable, false) AS observable,
    text_us(dates.created) AS created_us,
    text_us(dates.received) AS received_us,
    text_us(dates.sent) AS sent_us,
    text_us(dates.modified) AS modified_us
FROM raw_journal
LEFT JOIN item_keys ON item_keys.item = raw_journal.item
LEFT JOIN item_keys AS objects ON objects.item = raw_journal.object
ORDER BY number;
