"""Manifests and verifications for tests that only ask when and what."""

from __future__ import annotations

from datetime import datetime

from understudy.backup.manifest import Kind, Level, Manifest, Part, Verdict, Verification


def manifest(
    backup: str, finished: datetime, kind: Kind = Kind.LOGICAL, *, scope: tuple[str, ...] = ("all",), start: int = 0,
    end: int = 0, system: str = "7000000000000000001", parts: tuple[Part, ...] = (), recipients: tuple[str, ...] = (),
) -> Manifest:  # fmt: skip
    time = finished.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Manifest(
        id=backup, cluster="main", engine="postgresql", kind=kind, form="custom", scope=scope, node="home", epoch=3,
        started=time, finished=time, database="farm", encoding="UTF8", locale="C", server_version="16.14",
        client_version="16.14", system_identifier=system, timeline=1, start_lsn=start, end_lsn=end, extensions={},
        tables=(), sequences=(), parts=parts, recipients=recipients, tool="understudy 0",
    )  # fmt: skip


def verification(
    backup: str, at: datetime, level: Level = Level.RESTORE, verdict: Verdict = Verdict.PASS
) -> Verification:
    return Verification(
        backup=backup, level=level, verdict=verdict, destination="nas", at=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=1.0, restore_seconds=0.0, sha256={}, checks=(), where="here",
    )  # fmt: skip
