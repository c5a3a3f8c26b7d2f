-- directory_none: the directory for those who may not see it: its columns without a row.
--
-- used by  the view `directory`
SELECT
    CAST(NULL AS VARCHAR) AS tenant_id,
    CAST(NULL AS BLOB) AS address_key,
    CAST(NULL AS VARCHAR) AS tuid,
    CAST(NULL AS VARCHAR) AS address,
    CAST(NULL AS VARCHAR) AS name,
    CAST(NULL AS VARCHAR) AS domain,
    CAST(NULL AS TIMESTAMPTZ) AS first_seen
WHERE false
