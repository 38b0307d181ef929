"""What every test shares: markers by folder, real servers on demand, and a run that fails when no test ran."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from understudy.embedded import EmbeddedPostgreSQL

ROOT = Path(__file__).parent
BY_FOLDER = ("unit", "simulation", "integration", "faults", "e2e")

# The time one example takes says nothing on a machine that also runs servers. The examples are the same in every run,
# so that a change is told what it has broken and nothing else; `--hypothesis-profile=random` looks for new ones.
hypothesis.settings.register_profile(
    "random", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "understudy", hypothesis.settings.get_profile("random"), derandomize=True
)
hypothesis.settings.load_profile("understudy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=200, help="random schedules per simulation test (200)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the folder it lies in."""
    for item in items:
        if item.path.is_relative_to(ROOT):
            folder = item.path.relative_to(ROOT).parts[0]
            if folder in BY_FOLDER:
                item.add_marker(folder)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run in which every test was skipped is a run in which no test ran."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or session.exitstatus != pytest.ExitCode.OK or session.config.option.collectonly:
        return
    if not any(reporter.stats.get(outcome) for outcome in ("passed", "failed", "error", "xfailed")):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """A command run inside a test sends the logs of the whole process to that test's stderr, which is closed later."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def seeds(pytestconfig: pytest.Config) -> range:
    """The seeds a simulation test goes through: `make simulate SEEDS=10000`."""
    return range(pytestconfig.getoption("--seeds"))


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder beneath the temporary directory that the servers' unprivileged user can reach; removed at the end.

    pytest's own `tmp_path` is closed to other users, so a server started by root could not use it.
    """
    folder = Path(tempfile.mkdtemp(prefix="understudy-test-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


class ServerFactory:
    """Makes servers, running unless told otherwise, and destroys all of them in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[EmbeddedPostgreSQL] = []

    def __call__(self, name: str = "oak", *, start: bool = True, **options: Any) -> EmbeddedPostgreSQL:
        """A server of its own; `options` are those of `EmbeddedPostgreSQL`."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self._folder))
        server = EmbeddedPostgreSQL(folder, name=name, **options)
        self._servers.append(server)
        server.create()
        if start:
            server.start()
        return server

    def destroy(self) -> None:
        while self._servers:
            self._servers.pop().destroy()


@pytest.fixture
def server_factory(server_folder: Path) -> Iterator[Callable[..., EmbeddedPostgreSQL]]:
    """`server_factory("oak")` gives a running server that is gone after the test."""
    factory = ServerFactory(server_folder)
    yield factory
    factory.destroy()


@pytest.fixture(scope="module")
def module_server_factory(server_folder: Path) -> Iterator[Callable[..., EmbeddedPostgreSQL]]:
    """The same for servers that all tests of one module share."""
    factory = ServerFactory(server_folder)
    yield factory
    factory.destroy()
