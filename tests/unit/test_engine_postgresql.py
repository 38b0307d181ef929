"""The parts of the PostgreSQL engine that need no server."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from understudy.engines.postgresql.links import subscriber_conninfo
from understudy.engines.postgresql.schema import describe_difference, fingerprint, link_prefix, publication
from understudy.engines.postgresql.sequences import Sampled, raised
from understudy.engines.postgresql.sessions import Sessions, masked, translate
from understudy.errors import EngineError, Unreachable
from understudy.model import Cluster, Node, Policy

NODES = tuple(
    Node(
        name=name,
        dsn=f"postgresql://app:app-secret@{name}/farm",
        admin_dsn=f"postgresql://understudy:p%40ss@{name}/farm",
        replication_dsn=f"postgresql://repl:r3pl@{name}/farm?application_name=mine&sslmode=require",
        priority=priority,
    )
    for priority, name in enumerate(("oak", "elm"), 1)
)
CLUSTER = Cluster(name="main-farm", engine="postgresql", nodes=NODES, policy=Policy())


def sampled(**changes: object) -> Sampled:
    values: dict[str, object] = {
        "name": "public.s",
        "increment": 1,
        "minimum": 1,
        "maximum": 2**63 - 1,
        "cycle": False,
        "current": None,
        "sampled": None,
        "per_second": 0.0,
        "owner_table": None,
        "owner_column": None,
        "unseen_seconds": 0.0,
    }
    return Sampled(**(values | changes))  # type: ignore[arg-type]


def test_a_sequence_that_was_never_called_stays() -> None:
    assert raised(sampled(), None, 6.0) is None


def test_a_sequence_is_raised_past_sample_and_column() -> None:
    assert raised(sampled(sampled=10), None, 6.0) == 1010
    assert raised(sampled(sampled=10), 500, 6.0) == 1500
    assert raised(sampled(), 500, 6.0) == 1500
    assert raised(sampled(sampled=10, increment=5), None, 6.0) == 5010
    assert raised(sampled(sampled=10, per_second=1000.0), None, 6.0) == 60_010


def test_a_sequence_stops_at_its_end() -> None:
    assert raised(sampled(sampled=90, maximum=100), None, 6.0) == 100
    assert raised(sampled(sampled=-90, increment=-1, minimum=-100, maximum=-1), None, 6.0) == -100


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from([-7, -1, 1, 3]),
    st.floats(0, 10**5),
    st.one_of(st.none(), st.integers(-(10**6), 10**6)),
    st.one_of(st.none(), st.integers(-(10**6), 10**6)),
)
def test_raising_never_goes_back_and_twice_is_once(
    last: int, increment: int, rate: float, current: int | None, used: int | None
) -> None:
    bounds = {"minimum": -(2**63), "maximum": 2**63 - 1}
    sequence = sampled(sampled=last, increment=increment, per_second=rate, current=current, **bounds)
    value = raised(sequence, used, 6.0)
    end = value if value is not None else current
    assert end is not None
    for before in (last, used, current):
        assert before is None or (end - before) * increment >= 0
    again = sampled(sampled=last, increment=increment, per_second=rate, current=end, **bounds)
    assert raised(again, used, 6.0) is None


def test_a_schema_difference_names_what_differs() -> None:
    left = ["public.item: column id bigint", "public.item: column name text"]
    right = ["public.item: column id bigint", "public.item: column name varchar"]
    assert describe_difference(left, right) == (
        "- public.item: column name text\n+ public.item: column name varchar"
    )
    assert describe_difference(left, left) == ""
    assert fingerprint(left) != fingerprint(right)


def test_names_keep_to_what_slots_allow() -> None:
    assert link_prefix("main-farm") == "understudy_main_farm_"
    assert publication("main-farm") == "understudy_main-farm"


def test_a_subscriber_names_itself_and_gives_up_in_time() -> None:
    parameters = conninfo_to_dict(subscriber_conninfo(CLUSTER, "oak"))
    assert "application_name" not in parameters, "its own name is what synchronous standbys go by"
    assert (parameters["host"], parameters["password"], parameters["sslmode"]) == ("oak", "r3pl", "require")
    assert int(str(parameters["connect_timeout"])) >= 2


def test_no_password_in_any_message() -> None:
    text = masked("connection to p@ss failed\nwith r3pl and app-secret", CLUSTER)
    assert text == "connection to *** failed with *** and ***"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), Unreachable, "closed"),
        (psycopg.errors.AdminShutdown("terminating"), Unreachable, "57P01"),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "x"'), EngineError, "DSN"),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), EngineError, "correct the DSN"),
        (psycopg.errors.InsufficientPrivilege("permission denied"), EngineError, "understudy check"),
        (psycopg.errors.UndefinedTable("no understudy.fence"), EngineError, "understudy setup"),
        (psycopg.errors.LockNotAvailable("timeout"), EngineError, "pg_locks"),
    ],
)
def test_driver_errors_say_what_to_do(error: psycopg.Error, kind: type[EngineError], text: str) -> None:
    translated = translate(error, "oak", "do it", CLUSTER)
    assert type(translated) is kind
    assert text in str(translated)
    assert str(translated).startswith("oak: ")


def test_the_database_of_a_node() -> None:
    assert Sessions(CLUSTER).database("oak") == "farm"
