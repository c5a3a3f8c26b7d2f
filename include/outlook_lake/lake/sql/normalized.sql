-- normalized: each event in the nested shape it is published in.
--
-- reads    events_live
--          directory            addresses and names; empty unless they may be seen
-- grain    one row per event
-- used by  the view `normalized`; `SELECT to_json(normalized) FROM normalized` gives JSON Lines
--
-- A key is the keyed hash of one address: tenants that know it know the same address.
-- Times are text in UTC with milliseconds, whatever the session's time zone.
WITH people AS (
    SELECT
        tuid,
        arg_min(address, (first_seen, address)) AS address
    FROM directory
    WHERE tuid IS NOT NULL
    GROUP BY tuid
),
senders AS (
    SELECT
        address_key,
        min(address) AS address,
        arg_max(name, (name IS NOT NULL, first_seen)) AS name
    FROM directory
    GROUP BY address_key
),
events AS (
    SELECT
        events_live.*,
        people.address AS user,
        senders.address AS from_address,
        senders.name AS from_name,
        CASE flag_status WHEN 'notflagged' THEN 'notFlagged' ELSE flag_status END AS flag
    FROM events_live
    LEFT JOIN people ON people.tuid = events_live.tuid
    LEFT JOIN senders ON senders.address_key = events_live.from_key
)
SELECT
    event_id,
    event_type,
    source,
    signal_type,
    domain_id,
    tuid,
    utc_text(timestamp) AS timestamp,
    struct_pack(
        event_id := platform_event_id,
        "user" := "user",
        action := action,
        from_domain := from_domain,
        is_external_sender := is_external_sender,
        recipient_count := recipient_count,
        to_domains := to_domains,
        cc_domains := cc_domains,
        has_attachments := has_attachments,
        importance := importance,
        is_read := is_read,
        conversation_id := conversation_id
    ) AS payload,
    struct_pack(
        platform_event_id := platform_event_id,
        change_type := change_type,
        from_address := from_address,
        from_name := from_name,
        to_count := to_count,
        cc_count := cc_count,
        to_domains := to_domains,
        cc_domains := cc_domains,
        from_domain := from_domain,
        is_external := is_external_sender,
        has_attachments := has_attachments,
        importance := importance,
        is_read := is_read,
        is_draft := is_draft,
        internet_message_id := internet_message_id,
        conversation_id := conversation_id,
        flag_status := flag,
        received_at := utc_text(received_at),
        sent_at := utc_text(sent_at),
        created_at := utc_text(created_at),
        source_platform := 'microsoft_outlook'
    ) AS raw_metadata,
    platform_event_id,
    'MICROSOFT_GRAPH_OUTLOOK_API' AS platform_event_source
FROM events
