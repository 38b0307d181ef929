"""Data that needs an extension which our wheel lacks: proven with a PostgreSQL of this host that has it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.backup.world import Backed, backed_pair
from tests.integration.conftest import FAST
from tools.install_peers import CONTRIB

from understudy.backup import physical, staging
from understudy.backup.manifest import Level, Manifest, Verdict
from understudy.drill.clone import CloneLab, Original
from understudy.drill.stage import Aborted, Stage
from understudy.embedded import EmbeddedPostgreSQL
from understudy.model import Rpo
from understudy.readiness.journal import Outcome

pytestmark = [
    pytest.mark.skipif(
        not (CONTRIB / "bin" / "postgres").exists(),
        reason=f"no PostgreSQL with contrib in {CONTRIB}: make peers",
    ),
    pytest.mark.timeout(300),
]
SCHEMA = """
    CREATE EXTENSION hstore;
    CREATE TABLE tagged (id int PRIMARY KEY, tags hstore NOT NULL);
    CREATE INDEX ON tagged USING gin (tags);
    INSERT INTO tagged SELECT n, hstore('n', n::text) FROM generate_series(1, 500) n;
    GRANT SELECT ON tagged TO understudy;
"""
PATH = os.environ["PATH"]
THEIRS = f"{CONTRIB / 'bin'}{os.pathsep}{PATH}"


@pytest.fixture(scope="module")
def backed() -> Iterator[Backed]:
    """A pair of servers that have it."""
    with (
        tempfile.TemporaryDirectory(prefix="understudy-test-") as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        folder = Path(made)
        folder.chmod(0o711)
        (folder / "pair").mkdir()
        patch.setenv("PATH", THEIRS)
        servers = [
            EmbeddedPostgreSQL(
                folder / name, name=name, settings=FAST, extensions=("hstore",), die_with_parent=True
            )
            for name in "ab"
        ]
        assert servers[0].bin_folder == CONTRIB / "bin"
        with servers[0] as a, servers[1] as b, backed_pair({"a": a, "b": b}, folder / "pair") as found:
            found.world.pair.sql("a", SCHEMA, user="postgres")
            yield found


@pytest.fixture(scope="module")
def dump(backed: Backed) -> Manifest:
    return backed.create()


@pytest.fixture(scope="module")
def base(backed: Backed) -> Manifest:
    return physical.create(backed.config, backed.world.pair.cluster, [backed.store], backed.keys)


@pytest.fixture(params=["there", "absent"])
def installed(request: pytest.FixtureRequest, backed: Backed, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a PostgreSQL that has it is in PATH."""
    there: bool = request.param == "there"
    monkeypatch.setenv("PATH", THEIRS if there else PATH)
    return there


def test_a_dump_is_proven_where_the_extension_is(backed: Backed, dump: Manifest, installed: bool) -> None:
    found = backed.verify(dump, Level.RESTORE)
    assert found.verdict is (Verdict.PASS if installed else Verdict.INCONCLUSIVE), found.checks
    assert ("lacks hstore" in str(found.checks)) is not installed


@pytest.mark.slow
def test_a_base_backup_is_proven_where_the_extension_is(
    backed: Backed, base: Manifest, installed: bool
) -> None:
    """Without its library the table cannot be read, which says nothing about the backup."""
    assert "hstore" in base.extensions
    found = backed.verify(base, Level.RESTORE)
    assert found.verdict is (Verdict.PASS if installed else Verdict.INCONCLUSIVE), found.checks
    assert ("lacks hstore" in str(found.checks)) is not installed


@pytest.mark.slow
def test_a_clone_has_the_extension_where_it_is(backed: Backed, dump: Manifest, installed: bool) -> None:
    stage, original = Stage(), Original(manifest=dump, store=backed.store, keys=backed.keys)
    with staging.folder() as place:
        lab = CloneLab(stage, original, place, Rpo.BOUNDED)
        if not installed:
            with pytest.raises(Aborted, match="lack hstore"), lab:
                pass
            assert [check.outcome for check in stage.evidence] == [Outcome.INCONCLUSIVE]
            return
        with lab, lab.connect("a", "postgres") as connection:
            assert connection.execute("SELECT count(*) FROM tagged WHERE tags ? 'n'").fetchone() == (500,)
            assert lab.verify().equal
        assert {check.outcome for check in stage.evidence} == {Outcome.PASS}
