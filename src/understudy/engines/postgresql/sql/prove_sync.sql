-- Commits a few times, waiting for the standby, and looks each time, at once, whether the standby's flush position
-- is past the commit. It is only if the commit has waited: without waiting the position is a network round trip
-- behind. `sync_state` proves less: the walsender may know the new setting before the checkpointer, on which the
-- sessions that commit depend.
DO $$
DECLARE
    position pg_lsn;
    flushed pg_lsn;
    waited boolean := true;
BEGIN
    FOR i IN 1..5 LOOP
        PERFORM set_config('synchronous_commit', 'on', true);
        INSERT INTO understudy.marker (id) VALUES ('{link}/sync/' || gen_random_uuid());
        position := pg_current_wal_insert_lsn();
        COMMIT;
        SELECT max(flush_lsn) INTO flushed FROM pg_stat_replication WHERE application_name = '{link}';
        waited := waited AND coalesce(flushed >= position, false);
    END LOOP;
    PERFORM set_config('understudy.commits_wait', waited::text, false);
END $$
