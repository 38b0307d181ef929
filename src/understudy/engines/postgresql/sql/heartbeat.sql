-- Written in the same statement as the probe that reports it. A node that has seen a newer epoch is left alone.
-- The rate of a sequence is measured from heartbeat to heartbeat, not from its last change: a burst after an idle
-- hour must not look slow. It falls by a tenth per change at most.
WITH allowed AS (
    SELECT WHERE NOT EXISTS (SELECT FROM understudy.fence WHERE epoch > %(epoch)s)
), beat AS (
    INSERT INTO understudy.heartbeat (cluster, number, at)
    SELECT %(cluster)s, %(number)s, clock_timestamp() FROM allowed
    ON CONFLICT (cluster) DO UPDATE SET number = excluded.number, at = excluded.at
    RETURNING number
), elapsed AS (
    SELECT greatest(extract(epoch FROM clock_timestamp() - max(at)), 0.001)::double precision AS seconds
    FROM understudy.heartbeat WHERE cluster = %(cluster)s
), sampled AS (
    INSERT INTO understudy.sequence_sample AS old (name, last_value, per_second, at)
    SELECT s.name, s.last_value,
           coalesce(abs(s.last_value::double precision - o.last_value) / abs(s.increment_by) / e.seconds, 0),
           clock_timestamp()
    FROM (SELECT format('%%I.%%I', schemaname, sequencename) AS name, last_value, increment_by FROM pg_sequences s
          WHERE last_value IS NOT NULL AND schemaname NOT IN ('pg_catalog', 'understudy') AND schemaname !~ '^pg_temp'
            AND NOT {sequence_of_provider}) s
    LEFT JOIN understudy.sequence_sample o USING (name), elapsed e, allowed
    WHERE o.last_value IS DISTINCT FROM s.last_value
    ON CONFLICT (name) DO UPDATE SET last_value = excluded.last_value, at = excluded.at,
        per_second = greatest(excluded.per_second, old.per_second * 0.9)
)
