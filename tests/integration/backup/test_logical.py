"""Dumps of a real pair: what is in them, that they restore to the same contents, and what refuses them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.faults.agent_world import Servers
from tests.integration.backup.world import LARGE, RICH, Backed, backed_pair
from understudy.backup.manifest import Kind, Level, Verdict
from understudy.backup.source import BackupRefused


@pytest.fixture(scope="module")
def backed(server_pair: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    with backed_pair(server_pair, tmp_path_factory.mktemp("backup"), RICH + LARGE) as backed:
        yield backed


@pytest.mark.parametrize("form", ["custom", "directory"])
def test_a_backup_restores_to_the_same_contents(backed: Backed, form: str) -> None:
    manifest = backed.create(form=form)
    assert manifest.kind is Kind.LOGICAL
    assert (manifest.node, manifest.epoch, manifest.form) == ("a", 1, form)
    found = {(t.schema, t.name): t.rows for t in manifest.tables}
    assert found["public", "animal"] == 3000
    assert found["Odd Schema", 'Odd "Table"'] == 2
    assert found["public", "weighing_2026"] == 3000
    assert found["public", "cache"] == 1
    assert found["public", "parent"] == 1  # without its child's rows
    assert ("public", "weighing") not in found  # the sum of its partitions
    assert not any(schema == "understudy" for schema, _ in found)
    assert manifest.client_version.startswith("16")
    assert manifest.start_lsn > 0
    assert backed.catalog.backups(manifest.cluster)[-1] == manifest

    proof = backed.verify(manifest)
    assert proof.verdict is Verdict.PASS, proof.checks
    assert proof.restore_seconds > 0
    assert proof.sha256 == {part.name: part.sha256 for part in manifest.parts}
    assert backed.catalog.verifications(manifest.cluster, manifest.id) == [proof]
