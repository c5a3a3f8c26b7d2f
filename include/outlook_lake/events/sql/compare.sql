-- compare: every observation beside what was known of its item, and the changes between.
--
-- grain    one row per observation (an item occurs once in a batch)
-- keys     mailbox_id, item_key
-- reads    observation    what Graph showed                     inventory   what was known
--          mailbox        tuid, watch_from, seq, ...            folder      number and kind
--          waiting        keys of hints that are due or pending people      internal addresses
-- gives    temp table compared, with `changes`: a list of structs, one per change, in order
-- used by  outlook_lake.events.diff
--
-- `changes` is empty for what is stale, postponed (becomes a hint), baseline or unchanged.
CREATE OR REPLACE TEMP TABLE compared AS
WITH stated AS (
    SELECT
        o.*,
        m.tuid,
        m.domain_id,
        m.namespace,
        m.internal_domains,
        m.watch_from,
        m.complete_through,
        m.epoch,
        m.seq AS last_seq,
        f.folder_no,
        f.kind AS folder_kind,
        p.tuid AS from_tuid,
        i.item_key IS NOT NULL AS known,
        i.folder_no AS old_folder_no,
        g.kind AS old_kind,
        i.created_at AS old_created_at,
        i.received_at AS old_received_at,
        i.modified_at AS old_modified_at,
        i.seen_at AS old_seen_at,
        i.bits AS old_bits,
        i.mutable_hash AS old_mutable_hash,
        i.from_domain AS old_from_domain,
        i.recipients AS old_recipients,
        i.imid_hash AS old_imid_hash,
        i.origin AS old_origin,
        i.gone_at AS old_gone_at,
        w.item_key IS NOT NULL AS waiting,
        o.from_domain IS NOT NULL
            AND NOT list_contains(m.internal_domains, o.from_domain) AS is_external,
        md5_part(list_aggregate(list_sort(o.categories), 'string_agg', chr(31)), 7) AS category_hash,
        md5_part(o.flag_dates, 8) AS flag_dates_hash,
        md5_part(o.internet_message_id, 15) AS imid_hash
    FROM observation AS o
    JOIN mailbox AS m USING (mailbox_id)
    LEFT JOIN inventory AS i USING (mailbox_id, item_key)
    LEFT JOIN folder AS f ON f.mailbox_id = o.mailbox_id AND f.folder_id = o.folder_id
    LEFT JOIN folder AS g ON g.mailbox_id = o.mailbox_id AND g.folder_no = i.folder_no
    LEFT JOIN waiting AS w ON w.mailbox_id = o.mailbox_id AND w.item_key = o.item_key
    LEFT JOIN people AS p ON p.mailbox_id = o.mailbox_id AND p.address_key = o.from_key
),
packed AS (
    SELECT
        *,
        item_bits(is_read, is_draft, has_attachments, is_external,
                  flag_status, importance, inference, sender_differs)
            | CASE WHEN sighting = 'rich' THEN 1024 ELSE 0 END AS bits,
        -- A pushed state is from before it came, but not from before its lastModifiedDateTime.
        CASE WHEN (old_bits & 1024) = 1024
             THEN least(old_seen_at, coalesce(old_modified_at, old_created_at, 0))
             ELSE old_seen_at END AS old_since,
        (category_hash << 32) | flag_dates_hash AS mutable_hash,
        -- An answer older than what is known says nothing; an equal one may.
        known AND seen_at < old_seen_at AS stale,
        coalesce(folder_kind = 'outbox', false) AND NOT known AS in_transit,
        created_at >= watch_from AND created_at >= $horizon AS arrived
    FROM stated
),
named AS (
    SELECT
        *,
        -- What an item first seen is: one event, whatever happened before this look.
        CASE
            WHEN known OR gone OR in_transit OR NOT arrived THEN NULL
            WHEN is_draft THEN 'email_drafted'
            WHEN folder_kind = 'sent' THEN 'email_sent'
            WHEN received_at < created_at - 7 * 86400000000 THEN 'email_added'
            -- Who writes to themselves has two copies: the one outside Sent Items arrived.
            WHEN from_tuid = tuid AND folder_kind NOT IN ('inbox', 'junk')
                AND NOT coalesce(list_contains([one.key FOR one IN recipients], from_key), false)
                THEN 'email_sent'
            ELSE 'email_received'
        END AS first_action,
        -- Where something now is names how it got there.
        CASE
            WHEN folder_kind = 'dumpster' THEN 'email_purged'
            WHEN folder_kind = 'deleted' THEN 'email_deleted'
            ELSE 'email_moved'
        END AS got_there,
        CASE
            WHEN NOT known OR stale THEN NULL
            WHEN gone THEN CASE WHEN old_gone_at IS NULL AND old_kind <> 'dumpster' THEN 'email_purged' END
            WHEN old_gone_at IS NOT NULL THEN CASE WHEN folder_kind <> 'dumpster' THEN 'email_restored' END
            WHEN folder_no = old_folder_no OR folder_no IS NULL THEN NULL
            WHEN folder_kind = 'dumpster' THEN 'email_purged'
            WHEN old_kind = 'dumpster' THEN 'email_restored'
            WHEN folder_kind = 'deleted' THEN 'email_deleted'
            WHEN old_kind = 'deleted' THEN 'email_restored'
            ELSE 'email_moved'
        END AS folder_action,
        known AND NOT stale AND NOT gone AS comparable,
        known AND NOT stale AND NOT gone AND (old_bits & 2) = 2 AND NOT is_draft AS left_drafts
    FROM packed
),
differing AS (
    SELECT
        *,
        list_filter([
            CASE WHEN comparable AND flag_dates_hash <> (old_mutable_hash & 4294967295)
                  AND (bits & 48) = (old_bits & 48) THEN 'flag' END,
            CASE WHEN comparable AND (bits & 192) <> (old_bits & 192) THEN 'importance' END,
            CASE WHEN comparable AND (bits & 256) <> (old_bits & 256) THEN 'inference' END,
            CASE WHEN comparable AND (bits & 4) <> (old_bits & 4) THEN 'has_attachments' END,
            CASE WHEN comparable AND is_draft
                  AND recipient_total(recipients) <> old_recipients THEN 'recipients' END,
            CASE WHEN comparable AND is_draft AND (old_bits & 2) = 0 THEN 'is_draft' END
        ], lambda field: field IS NOT NULL) AS other_fields
    FROM named
),
listed AS (
    SELECT
        *,
        list_filter([
            CASE WHEN first_action IS NOT NULL
                 THEN change(first_action, 'first', []) END,
            CASE WHEN first_action = 'email_received' AND folder_kind NOT IN ('inbox', 'junk')
                   OR first_action = 'email_sent' AND folder_kind <> 'sent'
                   OR first_action = 'email_drafted' AND folder_kind <> 'drafts'
                   OR first_action = 'email_added'
                       AND folder_kind NOT IN ('inbox', 'junk', 'sent', 'drafts')
                 THEN change(got_there, 'after_first', ['folder']) END,
            -- Older than the watch and never seen: silent, unless a notification said otherwise.
            CASE WHEN NOT known AND NOT gone AND NOT in_transit AND first_action IS NULL
                      AND (hint_kinds & 1) = 1
                 THEN change(got_there, 'unknown_before', ['folder'])
                 WHEN NOT known AND NOT gone AND NOT in_transit AND first_action IS NULL
                      AND (hint_kinds & 2) = 2
                 THEN change('email_changed', 'unknown_before', []) END,
            CASE WHEN left_drafts
                 THEN change('email_sent', 'first', ['is_draft', 'folder']) END,
            CASE WHEN left_drafts AND folder_kind <> 'sent'
                 THEN change(got_there, 'after_first', ['folder']) END,
            CASE WHEN folder_action IS NOT NULL AND NOT left_drafts
                 THEN change(folder_action,
                             CASE WHEN folder_action = 'email_purged' THEN 'plain' ELSE 'modifies' END,
                             ['folder']) END,
            CASE WHEN comparable AND NOT left_drafts AND (bits & 1) <> (old_bits & 1)
                 THEN change(CASE WHEN is_read THEN 'email_read' ELSE 'email_unread' END,
                             'plain', ['is_read']) END,
            CASE WHEN comparable AND (bits & 48) <> (old_bits & 48)
                 THEN change(CASE bits & 48 WHEN 0 THEN 'email_unflagged'
                                            WHEN 16 THEN 'email_flagged'
                                            ELSE 'email_flag_completed' END,
                             'modifies', ['flag']) END,
            CASE WHEN comparable AND category_hash <> (old_mutable_hash >> 32)
                 THEN change('email_categorized', 'modifies', ['categories']) END,
            CASE WHEN NOT left_drafts AND len(other_fields) > 0
                 THEN change('email_changed', 'plain', other_fields) END
        ], lambda entry: entry IS NOT NULL) AS all_changes
    FROM differing
),
judged AS (
    SELECT
        *,
        -- A row of delta or of a list about an item under 5 minutes fresh, or with a hint of its own, may be
        -- older than what is known although it came later: it is looked at instead.
        hint_kinds = 0 AND sighting IN ('delta', 'resync', 'window')
            AND (waiting OR stale OR known AND NOT gone AND old_seen_at > seen_at - 300000000)
        -- A pushed state is younger than what is known if the item was modified since, or if
        -- the change it tells of can only be younger.
        OR sighting = 'rich' AND known AND (
            stale
            OR old_gone_at IS NOT NULL
            OR NOT coalesce(modified_at > old_modified_at, false)
                AND NOT coalesce(hint_earliest_at > old_seen_at + 999999, false)
        )
            AS uncertain
    FROM listed
)
SELECT
    * EXCLUDE (all_changes),
    uncertain AND (stale OR len(all_changes) > 0) AS postponed,
    CASE WHEN uncertain THEN [] ELSE all_changes END AS changes
FROM judged
