-- directory: whose address and name stands behind a tuid or a keyed hash.
--
-- reads    {directory}          directory/directory.parquet, readable by its owner only
-- grain    one row per tenant and address
-- used by  the view `directory`, only where addresses may be seen (`--reveal`)
SELECT
    tenant_id,
    address_key,
    tuid,
    address,
    name,
    domain,
    first_seen
FROM read_parquet({directory}, hive_partitioning = false)
