-- Every application sequence of this standby with the primary's last sample of it. The names are quoted.
-- The owning column is given only where an index begins with it, so that its maximum is one look-up.
SELECT
    format('%%I.%%I', s.schemaname, s.sequencename) AS name,
    s.increment_by AS increment,
    s.min_value AS minimum,
    s.max_value AS maximum,
    s.cycle,
    s.last_value AS current,
    p.last_value AS sampled,
    coalesce(p.per_second, 0) AS per_second,
    o.owner_table,
    o.owner_column,
    -- The heartbeat, not the sample: a sample is written only when the sequence has moved.
    coalesce((SELECT extract(epoch FROM clock_timestamp() - h.at)::double precision
              FROM understudy.heartbeat h WHERE h.cluster = %(cluster)s), 0) AS unseen_seconds
FROM pg_sequences s
LEFT JOIN understudy.sequence_sample p ON p.name = format('%%I.%%I', s.schemaname, s.sequencename)
LEFT JOIN LATERAL (
    SELECT d.refobjid::regclass::text AS owner_table, quote_ident(a.attname) AS owner_column
    FROM pg_depend d
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.objid = format('%%I.%%I', s.schemaname, s.sequencename)::regclass AND d.refobjsubid > 0
      AND a.atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype, 'numeric'::regtype)
      AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = d.refobjid AND i.indkey[0] = a.attnum
                  AND i.indpred IS NULL AND i.indisvalid)
    LIMIT 1
) o ON true
WHERE s.schemaname NOT IN ('pg_catalog', 'understudy') AND s.schemaname !~ '^pg_temp'
  AND NOT {sequence_of_provider}
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
                  AND d.objid = format('%%I.%%I', s.schemaname, s.sequencename)::regclass)
ORDER BY 1
