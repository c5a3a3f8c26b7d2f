-- inventory: what is known of an item after this batch; "no change" gives no row.
--
-- grain    one row per item whose stored state moves
-- keys     shard, mailbox_id, item_key
-- reads    temp table compared
-- used by  outlook_lake.events.diff
SELECT
    shard,
    mailbox_id,
    item_key,
    CASE WHEN gone THEN old_folder_no ELSE folder_no END AS folder_no,
    CASE WHEN gone THEN old_created_at ELSE created_at END AS created_at,
    CASE WHEN gone THEN old_received_at ELSE received_at END AS received_at,
    CASE WHEN gone THEN old_modified_at ELSE modified_at END AS modified_at,
    seen_at,
    CASE WHEN gone THEN old_bits ELSE bits END AS bits,
    CASE WHEN gone THEN old_mutable_hash ELSE mutable_hash END AS mutable_hash,
    CASE WHEN gone THEN old_from_domain ELSE from_domain END AS from_domain,
    CASE WHEN gone THEN old_recipients ELSE recipient_total(recipients) END AS recipients,
    CASE WHEN gone THEN old_imid_hash ELSE imid_hash END AS imid_hash,
    CASE
        WHEN known AND len(changes) > 0 THEN 2
        WHEN known THEN old_origin
        WHEN first_action IS NOT NULL THEN 1
        ELSE 0
    END AS origin,
    CASE WHEN gone THEN seen_at END AS gone_at
FROM compared
WHERE NOT stale AND NOT in_transit AND NOT (uncertain AND known)
  AND CASE
        WHEN gone THEN known AND old_gone_at IS NULL
        WHEN folder_no IS NULL THEN false
        WHEN NOT known THEN NOT (waiting AND hint_kinds = 0)
        ELSE len(changes) > 0
             OR modified_at IS DISTINCT FROM old_modified_at
             OR bits <> old_bits
             OR old_gone_at IS NOT NULL
      END
ORDER BY shard, mailbox_id, item_key
