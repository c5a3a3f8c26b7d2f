-- utc_text: a time as text in UTC with milliseconds, `2026-03-15T09:15:02.000Z`.
--
-- used by  normalized
--
-- make_timestamp does not know the session's time zone, which strftime of a zoned time would use.
CREATE OR REPLACE MACRO utc_text(moment) AS
    strftime(make_timestamp(epoch_us(moment)), '%Y-%m-%dT%H:%M:%S.%gZ')
