"""The parts of the Django integration that need neither settings nor a database."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, OperationalError

import understudy
from understudy.client import errors as client
from understudy.integrations.django import errors
from understudy.integrations.django.middleware import lost
from understudy.integrations.django.target import DIRECT, fill, is_direct, target_of

CONFIG = """
[clusters.main]
rpo = "bounded"
[[clusters.main.nodes]]
name = "home"
dsn = "postgresql://farm:s3cret-of-home@home.example:5433/farm"
[[clusters.main.nodes]]
name = "cloud"
dsn = "postgresql://farm:s3cret-of-cloud@cloud.example/postgres"
"""


@pytest.fixture
def options(tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "understudy.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return {"config": path}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (client.CommitInDoubt("x", node="a", epoch=3), errors.CommitInDoubt),
        (client.PrimaryLost("x"), errors.PrimaryLost),
        (client.NoPrimaryAvailable("x"), errors.NoPrimaryAvailable),
    ],
)
def test_errors_are_of_both_families(error: Exception, kind: type[Exception]) -> None:
    found = errors.as_django(error)
    assert type(found) is kind
    for family in (
        OperationalError,
        DatabaseError,
        type(error),
        psycopg.OperationalError,
        understudy.UnderstudyError,
    ):
        assert isinstance(found, family)
    assert str(found) == "x"
    assert getattr(found, "epoch", None) == getattr(error, "epoch", None)


def test_other_errors_are_left_to_django() -> None:
    assert errors.as_django(psycopg.OperationalError("x")) is None
    assert errors.as_django(ValueError("x")) is None


def test_only_lost_connections_count_as_lost() -> None:
    def caused(cause: Exception) -> OperationalError:
        error = OperationalError("x")
        error.__cause__ = cause
        return error

    assert lost(caused(psycopg.OperationalError("server closed the connection unexpectedly")))
    assert lost(caused(psycopg.errors.AdminShutdown("x")))
    assert lost(errors.CommitInDoubt("x"))
    assert not lost(caused(psycopg.errors.DeadlockDetected("x")))
    assert not lost(caused(psycopg.errors.QueryCanceled("x")))
    assert not lost(OperationalError("x"))
    assert not lost(DatabaseError("x"))


def test_the_preferred_nodes_place_is_filled_in_without_its_password(options: dict[str, object]) -> None:
    settings = dict.fromkeys(("NAME", "USER", "PASSWORD", "HOST", "PORT"), "") | {"TEST": {}}
    fill("default", settings, target_of("default", options))
    assert settings == {
        "NAME": "farm",
        "USER": "farm",
        "PASSWORD": "",
        "HOST": "home.example",
        "PORT": "5433",
        "TEST": {},
    }
    fill("default", settings, target_of("default", options))  # every thread does
    with pytest.raises(ImproperlyConfigured, match=r"expected 'farm'.*found 'other'"):
        fill("default", {"NAME": "other", "TEST": {}}, target_of("default", options))


def test_only_test_databases_are_direct() -> None:
    assert not is_direct({"NAME": "farm", "TEST": {}})
    assert is_direct({"NAME": None})
    assert is_direct({"NAME": "test_farm", "TEST": {DIRECT: True}})


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"cluster": "nowhere"}, "one of: main"),
        ({"config": "/does/not/exist.toml"}, "no such file"),
        ({"readonly": "yes"}, "True or False"),
        ({"max_lag": 5}, "beside 'readonly'"),
        ({"readonly": True, "max_lag": -1}, "0 or more"),
        ({"pool": True}, "CONN_MAX_AGE"),
    ],
)
def test_wrong_options(options: dict[str, object], wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=text) as caught:
        target_of("default", options | wrong)
    assert "DATABASES['default']" in str(caught.value)
    assert "s3cret" not in str(caught.value)
