-- One row with everything `Probe` holds. {fence} and {heartbeat} are tables, or stand-ins before `setup`;
-- {number} is the heartbeat this probe has just written, or NULL.
SELECT
    f.epoch,
    f.plan,
    f.primary_node,
    EXISTS (SELECT FROM pg_db_role_setting s
            WHERE s.setdatabase = d.oid AND s.setrole = 0
              AND 'default_transaction_read_only=on' = ANY (s.setconfig)) AS fenced,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END
        - '0/0'::pg_lsn AS wal,
    -- The control file knows a new timeline only after the next checkpoint, the name of a WAL file at once.
    (SELECT system_identifier FROM pg_control_system()) || '/' || CASE
        WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer END AS identity,
    current_setting('synchronous_standby_names') AS sync_names,
    (SELECT jsonb_object_agg(r.application_name, r.sync_state IN ('sync', 'quorum'))
     FROM pg_stat_replication r WHERE r.state = 'streaming' AND r.application_name <> '') AS streaming,
    (SELECT jsonb_object_agg(s.slot_name, jsonb_build_object(
         'active', s.active,
         'usable', s.wal_status IS DISTINCT FROM 'lost',
         'confirmed', coalesce(s.confirmed_flush_lsn - '0/0'::pg_lsn, 0)))
     FROM pg_replication_slots s
     WHERE s.slot_type = 'logical' AND s.database = d.datname AND starts_with(s.slot_name, 'understudy_')) AS slots,
    (SELECT jsonb_object_agg(s.subname, jsonb_build_object(
         'enabled', s.subenabled,
         'running', w.pid IS NOT NULL,
         'ready', NOT EXISTS (SELECT FROM pg_subscription_rel t WHERE t.srsubid = s.oid AND t.srsubstate <> 'r'),
         'origin', coalesce(o.remote_lsn - '0/0'::pg_lsn, 0)))
     FROM pg_subscription s
     LEFT JOIN pg_stat_subscription w ON w.subid = s.oid AND w.relid IS NULL AND w.leader_pid IS NULL
     LEFT JOIN pg_replication_origin_status o ON o.external_id = 'pg_' || s.oid
     WHERE s.subdbid = d.oid AND starts_with(s.subname, 'understudy_')) AS subscriptions,
    coalesce({number}, h.number, 0) AS heartbeat
FROM pg_database d LEFT JOIN {fence} f ON true LEFT JOIN {heartbeat} h ON h.cluster = %(cluster)s
WHERE d.datname = current_database()
