"""`/api/v1/clusters`: what is, what was, why; and the stream of both. Nothing here asks a database."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import JSONResponse

from understudy.agent.history import HISTORY, last_change
from understudy.agent.looking import bytes_behind, view_of
from understudy.config_dsn import parse_dsn
from understudy.decide import next_step
from understudy.decide.closed import closed_gates
from understudy.engines.postgresql.rescue_files import Rescue, list_rescues
from understudy.errors import UnderstudyError
from understudy.model import Cluster, Policy, Rpo
from understudy.plain import plain
from understudy.web.auth import Guard, Role
from understudy.web.watcher import Seen, Watcher
from understudy.witness import Event

LISTENERS = 32
QUEUE = 256
"""Events that may wait for a listener that does not take them; then it is let go, and may come back."""
_SNAPSHOT_EVERY = 1.0
_LOOK_EVERY = 0.25
_RECENT = 10
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]*[0-9A-Fa-f][.:][0-9A-Fa-f.:]*[0-9A-Fa-f]|::1")


def router(watcher: Watcher, guard: Guard) -> APIRouter:
    """The endpoints that look."""
    routes = APIRouter(prefix="/api/v1", tags=["clusters"])
    hub, reading = Hub(watcher), Depends(guard.reading)

    @routes.get("/clusters")
    async def clusters(role: Role = reading) -> JSONResponse:
        """Every cluster of this agent."""
        return JSONResponse(snapshot(watcher, role))

    @routes.get("/clusters/{name}")
    async def cluster(name: str, role: Role = reading) -> JSONResponse:
        """One cluster."""
        seen = found(watcher, name)
        return JSONResponse(shown(describe(seen), seen.cluster, role))

    @routes.get("/clusters/{name}/events")
    async def events(
        name: str,
        role: Role = reading,
        after: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> JSONResponse:
        """The newest lines of history with a higher id than ``after``, oldest first."""
        seen = found(watcher, name)
        lines = await asyncio.to_thread(watcher.running.witness.events, name, limit=limit, after=after)
        return JSONResponse({"events": shown(plain(list(lines)), seen.cluster, role)})

    @routes.get("/clusters/{name}/explain")
    async def explain(name: str, role: Role = reading) -> JSONResponse:
        """The decision of this moment, which changes would be refused and why, and the last change."""
        seen = found(watcher, name)
        lines = await asyncio.to_thread(watcher.running.witness.events, name, limit=HISTORY)
        return JSONResponse(shown(explained(seen, lines), seen.cluster, role))

    @routes.get("/clusters/{name}/rescues")
    async def rescues(name: str, role: Role = reading) -> JSONResponse:
        """What only an old primary had, as kept on this host: manifests, never rows."""
        seen = found(watcher, name)
        kept = await asyncio.to_thread(list_rescues, watcher.running.config.directory / "rescue")
        listed = [_rescue(r) for r in kept if r.manifest.get("cluster", name) == name]
        return JSONResponse({"rescues": shown(plain(listed), seen.cluster, role)})

    @routes.get("/stream", response_class=EventSourceResponse)
    async def stream(request: Request, role: Role = reading) -> EventSourceResponse:
        """Server-sent events: ``clusters`` at least once a second, ``event`` for each new line of history."""
        if hub.full:  # those that come at the same moment: see `Hub.listen`
            raise HTTPException(503, "too many listeners", {"Retry-After": "5"})
        last = request.headers.get("last-event-id", "")
        return EventSourceResponse(
            hub.listen(role, int(last) if last.isdecimal() and len(last) < 19 else None), ping=15, sep="\n"
        )

    return routes


def found(watcher: Watcher, name: str) -> Seen:
    """The cluster of that name. Raises HTTPException."""
    if name not in watcher.running.agents:
        raise HTTPException(404, "no such cluster")
    return watcher.seen(name)


def snapshot(watcher: Watcher, role: Role) -> dict[str, Any]:
    """The object of `/api/v1/clusters`."""
    return {"clusters": [shown(describe(seen), seen.cluster, role) for seen in watcher.all]}


def describe(seen: Seen) -> dict[str, Any]:
    """One cluster: see `docs/reference/api.md`. ``primary`` is null before the state is known."""
    state, sight, cluster = seen.state, seen.sight, seen.cluster
    rule, reason = sight.rule, sight.reason
    if not sight.acting:
        rule, reason = "standby_agent", "this agent waits in standby; another one acts"
    return {
        "name": cluster.name,
        "engine": cluster.engine,
        "rpo": str(cluster.policy.rpo),
        "promise": _promise(cluster.policy),
        "epoch": state.epoch if state is not None else 0,
        "primary": state.primary if state is not None else None,
        "paused": state is not None and state.paused,
        "in_sync": state is not None and state.in_sync,
        "acting": sight.acting,
        "lag_seconds": seen.lag,
        "lag_bytes": bytes_behind(state, dict(sight.nodes)) if state is not None else None,
        "rule": rule,
        "reason": reason,
        "plan": _plan(seen),
        "nodes": [_node(seen, node.name) for node in cluster.nodes] if state is not None else [],
        "answer": state.answer if state is not None else "",
    }


def _promise(policy: Policy) -> dict[str, Any]:
    """What the loss of the primary may cost. In ``zero`` nothing, so no failover is bound to a lag."""
    bounded = policy.rpo is Rpo.BOUNDED
    return {"mode": str(policy.rpo), "max_lag_seconds": policy.max_lag_seconds if bounded else None}


def _plan(seen: Seen) -> dict[str, Any] | None:
    state = seen.state
    if state is None or state.plan is None:
        return None
    step = next_step(state, seen.cluster.policy.rpo)
    plan = state.plan
    return {
        "kind": str(plan.kind),
        "target": plan.target,
        "done": [str(one) for one in plan.done],
        "step": str(step) if step else None,
        "reason": plan.reason,
    }


def _node(seen: Seen, name: str) -> dict[str, Any]:
    node, view = seen.cluster.node(name), seen.sight.nodes[name]
    record = seen.state.record(name) if seen.state is not None else None
    probe = view.probe
    return {
        "name": name,
        "role": str(record.role) if record is not None else None,
        "up": view.up,
        "fenced": probe is not None and probe.fenced,
        "provider": node.provider,
        "region": node.region,
        "priority": node.priority,
        "error": view.error or (probe.unwritable if probe is not None else ""),
        "probe_ms": round((probe.answered - probe.at) * 1000, 3) if probe is not None and view.up else None,
        "verified": record is not None and record.verified,
    }


def explained(seen: Seen, lines: Any) -> Any:
    """The object of `explain`, from what the agent sees."""
    change = last_change(lines)
    about = describe(seen)
    gates: dict[str, str] = {}
    if seen.state is not None:
        gates = closed_gates(seen.state, view_of(seen.state, dict(seen.sight.nodes)), seen.cluster)
    return plain(
        {
            "cluster": about["name"],
            "acting": about["acting"],
            "rule": about["rule"],
            "reason": about["reason"],
            "gates": gates,
            "last_change": change,
            "recent": list(lines[-_RECENT:]),
        }
    )


def _rescue(rescue: Rescue) -> dict[str, Any]:
    return {
        "name": rescue.folder.name,
        "node": rescue.node,
        "created": rescue.manifest["created"],
        "transactions": rescue.transactions,
        "changes": rescue.changes,
        "verdicts": rescue.verdicts,
        "manifest": rescue.manifest,
    }


def shown(value: Any, cluster: Cluster, role: Role) -> Any:
    """``value`` for that role: who showed no token sees no host and no address in any text."""
    value = plain(value)
    return value if role is not Role.NOBODY else _hidden(value, _hosts(cluster))


def _hidden(value: Any, hosts: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(inner, hosts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hidden(inner, hosts) for inner in value]
    if isinstance(value, str):
        return _ADDRESS.sub(_address, hosts.sub("(host)", value))
    return value


def _address(match: re.Match[str]) -> str:
    text = match.group()
    bare = text.rpartition(":")[0] if text.count(":") == 1 else text
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return text
    return "(host)"


def _hosts(cluster: Cluster) -> re.Pattern[str]:
    dsns = [d for n in cluster.nodes for d in (n.dsn, n.admin_dsn, n.replication_dsn)]
    names = {parse_dsn(d, cluster.name).host for d in dsns}
    listed = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True) if n)
    return re.compile(rf"(?<![\w.\-])(?:{listed})(?![\w\-])" if listed else "(?!)")


class Hub:
    """Hands snapshots and new lines of history to at most `LISTENERS` listeners."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._count = 0

    @property
    def full(self) -> bool:
        return self._count >= LISTENERS

    async def listen(self, role: Role, last: int | None) -> AsyncIterator[ServerSentEvent]:
        """Until one of the two leaves, or the listener is too far behind. ``last``: the newest id it has."""
        if self.full:  # many asked before the first of them was counted; an empty stream is asked for again
            return
        waiting: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        overflowed = asyncio.Event()

        def take(event: Event) -> None:
            try:
                waiting.put_nowait(event)
            except asyncio.QueueFull:
                overflowed.set()

        self._count += 1
        self._watcher.listeners.append(take)
        try:
            for event in await asyncio.to_thread(self._missed, last):
                yield self._line(event, role)
            said, quiet = "", _SNAPSHOT_EVERY
            while not overflowed.is_set() and not self._watcher.leaving:
                while not waiting.empty():
                    yield self._line(waiting.get_nowait(), role)
                text = json.dumps(snapshot(self._watcher, role), ensure_ascii=False)
                if text != said or quiet >= _SNAPSHOT_EVERY:
                    said, quiet = text, 0.0
                    yield ServerSentEvent(data=text, event="clusters")
                await asyncio.sleep(_LOOK_EVERY)
                quiet += _LOOK_EVERY
        finally:
            self._watcher.listeners.remove(take)
            self._count -= 1

    def _missed(self, last: int | None) -> list[Event]:
        if last is None:
            return []
        witness = self._watcher.running.witness
        try:
            found = [
                e for n in self._watcher.running.agents for e in witness.events(n, limit=QUEUE, after=last)
            ]
        except UnderstudyError:
            return []  # the next connection asks again
        return sorted(found, key=lambda event: event.id)

    def _line(self, event: Event, role: Role) -> ServerSentEvent:
        cluster = self._watcher.running.config.cluster(event.cluster)
        text = json.dumps(shown(plain(event), cluster, role), ensure_ascii=False)
        return ServerSentEvent(data=text, event="event", id=str(event.id))
