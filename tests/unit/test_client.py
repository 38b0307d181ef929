"""The pure parts of the client: what a statement may do, what an error means, who may renew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql
from psycopg_pool import PoolTimeout

import understudy
from understudy.client.errors import CommitInDoubt, NoPrimaryAvailable, PrimaryLost
from understudy.client.guard import GuardedCursor, guarded
from understudy.client.outcome import certainly_not_committed, is_connection_error, may_commit
from understudy.client.renewal import confirmed
from understudy.model import ClusterState, NodeRecord, Plan, PlanKind, Role


@pytest.mark.parametrize(
    "query",
    [
        "COMMIT",
        " commit ;",
        "End",
        "END TRANSACTION",
        b"COMMIT",
        "commit and chain",
        "COMMIT PREPARED 'x'",
        "/* x */ COMMIT",
        "-- x\nCOMMIT",
        "SELECT 1; COMMIT",
        "cOmMiT",
        sql.SQL("COMMIT"),
        sql.SQL("{} PREPARED {}").format(sql.SQL("COMMIT"), "x"),
    ],
)
def test_may_commit(query: object) -> None:
    assert may_commit(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "select 'COMMIT'",
        "ROLLBACK",
        "BEGIN",
        "endless",
        b"INSERT INTO committed VALUES (1);",
        "CALL commit_all()",
        sql.SQL("SELECT 1"),
        "",
    ],
)
def test_may_not_commit(query: object) -> None:
    assert not may_commit(query)


@pytest.mark.parametrize(
    ("error", "connection", "repeat"),
    [
        (psycopg.OperationalError("server closed the connection"), True, True),
        (errors.AdminShutdown("x"), True, True),
        (errors.CannotConnectNow("x"), True, True),
        (errors.ConnectionFailure("x"), True, True),
        (errors.SerializationFailure("x"), False, True),
        (errors.DeadlockDetected("x"), False, True),
        (errors.ReadOnlySqlTransaction("x"), False, True),
        (errors.UniqueViolation("x"), False, False),
        (errors.SyntaxError("x"), False, False),
        (errors.QueryCanceled("x"), False, False),
        (errors.DiskFull("x"), False, False),
        (PoolTimeout("x"), False, False),
        (NoPrimaryAvailable("x"), False, False),
        (PrimaryLost("x"), False, True),
        (CommitInDoubt("x"), False, False),
        (KeyError("x"), False, False),
    ],
)
def test_what_an_error_means(error: Exception, connection: bool, repeat: bool) -> None:
    assert is_connection_error(error) is connection
    assert certainly_not_committed(error) is repeat


def test_every_cursor_class_can_be_guarded() -> None:
    for factory in (psycopg.Cursor, psycopg.ClientCursor, psycopg.AsyncCursor, psycopg.RawCursor):
        made = guarded(factory)
        assert issubclass(made, factory)
        assert issubclass(made, GuardedCursor)
        assert guarded(made) is made


def state(epoch: int, primary: str = "a", kind: PlanKind | None = None) -> ClusterState:
    nodes = (NodeRecord(name="a", role=Role.PRIMARY), NodeRecord(name="b", role=Role.STANDBY))
    plan = kind and Plan(
        kind=kind, epoch=epoch, source="a", target="b", number=7, slot="s", rule="r", reason="x"
    )
    return ClusterState(cluster="c", version=1, epoch=epoch, primary=primary, nodes=nodes, plan=plan or None)


@pytest.mark.parametrize(
    ("witness", "fences", "answer"),
    [
        (state(3), [(3, "a"), (3, "a")], (3, "a")),
        (state(3), [(3, "a"), None], (3, "a")),
        (state(3), [None, None], None),
        (None, [(3, "a"), (3, "a")], (3, "a")),
        (None, [(3, "a"), (3, "b")], None),
        (None, [(3, "a"), None], None),
        (state(3), [(4, "b"), (3, "a")], None),
        (state(3), [(4, "b"), (4, "b")], None),
        (state(4), [(3, "a"), (3, "a")], None),
        (state(3, kind=PlanKind.FAILOVER), [(3, "a"), (3, "a")], None),
        (state(3, kind=PlanKind.REJOIN), [(3, "a"), None], (3, "a")),
    ],
)
def test_two_of_three(
    witness: ClusterState | None, fences: list[tuple[int, str] | None], answer: tuple[int, str] | None
) -> None:
    assert confirmed(witness, fences) == answer


def test_the_blocking_client_is_generated_from_its_source() -> None:
    script = Path(__file__).parents[2] / "tools" / "generate_sync.py"
    run = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_public_names() -> None:
    for name in understudy.__all__:
        assert getattr(understudy, name) is not None
    with pytest.raises(AttributeError):
        understudy.nothing  # noqa: B018
