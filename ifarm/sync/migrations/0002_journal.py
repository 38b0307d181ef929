"""The triggers that write the journal; why they are made so: docs/decisions/0016-a-cursor-that-survives-a-failover.md.

A trigger of a statement notes what it changed, in the transaction of the change. The first note of a transaction waits,
as a deferred constraint does, for COMMIT; there, after every deferred foreign key was checked, the transaction takes its
number under the tenant's lock, which is the last lock that it waits for. Nothing is ever updated: what a failover has
rescued stays a transaction of inserts, which `understudy rescue` knows to be safe.
"""

from __future__ import annotations

from typing import Final

from django.db import migrations

EVERYBODY: Final = "{row}.tenant_id"
BY_PARENT: Final = "NULL::uuid"
NOTED: Final = {
    # table: (kind, the object, whose readers hear that it is gone)
    "farms_farm": ("farm", "id", "{row}.id"),
    "farms_paddock": ("paddock", "id", "{row}.farm_id"),
    "health_medicine": ("medicine", "id", EVERYBODY),
    "health_labelperiod": ("medicine", "medicine_id", BY_PARENT),
    "health_medicinebatch": ("batch", "id", "{row}.farm_id"),
    "animals_animalgroup": ("group", "id", "{row}.farm_id"),
    "animals_animal": ("animal", "id", "{row}.farm_id"),
    "animals_animalidentifier": ("animal", "animal_id", BY_PARENT),
    "animals_parentage": ("animal", "child_id", BY_PARENT),
    "animals_movement": ("movement", "id", "{row}.animal_id"),
    "animals_groupmembership": ("group_member", "id", "{row}.animal_id"),
    "animals_weight": ("weight", "id", "{row}.animal_id"),
    "animals_bodycondition": ("body_condition", "id", "{row}.animal_id"),
    "health_healthcheck": ("health_check", "id", "{row}.animal_id"),
    "health_treatment": ("treatment", "id", "{row}.animal_id"),
    "health_treatmentdose": ("treatment", "treatment_id", BY_PARENT),
    "health_withdrawal": ("treatment", "treatment_id", BY_PARENT),
    "production_production": ("production", "id", "{row}.farm_id"),
    "production_lactation": ("lactation", "id", "{row}.animal_id"),
    "breeding_breedingevent": ("breeding_event", "id", "{row}.animal_id"),
    "sync_pushedoperation": ("operation", "id", BY_PARENT),
}
MANY: Final = 5_000
"""Rows that one statement notes one by one. Of a larger load devices hear that there was one, and begin anew."""
FUNCTION: Final = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp"
"""As the owner, who has BYPASSRLS: a deferred trigger may run when the transaction has gone on to another tenant."""

COMMON: Final = {
    # The same for all statements of a transaction, and gone with the savepoint that it was made in.
    "sync_unit() RETURNS uuid": """
DECLARE unit text := current_setting('app.sync_unit', true);
BEGIN
    IF coalesce(unit, '') = '' THEN
        unit := gen_random_uuid();
        PERFORM set_config('app.sync_unit', unit, true);
    END IF;
    RETURN unit;
END""",
    # Whether this is the tenant's first note in the transaction. Said by a setting, which ends with the savepoint as the
    # note does: asking the journal, the planner may go through all of it, once a few large commits fill it.
    "sync_opens(tenant uuid) RETURNS boolean": """
DECLARE opened text := coalesce(current_setting('app.sync_opened', true), '');
BEGIN
    IF strpos(opened, tenant::text) > 0 THEN
        RETURN false;
    END IF;
    PERFORM set_config('app.sync_opened', opened || tenant::text || ' ', true);
    RETURN true;
END""",
    # First pass of COMMIT, among the deferred foreign keys: ask for a second pass, after all of them.
    "sync_end() RETURNS trigger": """
BEGIN
    INSERT INTO sync_change (id, tenant_id, created_at, modified_at, commit_id, kind, object_id, opens)
    VALUES (gen_random_uuid(), NEW.tenant_id, now(), now(), NEW.commit_id, '', NEW.tenant_id, false)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END""",
    # Second pass: nothing is waited for any more but the number.
    "sync_close() RETURNS trigger": """
BEGIN
    INSERT INTO sync_commit (id, tenant_id, created_at, modified_at, number, mark)
    VALUES (NEW.commit_id, NEW.tenant_id, now(), now(), 0, NEW.commit_id)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END""",
    # Whoever adds a commit, also by hand out of a rescue: number and mark are given here, never taken from elsewhere.
    # The lock is held until the commit is visible, so numbers are seen in their order.
    "sync_number() RETURNS trigger": """
BEGIN
    PERFORM pg_advisory_xact_lock(7, hashtext(NEW.tenant_id::text));
    SELECT coalesce(max(number), 0) + 1 INTO NEW.number FROM sync_commit WHERE tenant_id = NEW.tenant_id;
    NEW.mark := gen_random_uuid();
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END""",
}
TRIGGERS: Final = [
    "CREATE CONSTRAINT TRIGGER sync_end AFTER INSERT ON sync_change DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW WHEN (NEW.opens) EXECUTE FUNCTION sync_end()",
    "CREATE CONSTRAINT TRIGGER sync_close AFTER INSERT ON sync_change DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW WHEN (NEW.kind = '') EXECUTE FUNCTION sync_close()",
    "CREATE TRIGGER sync_number BEFORE INSERT ON sync_commit FOR EACH ROW EXECUTE FUNCTION sync_number()",
]


