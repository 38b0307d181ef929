"""What `check` asks of each node: queries whose every row is one thing to mend.

A rule without rows is a good finding. The columns of a row fill ``message`` and ``mend`` in their order. The
queries run as the administrative role, so `current_user` and the `has_..._privilege` functions speak of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from understudy.engines.base import Severity
from understudy.engines.postgresql.schema import APPLICATION_TABLE, OF_APPLICATION, OF_PROVIDER

# Slots and walsenders a pair needs on each node at most: link, its reverse, a spare, and initial copies.
_SLOTS = 6


@dataclass(frozen=True, slots=True)
class Rule:
    """One question. ``zero_only``: matters in mode ``rpo = "zero"`` only."""

    subject: str
    severity: Severity
    query: str
    message: str
    mend: str = ""
    zero_only: bool = False


def _tables(columns: str, condition: str) -> str:
    return (
        f"SELECT format('%I.%I', n.nspname, c.relname){columns} FROM pg_class c"
        f" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {condition} ORDER BY 1"
    )


_NOT_SYSTEM = f"{OF_APPLICATION} AND n.nspname !~ '^pg_'"
_SERVER = (
    Rule(
        "version",
        Severity.ERROR,
        "SELECT current_setting('server_version') WHERE current_setting('server_version_num')::int / 10000 <> 16",
        "PostgreSQL {0} is not in this version of Understudy: it manages 16",
    ),
    Rule(
        "recovery",
        Severity.ERROR,
        "SELECT 1 WHERE pg_is_in_recovery()",
        "the server is a physical replica; a node must be a server of its own",
    ),
    Rule(
        "wal_level",
        Severity.ERROR,
        "SELECT current_setting('wal_level') WHERE current_setting('wal_level') <> 'logical'",
        "wal_level is {0}, logical replication needs logical",
        "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server",
    ),
    Rule(
        "max_replication_slots",
        Severity.ERROR,
        f"SELECT s.setting, t.taken, t.taken + {_SLOTS} FROM pg_settings s, (SELECT count(*) AS taken"
        " FROM pg_replication_slots WHERE NOT starts_with(slot_name, 'understudy_') AND NOT temporary) t"
        f" WHERE s.name = 'max_replication_slots' AND s.setting::int < t.taken + {_SLOTS}",
        "max_replication_slots is {0}, others use {1}: a pair needs " + str(_SLOTS) + " more",
        "ALTER SYSTEM SET max_replication_slots = {2}; -- then restart the server",
    ),
    Rule(
        "max_wal_senders",
        Severity.ERROR,
        f"SELECT s.setting, t.taken, t.taken + {_SLOTS} FROM pg_settings s, (SELECT count(*) AS taken"
        " FROM pg_stat_replication WHERE NOT starts_with(application_name, 'understudy_')"
        " AND NOT starts_with(application_name, 'pg_')) t"
        f" WHERE s.name = 'max_wal_senders' AND s.setting::int < t.taken + {_SLOTS}",
        "max_wal_senders is {0}, others use {1}: a pair needs " + str(_SLOTS) + " more",
        "ALTER SYSTEM SET max_wal_senders = {2}; -- then restart the server",
    ),
    Rule(
        "max_slot_wal_keep_size",
        Severity.WARNING,
        "SELECT current_setting('max_slot_wal_keep_size')"
        " WHERE current_setting('max_slot_wal_keep_size') = '-1'",
        "max_slot_wal_keep_size is unlimited: while the other node is away, WAL grows until the disk is full",
        "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(); -- past it: a full copy",
    ),
    Rule(
        "synchronous_standby_names",
        Severity.ERROR,
        "SELECT current_setting('synchronous_standby_names')"
        " WHERE current_setting('synchronous_standby_names') !~ '^(\"?understudy_.*)?$'",
        "synchronous_standby_names is {0!r} already; in mode zero Understudy sets and clears it",
        "ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
        zero_only=True,
    ),
    Rule(
        "prepared transactions",
        Severity.WARNING,
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()",
        "prepared transaction {0!r} is open: no change of primary is possible before it ends",
        "COMMIT PREPARED '{0}'; -- or ROLLBACK PREPARED",
    ),
)


def _member(role: str, why: str) -> Rule:
    return Rule(
        f"role {role}",
        Severity.ERROR,
        f"SELECT current_user WHERE NOT pg_has_role('{role}', 'USAGE')",
        "{0} is not a member of " + role + ", needed to " + why,
        f"GRANT {role} TO {{0}};",
    )


def _function(signature: str, why: str, *, zero_only: bool = False) -> Rule:
    return Rule(
        f"function {signature}",
        Severity.ERROR,
        f"SELECT current_user WHERE NOT has_function_privilege('pg_catalog.{signature}', 'EXECUTE')",
        "{0} may not call " + signature + ", needed to " + why,
        f"GRANT EXECUTE ON FUNCTION pg_catalog.{signature} TO {{0}};",
        zero_only=zero_only,
    )


_PRIVILEGES = (
    Rule(
        "attribute REPLICATION",
        Severity.ERROR,
        "SELECT current_user WHERE NOT EXISTS (SELECT FROM pg_roles"
        " WHERE rolname = current_user AND (rolreplication OR rolsuper))",
        "{0} lacks REPLICATION, needed to make slots and to stream",
        "ALTER ROLE {0} REPLICATION;",
    ),
    _member("pg_create_subscription", "follow the other node"),
    _member("pg_signal_backend", "end sessions when the node is fenced"),
    _member("pg_read_all_stats", "see who streams from the node"),
    Rule(
        "database owner",
        Severity.ERROR,
        "SELECT current_user, quote_ident(datname) FROM pg_database"
        " WHERE datname = current_database() AND NOT pg_has_role(datdba, 'USAGE')",
        "{0} does not own database {1}, needed to fence it",
        "ALTER DATABASE {1} OWNER TO {0};",
    ),
    Rule(
        "table owners",
        Severity.ERROR,
        "SELECT DISTINCT current_user, c.relowner::regrole::text FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE ({APPLICATION_TABLE} OR c.relkind = 'S' AND {_NOT_SYSTEM})"
        " AND NOT pg_has_role(c.relowner, 'USAGE')",
        "{0} is not a member of {1}, which owns tables or sequences: it cannot publish or copy them",
        "GRANT {1} TO {0};",
    ),
    Rule(
        # The agent reads as its own role, and replication applies each row as the table's owner (run_as_owner = false):
        # FORCE subjects both. postgresql.org/docs/16/logical-replication-security.html
        "row-level security",
        Severity.ERROR,
        "SELECT r.rolname, min(c.oid::regclass::text), count(DISTINCT c.oid) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_roles r ON r.rolname = current_user OR r.oid = c.relowner"
        f" WHERE {APPLICATION_TABLE} AND c.relrowsecurity AND c.relforcerowsecurity"
        " AND NOT r.rolsuper AND NOT r.rolbypassrls GROUP BY r.rolname ORDER BY 1",
        "role {0} is subject to the row-level security of {1} ({2} such tables): their rows would be hidden from the"
        " agent, and replication would stop",
        "ALTER ROLE {0} BYPASSRLS; -- where applications log in as {0}, first let another role own the tables",
    ),
    Rule(
        "parameter session_replication_role",
        Severity.ERROR,
        "SELECT current_user WHERE NOT has_parameter_privilege('session_replication_role', 'SET')",
        "{0} may not set session_replication_role, needed to rewind a node that comes back",
        "GRANT SET ON PARAMETER session_replication_role TO {0};",
    ),
    Rule(
        "view pg_replication_origin_status",
        Severity.ERROR,
        "SELECT current_user WHERE NOT has_table_privilege('pg_catalog.pg_replication_origin_status', 'SELECT')",
        "{0} may not read pg_replication_origin_status, needed to know what has been applied",
        "GRANT SELECT ON pg_catalog.pg_replication_origin_status TO {0};",
    ),
    _function("pg_show_replication_origin_status()", "know what has been applied"),
    _function("pg_replication_origin_progress(text, boolean)", "know what has been applied"),
    _function("pg_reload_conf()", "switch synchronous commit on and off", zero_only=True),
    Rule(
        "parameter synchronous_standby_names",
        Severity.ERROR,
        "SELECT current_user WHERE NOT has_parameter_privilege('synchronous_standby_names', 'ALTER SYSTEM')",
        "{0} may not ALTER SYSTEM SET synchronous_standby_names, needed in mode zero",
        "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO {0};",
        zero_only=True,
    ),
    Rule(
        "read-only override",
        Severity.ERROR,
        "SELECT s.setrole::regrole::text, CASE WHEN s.setdatabase = 0 THEN ''"
        " ELSE ' IN DATABASE ' || quote_ident(current_database()) END FROM pg_db_role_setting s"
        " WHERE s.setrole <> 0 AND EXISTS (SELECT FROM unnest(s.setconfig) c"
        " WHERE starts_with(c, 'default_transaction_read_only=')) AND s.setdatabase IN"
        " (0, (SELECT oid FROM pg_database WHERE datname = current_database()))",
        "role {0} has its own default_transaction_read_only, which overrides the fence",
        "ALTER ROLE {0}{1} RESET default_transaction_read_only;",
    ),
)

_CONTENTS = (
    Rule(
        "replica identity",
        Severity.ERROR,
        _tables(
            "",
            f"{APPLICATION_TABLE} AND (c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS"
            " (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) OR c.relreplident = 'i'"
            " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident))",
        ),
        "table {0} has no key: once it is published, every UPDATE and DELETE on it fails",
        "ALTER TABLE {0} ADD PRIMARY KEY (...); -- or, slow with many rows: ALTER TABLE {0} REPLICA IDENTITY FULL;",
    ),
    Rule(
        "replica identity full",
        Severity.WARNING,
        _tables("", f"{APPLICATION_TABLE} AND c.relreplident = 'f'"),
        "table {0} is identified by whole rows: each UPDATE and DELETE is looked up by reading the table",
        "ALTER TABLE {0} ADD PRIMARY KEY (...); ALTER TABLE {0} REPLICA IDENTITY DEFAULT;",
    ),
    Rule(
        "unlogged tables",
        Severity.WARNING,
        _tables("", f"c.relkind IN ('r', 'p') AND c.relpersistence = 'u' AND {_NOT_SYSTEM}"),
        "table {0} is unlogged: its contents do not reach the other node",
        "ALTER TABLE {0} SET LOGGED;",
    ),
    Rule(
        "foreign tables",
        Severity.WARNING,
        _tables("", f"c.relkind = 'f' AND {_NOT_SYSTEM}"),
        "foreign table {0} is not replicated; the other node needs its own server definition",
    ),
    Rule(
        "references to the provider",
        Severity.WARNING,
        "SELECT k.conrelid::regclass::text, quote_ident(k.conname), k.confrelid::regclass::text FROM pg_constraint k"
        " JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE k.contype = 'f' AND k.conparentid = 0 AND {APPLICATION_TABLE} AND k.confrelid IN"
        " (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE {OF_PROVIDER}) ORDER BY 1, 2",
        "{1} of {0} refers to {2}, which is the provider's and is not copied: where the other node lacks its row,"
        " new rows of {0} are refused there once it is primary",
        "ALTER TABLE {0} DROP CONSTRAINT {1}; -- or refer to a table of the application",
    ),
    Rule(
        "large objects",
        Severity.WARNING,
        "SELECT count(*) FROM pg_largeobject_metadata HAVING count(*) > 0",
        "{0} large objects are not replicated: keep such data in bytea columns",
    ),
    Rule(
        "triggers",
        Severity.WARNING,
        "SELECT t.tgrelid::regclass::text, quote_ident(t.tgname) FROM pg_trigger t"
        " WHERE NOT t.tgisinternal AND t.tgenabled IN ('R', 'A') ORDER BY 1, 2",
        "trigger {1} on {0} also fires for replicated rows: what it writes is written twice",
        "ALTER TABLE {0} ENABLE TRIGGER {1};",
    ),
    Rule(
        "sequences",
        Severity.WARNING,
        "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences WHERE cycle ORDER BY 1",
        "sequence {0} cycles: an unplanned failover leaves it where the last planned one put it",
        "ALTER SEQUENCE {0} NO CYCLE;",
    ),
)

RULES = _SERVER + _PRIVILEGES + _CONTENTS
