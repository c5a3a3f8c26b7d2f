-- events: the changes of `compared`, each dated, numbered and named.
--
-- grain    one row per change
-- keys     event_id; (tuid, seq)
-- reads    temp table compared
-- params   $recipients  whether keyed hashes of recipients are kept
-- used by  outlook_lake.events.diff
--
-- "When did it happen?" (docs/decisions/when-did-it-happen.md):
--   first          received, sent, drafted, added: Graph's own date
--   modifies       lastModifiedDateTime, if it grew, lies inside, and nothing else changed
--   plain, ...     the first notification since the last look, else the answer's Date
--   several        all of them: the answer's Date
-- Times are microseconds. `latest` lies just under a second after Date, which Graph cuts.
WITH spread AS (
    SELECT
        c.*,
        len(changes) AS together,
        unnest(changes) AS one,
        generate_subscripts(changes, 1) AS place
    FROM compared AS c
    WHERE len(changes) > 0
),
bounded AS (
    SELECT
        *,
        one.action AS action,
        seen_at + 999999 AS latest,
        (hint_kinds & 7) <> 0 AS notified,
        CASE
            WHEN one.timing IN ('after_first', 'unknown_before')
                THEN greatest(coalesce(old_since, created_at, 0), coalesce(hint_earliest_at, 0))
            WHEN (hint_kinds & 7) <> 0
                THEN CASE WHEN together = 1
                          THEN greatest(old_since, coalesce(hint_earliest_at, 0))
                          ELSE old_since END
            ELSE greatest(old_since, coalesce(complete_through, 0))
        END AS earliest,
        CASE
            WHEN one.action = 'email_received' THEN received_at
            WHEN one.action = 'email_sent' THEN coalesce(sent_at, created_at)
            ELSE created_at
        END AS own_date
    FROM spread
),
dated AS (
    SELECT
        *,
        CASE
            WHEN one.timing = 'first'
                THEN CASE WHEN own_date <= latest THEN 'graph' ELSE 'bounded' END
            WHEN one.timing = 'modifies' AND together = 1
                 AND modified_at > coalesce(old_modified_at, 0)
                 AND modified_at > earliest AND modified_at <= latest THEN 'graph'
            WHEN notified AND (together = 1 OR one.timing = 'unknown_before') THEN 'notified'
            ELSE 'bounded'
        END AS time_basis
    FROM bounded
),
timed AS (
    SELECT
        *,
        CASE
            WHEN time_basis = 'graph' AND one.timing = 'first' THEN own_date
            WHEN time_basis = 'graph' THEN modified_at
            -- A hint may be older than the last look: the change is not.
            WHEN time_basis = 'notified'
                THEN greatest(least(hint_first_at, seen_at), least(earliest, seen_at))
            ELSE seen_at
        END AS at_us
    FROM dated
),
numbered AS (
    SELECT
        *,
        last_seq + row_number() OVER (
            PARTITION BY mailbox_id ORDER BY at_us, ordinal, place, item_key
        ) AS new_seq,
        CASE WHEN time_basis = 'graph' THEN at_us ELSE least(earliest, at_us) END AS earliest_us,
        CASE WHEN time_basis = 'graph' THEN at_us ELSE latest END AS latest_us,
        list_filter(coalesce(recipients, []), lambda person: person.kind = 'to') AS to_list,
        list_filter(coalesce(recipients, []), lambda person: person.kind = 'cc') AS cc_list,
        list_filter(coalesce(recipients, []), lambda person: person.kind = 'bcc') AS bcc_list
    FROM timed
),
identified AS (
    SELECT
        *,
        sha1(namespace || encode(tuid || '/' || CASE
            WHEN one.timing = 'first' THEN lower(hex(item_key)) || '/' || action
            ELSE epoch || '/' || new_seq
        END)) AS digest
    FROM numbered
)
SELECT
    domain_id,
    strftime(make_timestamp(at_us), '%Y-%m-%dT%H') AS hour,
    uuid5_of(digest) AS event_id,
    'EMAIL' AS event_type,
    'OUTLOOK' AS source,
    'COMMUNICATIONS' AS signal_type,
    tuid,
    at_us AS timestamp,
    new_seq AS seq,
    time_basis,
    earliest_us AS earliest_at,
    latest_us AS latest_at,
    seen_at AS observed_at,
    'message' AS object_kind,
    action,
    CASE WHEN sighting = 'rich' THEN 'notification' ELSE sighting END AS sighting,
    one.fields AS changed,
    item_id AS platform_event_id,
    item_key,
    CASE
        WHEN (hint_kinds & 1) = 1 THEN 'created'
        WHEN (hint_kinds & 2) = 2 THEN 'updated'
        WHEN (hint_kinds & 4) = 4 THEN 'deleted'
    END AS change_type,
    from_tuid,
    from_key,
    CASE WHEN gone THEN old_from_domain ELSE from_domain END AS from_domain,
    CASE WHEN gone THEN (old_bits & 512) <> 0 ELSE sender_differs END AS sender_differs,
    CASE WHEN gone THEN (old_bits & 8) <> 0 ELSE is_external END AS is_external_sender,
    CASE WHEN NOT gone THEN len(to_list) END AS to_count,
    CASE WHEN NOT gone THEN len(cc_list) END AS cc_count,
    CASE WHEN NOT gone THEN len(bcc_list) END AS bcc_count,
    CASE WHEN gone THEN old_recipients ELSE len(to_list) + len(cc_list) END AS recipient_count,
    CASE WHEN NOT gone THEN len(list_filter(coalesce(recipients, []), lambda person:
        NOT list_contains(internal_domains, person.domain))) END AS external_recipient_count,
    CASE WHEN NOT gone THEN list_sort(list_distinct(list_transform(to_list, lambda person: person.domain)))
        END AS to_domains,
    CASE WHEN NOT gone THEN list_sort(list_distinct(list_transform(cc_list, lambda person: person.domain)))
        END AS cc_domains,
    CASE WHEN $recipients AND NOT gone THEN list_transform(coalesce(recipients, []), lambda person:
        struct_pack(key := person.key, domain := person.domain, kind := person.kind,
                    "external" := NOT list_contains(internal_domains, person.domain)))
        END AS recipients,
    CASE WHEN gone THEN (old_bits & 4) <> 0 ELSE has_attachments END AS has_attachments,
    CASE WHEN gone THEN (old_bits & 1) <> 0 ELSE is_read END AS is_read,
    CASE WHEN gone THEN (old_bits & 2) <> 0 ELSE is_draft END AS is_draft,
    CASE WHEN gone THEN CASE old_bits & 192 WHEN 64 THEN 'normal' WHEN 128 THEN 'high' ELSE 'low' END
        ELSE importance END AS importance,
    CASE WHEN gone THEN CASE old_bits & 48 WHEN 16 THEN 'flagged' WHEN 32 THEN 'complete' ELSE 'notflagged' END
        ELSE flag_status END AS flag_status,
    CASE WHEN gone THEN CASE old_bits & 256 WHEN 256 THEN 'focused' ELSE 'other' END
        ELSE inference END AS inference,
    categories,
    conversation_id,
    internet_message_id,
    CASE WHEN gone THEN NULL ELSE folder_kind END AS folder_kind,
    CASE WHEN list_contains(one.fields, 'folder') AND known THEN old_kind END AS from_folder_kind,
    CASE WHEN gone THEN old_received_at ELSE received_at END AS received_at,
    sent_at,
    CASE WHEN gone THEN old_created_at ELSE created_at END AS created_at,
    CASE WHEN gone THEN old_modified_at ELSE modified_at END AS modified_at,
    NULL AS rule,
    1 AS schema_version
FROM identified
ORDER BY domain_id, hour, tuid, timestamp, seq
