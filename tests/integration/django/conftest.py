"""One laboratory with a real agent, and the project `farm` on it, migrated by its own `manage.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from understudy.demo.lab import Lab
from understudy.model import PlanKind, Rpo

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = "tests.integration.django.farm.settings"
Manage = Callable[..., "subprocess.CompletedProcess[str]"]


def manage(config_file: Path) -> Manage:
    """`manage.py` of the project, as a process of its own."""

    def run(*words: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        environment: Mapping[str, str] = {
            **os.environ,
            "UNDERSTUDY_CONFIG": str(config_file),
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            **extra,
        }
        done = subprocess.run(
            [sys.executable, "-m", "django", *words],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two servers and an agent; `farm` is migrated on both. Tests that hurt a server use a laboratory of their own."""
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        for node in ("a", "b"):
            with lab.connect(node, "postgres") as connection:  # what a project's own tests need, on one node
                connection.execute("SET default_transaction_read_only = off")
                connection.execute("ALTER ROLE app CREATEDB")
        manage(lab.config_file)("migrate")
        yield lab


@pytest.fixture(scope="session")
def farm(lab: Lab) -> Iterator[Lab]:
    """The project in this process: models can be imported, `default` leads to the laboratory."""
    import django

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_CONFIG", str(lab.config_file))
        patch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS)
        django.setup()
        from django.db import connections

        yield lab
        connections.close_all()


def change(lab: Lab) -> str:
    """A planned change to the node that is not primary; returns its name. Both are healthy before."""
    lab.await_settled()
    target = lab.state.other
    lab.switchover(target)
    return target


@contextmanager
def changing(lab: Lab) -> Iterator[None]:
    """A planned change, asked for at the beginning of the block and begun when it is entered; done when it is left."""
    lab.await_settled()
    before = lab.state.epoch
    failed: list[BaseException] = []

    def in_a_thread() -> None:
        try:
            lab.switchover(lab.state.other)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            failed.append(error)

    thread = threading.Thread(target=in_a_thread)
    thread.start()

    def begun() -> bool:
        """It may be over before this thread has its turn again."""
        state = lab.state
        under_way = state.plan is not None and state.plan.kind is PlanKind.SWITCHOVER
        return bool(failed) or under_way or state.epoch > before

    lab.await_true(begun, 60, "the change to begin")
    yield
    thread.join(100)
    if failed:
        raise failed[0]


@pytest.fixture
def clean(farm: Lab) -> Iterator[Lab]:
    """Empty tables and a connection nobody has used."""
    from django.db import connections
    from tests.integration.django.farm.models import Herd

    connections["default"].ensure_connection()
    Herd.objects.all().delete()
    yield farm
    connections.close_all()
