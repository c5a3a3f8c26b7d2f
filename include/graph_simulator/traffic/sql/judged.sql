-- judged: every readable row of the file with its local time and, if it cannot be played, why.
--
-- reads    traffic            the checked columns of the file, one row a message
-- grain    one row per row of the file
-- params   $zone              IANA zone whose wall time the senders lived by
-- used by  graph_simulator.traffic.laying
--
-- Rows of a clock that knew whole minutes only get 0-59 s from a hash of their id, and every
-- row gets a fraction of a second: md5, because it is the same on every machine and version.
CREATE TABLE judged AS
WITH shaped AS (
    SELECT
        message_id,
        lower(trim(sender)) AS sender,
        coalesce(sender_internal, FALSE) AS sender_internal,
        coalesce(len("to"), 0) + coalesce(len(cc), 0) AS listed,
        list_distinct(list_filter(
            list_transform(coalesce("to", []), LAMBDA a: lower(trim(a))),
            LAMBDA a: regexp_full_match(a, '[^@\s<>]+@[^@\s<>]+')
        )) AS to_list,
        list_distinct(list_filter(
            list_transform(coalesce(cc, []), LAMBDA a: lower(trim(a))),
            LAMBDA a: regexp_full_match(a, '[^@\s<>]+@[^@\s<>]+')
        )) AS cc_list,
        conversation_id,
            coalesce(attachment_hints, 0) > 0 AS has_attachments,
        coalesce(date_ok, TRUE) AS date_ok,
        CASE
            WHEN clock LIKE '%minute'
                THEN date_trunc('minute', sent_at)
                    + to_seconds(CAST(md5_number_lower(message_id) % 60 AS BIGINT))
            ELSE date_trunc('second', sent_at)
        END + to_microseconds(CAST(md5_number_upper(message_id) % 1000000 AS BIGINT)) AS sent_at,
        row_number() OVER (PARTITION BY message_id ORDER BY sent_at, sender) AS nth
    FROM traffic
)
SELECT
    row_number() OVER (ORDER BY sent_at, message_id, nth) - 1 AS message_no,
    message_id,
    sender,
    sender_internal,
    to_list,
    list_sort(list_filter(cc_list, LAMBDA a: NOT list_contains(to_list, a))) AS cc_list,
    listed - len(to_list) - len(cc_list) AS recipients_dropped,
    conversation_id,
    has_attachments,
    sent_at,
    timezone($zone, sent_at) AS local_at,
    CASE
        WHEN message_id IS NULL OR message_id = '' THEN 'no_message_id'
        WHEN sent_at IS NULL THEN 'no_sent_at'
        WHEN NOT date_ok THEN 'date_not_ok'
        WHEN sender IS NULL OR NOT regexp_full_match(sender, '[^@\s<>]+@[^@\s<>]+')
            THEN 'sender_malformed'
        WHEN nth > 1 THEN 'message_id_repeated'
        WHEN len(to_list) + len(cc_list) = 0 THEN 'no_recipient'
    END AS unplayable
FROM shaped
ORDER BY message_no;
