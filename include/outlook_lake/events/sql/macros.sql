-- macros: small expressions the other files share.
--
-- used by  outlook_lake.events.diff
CREATE OR REPLACE MACRO md5_part(value, digits) AS
    -- The same on every machine and release, unlike hash(); NULL counts as the empty text.
    CAST('0x' || left(md5(coalesce(value, '')), digits) AS BIGINT);

CREATE OR REPLACE MACRO item_bits(is_read, is_draft, attachments, external_sender, flag, importance,
                                  inference, sender_differs) AS
    -- 1 read · 2 draft · 4 attachments · 8 external sender · 16, 32 flag · 64, 128 importance
    -- 256 focused · 512 sender differs · 1024 as pushed (added by compare)
    CAST(coalesce(is_read, false) AS INTEGER)
    | (CAST(coalesce(is_draft, false) AS INTEGER) << 1)
    | (CAST(coalesce(attachments, false) AS INTEGER) << 2)
    | (CAST(coalesce(external_sender, false) AS INTEGER) << 3)
    | CASE flag WHEN 'flagged' THEN 16 WHEN 'complete' THEN 32 ELSE 0 END
    | CASE importance WHEN 'normal' THEN 64 WHEN 'high' THEN 128 ELSE 0 END
    | CASE inference WHEN 'focused' THEN 256 ELSE 0 END
    | (CAST(coalesce(sender_differs, false) AS INTEGER) << 9);

CREATE OR REPLACE MACRO recipient_total(recipients) AS
    -- To and Cc, as everywhere; Bcc is known in the sender's copy only.
    len(list_filter(coalesce(recipients, []), lambda person: person.kind <> 'bcc'));

CREATE OR REPLACE MACRO change(action, timing, fields) AS
    struct_pack(action := action, timing := timing, fields := CAST(fields AS VARCHAR[]));

CREATE OR REPLACE MACRO uuid5_of(digest) AS
    -- RFC 9562, version 5, from sha1(namespace bytes || name) in hexadecimal digits.
    left(digest, 8) || '-' || substr(digest, 9, 4) || '-5' || substr(digest, 14, 3) || '-'
    || substr('89ab', CAST('0x' || substr(digest, 17, 1) AS INTEGER) % 4 + 1, 1)
    || substr(digest, 18, 3) || '-' || substr(digest, 21, 12);
