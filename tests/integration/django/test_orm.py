"""The backend is Django's own in everything but where its connections lead."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.integration.django.conftest import change, changing

import understudy
from understudy.demo.lab import Lab
from understudy.lease import boot_now


@pytest.fixture
def db(clean: Lab) -> Iterator[Lab]:
    """`default` in this thread, as a request finds it."""
    from django.db import connection

    yield clean
    connection.close_if_unusable_or_obsolete()


def end_session(lab: Lab, pid: int) -> None:
    """What a server does that goes down or is fenced."""
    with lab.connect(lab.state.primary, "postgres") as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def pid() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_queries_are_those_of_django(db: Lab) -> None:
    from django.db import IntegrityError, connection, models, transaction
    from django.db.models import F
    from django.utils import timezone
    from tests.integration.django.farm.models import Animal, Herd

    herd = Herd.objects.create(name="north")
    now = timezone.now()
    Animal.objects.bulk_create(
        [Animal(herd=herd, name=f"n{i}", born=now, notes={"i": i, "s": "ä"}) for i in range(50)]
    )
    animal = Animal.objects.select_related("herd").get(notes__i=7)
    assert (animal.herd, animal.born, animal.notes["s"]) == (herd, now, "ä")
    assert Animal.objects.aggregate(n=models.Count("id"))["n"] == 50
    assert Animal.objects.filter(name="n1").update(name=F("name")) == 1
    assert [h.animals.count() for h in Herd.objects.prefetch_related("animals")] == [50]
    assert Animal.objects.raw("SELECT * FROM farm_animal WHERE name = %s", ["n3"])[0].name == "n3"
    assert Herd.objects.get_or_create(name="north")[1] is False
    with pytest.raises(IntegrityError) as caught:
        Herd.objects.create(name="north")
    assert isinstance(caught.value.__cause__, psycopg.errors.UniqueViolation)
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE farm_animal SET name = %s WHERE name = %s", [("x", "n4"), ("y", "n5")])
        cursor.callproc("lower", ["ABC"])
        assert cursor.fetchone() == ("abc",)
        with cursor.copy("COPY farm_herd (name) FROM STDIN") as copy:
            copy.write_row(("copied",))
    assert Herd.objects.filter(name="copied").exists()
    with transaction.atomic():
        assert list(Herd.objects.select_for_update().filter(name="north")) == [herd]


def test_transactions_savepoints_and_hooks(db: Lab) -> None:
    from django.db import connection, transaction
    from tests.integration.django.farm.models import Herd

    done: list[str] = []
    with transaction.atomic():
        Herd.objects.create(name="kept")
        transaction.on_commit(lambda: done.append("outer"))
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            Herd.objects.create(name="undone")
            transaction.on_commit(lambda: done.append("inner"))
            raise ZeroDivisionError
        assert not done
    assert done == ["outer"]
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        Herd.objects.create(name="undone, too")
        raise ZeroDivisionError
    assert list(Herd.objects.values_list("name", flat=True)) == ["kept"]
    assert connection.get_autocommit()
    transaction.set_autocommit(False)
    Herd.objects.create(name="by hand")
    transaction.rollback()
    transaction.set_autocommit(True)
    assert Herd.objects.count() == 1


def test_two_transactions_exclude_each_other(db: Lab) -> None:
    from django.db import OperationalError, connections, transaction
    from tests.integration.django.farm.models import Herd

    herd = Herd.objects.create(name="locked")
    refused: list[Exception] = []

    def other() -> None:
        try:
            with transaction.atomic():
                Herd.objects.select_for_update(nowait=True).get(pk=herd.pk)
        except OperationalError as error:
            refused.append(error)
        finally:
            connections.close_all()

    with transaction.atomic():
        Herd.objects.select_for_update().get(pk=herd.pk)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
    assert isinstance(refused[0].__cause__, psycopg.errors.LockNotAvailable)


def test_a_planned_change_between_two_statements_of_one_cursor(db: Lab) -> None:
    from django.db import connection, transaction
    from tests.integration.django.farm.models import Herd

    with connection.cursor() as first, connection.cursor() as second:
        for cursor in (first, second):
            cursor.execute("SELECT 1")
        node = connection.connection.node
        target = change(db)
        assert target != node
        for cursor in (first, second):
            cursor.execute("INSERT INTO farm_herd (name) VALUES (%s) RETURNING id", [f"{id(cursor)}"])
            assert cursor.fetchone()[0]
        assert connection.connection.node == target
    with transaction.atomic():  # nothing was sent in this block yet: it is the next primary's
        target = change(db)
        Herd.objects.create(name="begun late")
        with transaction.atomic():
            Herd.objects.create(name="nested")
        assert connection.connection.node == target
    assert Herd.objects.count() == 4


def test_a_change_waits_for_a_transaction_and_never_happens_inside_one(db: Lab) -> None:
    from django.db import connection, transaction
    from tests.integration.django.farm.models import Herd

    db.await_settled()
    with contextlib.ExitStack() as stack, transaction.atomic():
        Herd.objects.create(name="one")
        epoch, node = connection.connection.epoch, connection.connection.node
        stack.enter_context(changing(db))
        Herd.objects.create(name="two")
        assert (connection.connection.epoch, connection.connection.node) == (epoch, node)
    # The change is in the witness, the lease may follow a moment later. No router: `default` is what is asked about.
    assert Herd.objects.using("default").count() == 2
    assert connection.connection.node == db.state.primary != node


def test_rows_of_an_open_iterator_outlive_a_planned_change(db: Lab) -> None:
    from django.db import connection
    from tests.integration.django.farm.models import Herd

    Herd.objects.bulk_create([Herd(name=f"h{i}") for i in range(500)])
    db.await_settled()
    rows = Herd.objects.order_by("id").iterator(chunk_size=10)
    seen = [next(rows)]
    with changing(db):
        Herd.objects.filter(pk=seen[0].pk).update(
            name="changed on the way"
        )  # part of the work that is waited for
        seen += rows
    assert len(seen) == 500
    Herd.objects.create(name="afterwards")
    assert connection.connection.node == db.state.primary
    assert db.await_true(lambda: _in_flight(db) == 0, 60, "nothing in flight") is None


def _in_flight(lab: Lab) -> int:
    from understudy.lease import LeaseFile

    file = LeaseFile(lab.directory / f"{lab.cluster.name}.lease")
    try:
        return sum(process.in_flight for process in file.processes() if process.alive)
    finally:
        file.close()


def test_an_abandoned_iterator_counts_no_longer(db: Lab) -> None:
    from django.db import connection
    from tests.integration.django.farm.models import Herd

    Herd.objects.bulk_create([Herd(name=f"h{i}") for i in range(50)])
    rows = Herd.objects.iterator(chunk_size=10)
    next(rows)
    assert _in_flight(db) == 1
    connection.close()
    assert _in_flight(db) == 0
    with contextlib.suppress(Exception):
        rows.close()
    assert Herd.objects.count() == 50
    assert _in_flight(db) == 0


def test_a_statement_that_is_never_sent_is_not_in_flight(db: Lab) -> None:
    from django.db import connection, transaction
    from django.db.utils import ProgrammingError

    with transaction.atomic(), connection.cursor() as cursor:
        transaction.set_rollback(True)
        for call in (cursor.execute, lambda text: cursor.executemany(text, [()])):
            with pytest.raises(transaction.TransactionManagementError):
                call("SELECT 1")
            assert _in_flight(db) == 0
    with connection.cursor() as cursor:
        for row in ([object()], ["x", "y"]):
            with pytest.raises(ProgrammingError):
                cursor.execute("SELECT %s", row)
            assert _in_flight(db) == 0


def test_copy_after_a_planned_change(db: Lab) -> None:
    from django.db import connection
    from tests.integration.django.farm.models import Herd

    with connection.cursor() as cursor:
        change(db)
        with cursor.copy("COPY farm_herd (name) FROM STDIN") as copy:
            copy.write_row(("copied",))
    assert Herd.objects.get().name == "copied"


def test_a_session_that_ended_between_two_statements_is_replaced(db: Lab) -> None:
    from django.db import connection, transaction
    from tests.integration.django.farm.models import Herd

    end_session(db, before := pid())
    Herd.objects.create(name="without an error")
    end_session(db, again := pid())
    with transaction.atomic():
        Herd.objects.create(name="nor with this one")
    end_session(db, pid())
    connection.close_if_unusable_or_obsolete()  # the boundary of a request
    assert connection.connection is None
    assert len({before, again, pid()}) == 3
    assert Herd.objects.count() == 2


def test_a_transaction_that_broke_is_never_continued_on_a_new_connection(db: Lab) -> None:
    from django.db import OperationalError, transaction
    from tests.integration.django.farm.models import Herd

    with pytest.raises(OperationalError), transaction.atomic():
        Herd.objects.create(name="lost with its session")
        end_session(db, pid())
        for _ in range(2):  # an application that carries on regardless
            with contextlib.suppress(OperationalError):
                transaction.get_connection().cursor().execute(
                    "INSERT INTO farm_herd (name) VALUES ('half of it')"
                )
    assert not Herd.objects.exists()


def test_a_hand_made_transaction_that_broke_is_not_committed_in_part(db: Lab) -> None:
    from django.db import OperationalError, connection
    from tests.integration.django.farm.models import Herd

    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO farm_herd (name) VALUES ('first half')")
        end_session(db, pid())
        for text in ("INSERT INTO farm_herd (name) VALUES ('second half')", "COMMIT"):
            with pytest.raises(OperationalError):
                cursor.execute(text)
    connection.close()
    assert not Herd.objects.exists()


def test_a_lost_commit_is_in_doubt_for_django_and_for_the_client(db: Lab) -> None:
    from django.db import DatabaseError, OperationalError, connection, transaction
    from tests.integration.django.farm.models import Herd

    from understudy.integrations.django.errors import CommitInDoubt

    def told() -> int:
        return db.agent.log.read_text().count("commit_in_doubt")

    ends, before = "SELECT pg_terminate_backend(pg_backend_pid())", told()
    with pytest.raises(CommitInDoubt) as caught, connection.cursor() as cursor:
        cursor.execute(ends)  # in autocommit each statement is a commit
    assert isinstance(caught.value, OperationalError)
    assert isinstance(caught.value, DatabaseError)
    assert isinstance(caught.value, understudy.CommitInDoubt)
    assert isinstance(caught.value.__cause__, understudy.CommitInDoubt)
    assert caught.value.epoch == db.state.epoch
    db.await_true(lambda: told() == before + 1, 60, "an agent that was told")
    Herd.objects.create(name="the next statement has a new connection")
    with pytest.raises(OperationalError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ends)  # in a transaction nothing is at stake before COMMIT
    assert not isinstance(caught.value, understudy.CommitInDoubt)
    with pytest.raises(CommitInDoubt), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE ends (a int); CREATE FUNCTION pg_temp.ends() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END';"
            "CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON ends DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION pg_temp.ends(); INSERT INTO ends VALUES (1)"
        )
    assert connection.connection is None  # the error is not kept waiting for the next primary
    assert Herd.objects.count() == 1


def test_a_commit_in_doubt_marks_the_span_of_its_view(db: Lab) -> None:
    from django.db import connection
    from django.db.backends.signals import connection_created

    from understudy.integrations.django.errors import CommitInDoubt
    from understudy.integrations.telemetry import instrument

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def trace(connection: Any, **_: object) -> None:  # as docs/how-to/telemetry.md has it
        if connection.alias == "default" and not connection.direct:
            instrument(connection, tracer_provider=provider)

    connection_created.connect(trace)
    try:
        connection.close()
        connection.ensure_connection()
    finally:
        connection_created.disconnect(trace)
    viewing = provider.get_tracer("test").start_as_current_span("view")
    with viewing, pytest.raises(CommitInDoubt), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    (view,) = exporter.get_finished_spans()
    assert (view.status.description, view.events[0].name) == ("commit in doubt", "commit_in_doubt")


def test_reads_on_the_standby(db: Lab) -> None:
    from django.db import connections
    from django.db.utils import InternalError
    from tests.integration.django.farm.models import Herd

    herd = Herd.objects.create(name="replicated")
    db.await_settled()
    backup = connections["backup"]
    db.await_true(
        lambda: Herd.objects.using("backup").filter(pk=herd.pk).exists(), 60, "the row on the standby"
    )
    assert backup.connection.node == db.state.other
    with pytest.raises(InternalError) as caught:
        Herd.objects.using("backup").create(name="never")
    assert isinstance(caught.value.__cause__, psycopg.errors.ReadOnlySqlTransaction)
    assert change(db) == backup.connection.node
    db.await_settled()
    backup.close_if_unusable_or_obsolete()
    assert Herd.objects.using("backup").get().name == "replicated"
    with pytest.raises(InternalError):
        Herd.objects.using("backup").create(name="never")
    db.await_true(lambda: _reads_from(backup) == db.state.other, 60, "reads on the new standby")


def _reads_from(backup: object) -> str:
    backup.close_if_unusable_or_obsolete()  # type: ignore[attr-defined]
    with backup.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("SELECT 1")
    return backup.connection.node  # type: ignore[attr-defined]


def test_a_standby_too_far_behind_is_not_read(db: Lab) -> None:
    from django.db.utils import ConnectionHandler

    settings = {
        "ENGINE": "understudy.integrations.django.postgresql",
        "OPTIONS": {"readonly": True, "max_lag": 0, "config": str(db.config_file)},
    }
    aliases = ConnectionHandler({"default": settings})
    db.await_settled()
    try:
        db.await_true(lambda: _reads_from(aliases["default"]) == db.state.primary, 60, "reads on the primary")
        with aliases["default"].cursor() as cursor:
            cursor.execute("SHOW default_transaction_read_only")
            assert cursor.fetchone() == ("on",)
    finally:
        aliases["default"].close()


def test_a_lag_that_nobody_has_measured_lately_is_no_known_lag(db: Lab, monkeypatch) -> None:
    """Once the lease has run out its lag is one of then. Who gave no limit reads on."""
    from django.db.utils import ConnectionHandler

    ours = {"readonly": True, "config": str(db.config_file)}
    options = {"default": ours, "bounded": ours | {"max_lag": 60}}
    engine = "understudy.integrations.django.postgresql"
    aliases = ConnectionHandler(
        {name: {"ENGINE": engine, "OPTIONS": given} for name, given in options.items()}
    )
    db.await_settled()
    host = aliases["default"].host
    try:
        for name in options:
            db.await_true(lambda name=name: _reads_from(aliases[name]) == db.state.other, 60, "the standby")  # type: ignore[misc]
        ran_out = replace(host.file.read(), standby_lag=0.1, deadline=boot_now() - 1)
        monkeypatch.setattr(host, "lease", lambda: ran_out)
        assert [_reads_from(aliases[name]) for name in options] == [db.state.other, db.state.primary]
        assert [aliases[name].on_standby() for name in options] == [True, False]
    finally:
        aliases.close_all()


def test_pages_are_told_where_the_database_is(db: Lab) -> None:
    from django.db import connection

    there = connection.settings_dict
    assert (there["NAME"], there["USER"], there["HOST"]) == ("bank", "app", "127.0.0.1")
    assert int(there["PORT"]) == db.servers["a"].port
    assert not there["PASSWORD"]
    args, env = connection.client.settings_to_cmd_args_env(there, ["-c", "SELECT 1"])
    assert str(db.servers[db.state.primary].port) in args
    assert env is not None
    assert env["PGPASSWORD"]
    assert not any(env["PGPASSWORD"] in word for word in args)


async def test_asynchronous_queries(farm: Lab) -> None:
    from asgiref.sync import sync_to_async
    from tests.integration.django.farm.models import Herd

    herd = await Herd.objects.acreate(name="async")
    assert (await Herd.objects.aget(pk=herd.pk)).name == "async"
    await sync_to_async(change)(farm)
    await Herd.objects.acreate(name="async, afterwards")
    assert [h.name async for h in Herd.objects.order_by("id").filter(name__startswith="async")] == [
        "async",
        "async, afterwards",
    ]
