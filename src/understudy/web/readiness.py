"""`/api/v1/clusters/NAME/readiness`, `/backups`, `/drills`: what the agent keeps in files. No destination is asked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import HTMLResponse, JSONResponse

from understudy.plain import plain
from understudy.readiness import journal
from understudy.readiness.journal import Journal, JournalError
from understudy.readiness.kept import LISTED, Archive, Drilled, Listed, Proof, Told
from understudy.readiness.light import Item, Light
from understudy.strict_json import RecordError
from understudy.web.auth import Guard, Role
from understudy.web.clusters import found, shown
from understudy.web.page import HEADERS
from understudy.web.watcher import Seen, Watcher

_ID: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[a-z0-9-]{1,100}")
_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_LIMIT = Query(ge=1, le=LISTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessAnswer:
    """The light of a cluster, and the reasons.

    ``at``: when it was looked at (null: never yet). ``fresh``: that is so short ago that it counts; otherwise the
    light is null. ``objectives``: targets in seconds. ``archive``: how the archiving of the log stands.
    """

    cluster: str
    at: str | None
    fresh: bool
    light: Light | None
    items: tuple[Item, ...]
    objectives: dict[str, float]
    archive: Archive | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupsAnswer:
    """The backups, newest first, as the destinations told at ``at``; ``total``: how many there are."""

    cluster: str
    at: str | None
    total: int
    backups: tuple[Listed, ...]
    proofs: dict[str, Proof]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillLine(Drilled):
    """One drill. ``report``: where its report is, below ``/api/v1/``; open for some minutes to whoever has the link."""

    report: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillsAnswer:
    """The drills, newest first. ``wrong``: what is wrong with their journals."""

    cluster: str
    at: str | None
    drills: tuple[DrillLine, ...]
    wrong: tuple[str, ...]


def router(watcher: Watcher, guard: Guard) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api/v1/clusters/{name}", tags=["readiness, backups and drills"])
    reading = Depends(guard.reading)

    @routes.get("/readiness", response_model=ReadinessAnswer)
    async def readiness(name: str, role: Role = reading) -> JSONResponse:
        """One traffic light for the worst day, as the agent looked at it within the last minute."""
        seen = found(watcher, name)
        return _answer(_readiness(name, await _told(watcher, name)), seen, role)

    @routes.get("/backups", response_model=BackupsAnswer)
    async def backups(name: str, role: Role = reading, limit: Annotated[int, _LIMIT] = 50) -> JSONResponse:
        """The newest backups: where each one is, and how deep it was proven."""
        seen = found(watcher, name)
        return _answer(_backups(name, await _told(watcher, name), limit), seen, role)

    @routes.get("/drills", response_model=DrillsAnswer)
    async def drills(name: str, role: Role = reading, limit: Annotated[int, _LIMIT] = 50) -> JSONResponse:
        """The newest drills: how each one ended, and what it measured."""
        seen = found(watcher, name)
        return _answer(_drills(name, await _told(watcher, name), limit, guard), seen, role)

    @routes.get("/drills/{drill}", response_model=Journal)
    async def drill(name: str, drill: str, role: Role = reading) -> JSONResponse:
        """The whole journal of one drill."""
        seen = found(watcher, name)
        return _answer(await asyncio.to_thread(_journal, _folder(watcher), name, drill), seen, role)

    @routes.get("/drills/{drill}/report", response_class=HTMLResponse)
    async def report(name: str, drill: str, request: Request, ticket: str = "") -> HTMLResponse:
        """The report of one drill as a page. ``ticket``: from the list, instead of a token: links carry no header."""
        seen = found(watcher, name)
        role = guard.opened(ticket, _report(name, drill)) or guard.reading(request)
        page = await asyncio.to_thread(_page, _folder(watcher), name, drill)
        text = str(shown(page, seen.cluster, role))
        own = {"Content-Security-Policy": _policy(text), "Cache-Control": "no-store"}
        return HTMLResponse(text, headers=HEADERS | own)

    return routes


def _answer(value: object, seen: Seen, role: Role) -> JSONResponse:
    return JSONResponse(shown(plain(value), seen.cluster, role))


def _folder(watcher: Watcher) -> Path:
    return watcher.running.config.directory / "drills"


async def _told(watcher: Watcher, name: str) -> Told | None:
    """What the agent keeps. Raises HTTPException where its file cannot be read."""
    try:
        return await asyncio.to_thread(watcher.readers[name].told)
    except (RecordError, OSError):
        raise HTTPException(
            503, "what the agent keeps of its readiness cannot be read; it writes it anew within a minute"
        ) from None


def _readiness(name: str, told: Told | None) -> ReadinessAnswer:
    if told is None:
        return ReadinessAnswer(
            cluster=name, at=None, fresh=False, light=None, items=(), objectives={}, archive=None
        )
    fresh = told.fresh(datetime.now(UTC))
    return ReadinessAnswer(
        cluster=name,
        at=told.at,
        fresh=fresh,
        light=told.readiness.light if fresh else None,
        items=told.readiness.items,
        objectives=dict(told.objectives),
        archive=told.archive,
    )


def _backups(name: str, told: Told | None, limit: int) -> BackupsAnswer:
    stock = told.stock if told is not None else None
    if stock is None:
        return BackupsAnswer(cluster=name, at=None, total=0, backups=(), proofs={}, problems=())
    return BackupsAnswer(
        cluster=name,
        at=stock.at,
        total=stock.total,
        backups=stock.backups[:limit],
        proofs=dict(stock.proofs),
        problems=stock.problems,
    )


def _drills(name: str, told: Told | None, limit: int, guard: Guard) -> DrillsAnswer:
    if told is None:
        return DrillsAnswer(cluster=name, at=None, drills=(), wrong=())
    lines = (_line(one, _report(name, one.id), guard) for one in told.drills[:limit])
    return DrillsAnswer(cluster=name, at=told.at, drills=tuple(lines), wrong=told.wrong)


def _line(one: Drilled, path: str, guard: Guard) -> DrillLine:
    known = {field.name: getattr(one, field.name) for field in fields(one)}
    return DrillLine(**known, report=f"{path}{guard.ticket(path)}")


def _report(name: str, drill: str) -> str:
    return f"clusters/{name}/drills/{drill}/report"


def _journal(folder: Path, cluster: str, drill: str) -> Journal:
    """The journal of that id. Raises HTTPException."""
    file = folder / f"{drill}.json"
    if not _ID.fullmatch(drill) or not file.is_file():
        raise HTTPException(404, "no such drill")
    try:
        read = journal.read(file)
    except JournalError as error:
        raise HTTPException(409, str(plain(str(error)))) from None
    if read.cluster != cluster:
        raise HTTPException(404, "no such drill")
    return read


def _page(folder: Path, cluster: str, drill: str) -> str:
    """The report that was written beside the journal. Raises HTTPException."""
    _journal(folder, cluster, drill)
    try:
        return (folder / f"{drill}.html").read_text()
    except OSError:
        text = f"the report is not there: understudy drill report {drill} --format html"
        raise HTTPException(404, text) from None


def _policy(page: str) -> str:
    """Nothing but the page's own style: no script, no request, an origin of its own that the API does not know."""
    styles: Sequence[str] = _STYLE.findall(page)
    sums = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    allowed = " ".join(f"'sha256-{one}'" for one in sums) or "'none'"
    return (
        f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; sandbox"
    )