def _insert(rows: str) -> str:
    """One of the notes of a transaction opens it: only that one waits for COMMIT."""
    return f"""
    WITH r AS MATERIALIZED (SELECT DISTINCT * FROM ({rows}) x WHERE object_id IS NOT NULL),
        t AS MATERIALIZED (SELECT tenant_id, md5(unit || tenant_id::text)::uuid AS commit_id,
            sync_opens(tenant_id) AS opens FROM (SELECT DISTINCT tenant_id FROM r) d)
    INSERT INTO sync_change (id, tenant_id, created_at, modified_at, commit_id, kind, object_id, home_id, opens)
    SELECT gen_random_uuid(), r.tenant_id, now(), now(), t.commit_id, r.kind, r.object_id, r.home_id,
        t.opens AND row_number() OVER (PARTITION BY r.tenant_id) = 1
    FROM r JOIN t USING (tenant_id)
    ON CONFLICT DO NOTHING;"""


def _noting(table: str) -> str:
    """The body of a table's own function: only so are its statements planned once."""
    kind, key, home = NOTED[table]

    def rows(transition: str, row: str) -> str:
        return (
            f"SELECT {row}.tenant_id, '{kind}' AS kind, {row}.{key} AS object_id,"
            f" {home.format(row=row)} AS home_id FROM {transition} {row}"
        )

    def noted(transition: str, one_by_one: str) -> str:
        load = f"SELECT DISTINCT tenant_id, '*' AS kind, tenant_id AS object_id, NULL::uuid AS home_id FROM {transition}"
        many = f"EXISTS (SELECT FROM {transition} OFFSET {MANY})"
        return f"IF {many} THEN {_insert(load)} ELSE {one_by_one} END IF;"

    old, new = rows("old_rows", "o"), rows("new_rows", "n")
    moved = ""
    if table == "animals_animal":
        moved = _insert(
            "SELECT n.tenant_id, 'move' AS kind, n.id AS object_id, n.farm_id AS home_id"
            " FROM new_rows n JOIN old_rows o ON o.id = n.id WHERE o.farm_id <> n.farm_id"
        )
    changed = _insert(f"{old} UNION {new}") + moved
    return f"""
DECLARE unit text := sync_unit();
BEGIN
    IF TG_OP = 'INSERT' THEN {noted("new_rows", _insert(new))}
    ELSIF TG_OP = 'DELETE' THEN {noted("old_rows", _insert(old))}
    ELSE {noted("new_rows", changed)}
    END IF;
    RETURN NULL;
END"""


def _function(head: str, body: str) -> str:
    quoted = body.replace("'", "''")
    return f"CREATE FUNCTION {head} {FUNCTION} AS '{quoted}'"


def _make() -> list[str]:
    made = [_function(head, body) for head, body in COMMON.items()] + TRIGGERS
    for table in NOTED:
        made.append(_function(f"sync_note_{table}() RETURNS trigger", _noting(table)))
        for event, transitions in {
            "INSERT": "NEW TABLE AS new_rows",
            "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
            "DELETE": "OLD TABLE AS old_rows",
        }.items():
            made.append(
                f"CREATE TRIGGER sync_{event.lower()} AFTER {event} ON {table} REFERENCING {transitions}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION sync_note_{table}()"
            )
    return made


def _unmake() -> list[str]:
    gone = [f"DROP FUNCTION sync_note_{table}() CASCADE" for table in NOTED]
    return gone + [f"DROP FUNCTION {head.split(' RETURNS ')[0]} CASCADE" for head in reversed(COMMON)]


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0001_initial"),
        ("farms", "0001_initial"),
        ("animals", "0001_initial"),
        ("production", "0001_initial"),
        ("health", "0001_initial"),
        ("breeding", "0001_initial"),
    ]

    operations = [migrations.RunSQL(_make(), _unmake())]
