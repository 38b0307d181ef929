"""What load balancers ask, after the contract of Patroni's REST API: 200 or 503; GET, HEAD and OPTIONS.

The agent watches both nodes, so a question about a role names its node: ``/nodes/NAME/primary`` or
``/primary?node=NAME``. A question without it gets 400: answered for "the cluster", it would make a balancer send writes
to both servers. Answers hold no host, version or error, and need no token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import JSONResponse

from understudy.config_values import Kind, Setting, parse
from understudy.errors import ConfigError
from understudy.web.watcher import Seen, Watcher

_LAG = Setting("lag", Kind.DURATION, 0, 86400)
_Handler = Callable[[Request], Awaitable[JSONResponse]]


def router(watcher: Watcher) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["load balancers"])

    async def primary(request: Request) -> JSONResponse:
        """200 where that node takes writes now; 503 while nobody does, as during a change."""
        seen, name = _asked(watcher, request)
        return _answer(seen.is_primary(name), "primary", seen)

    async def standby(request: Request) -> JSONResponse:
        """200 where that node follows and is no further behind than ``lag``."""
        seen, name = _asked(watcher, request)
        return _answer(seen.is_standby(name, _seconds(request)), "standby", seen)

    async def node(request: Request) -> JSONResponse:
        """200 where that node answers the agent."""
        seen, name = _asked(watcher, request)
        return _answer(seen.answers(name), "node", seen)

    async def health(request: Request) -> JSONResponse:
        """200 where every cluster has a primary that takes writes."""
        if "node" in request.query_params:
            return await node(request)
        good = all(s.state is not None and s.is_primary(s.state.primary) for s in _every(watcher, request))
        return _status(good, {"state": "running" if good else "no primary"})

    async def liveness() -> JSONResponse:
        """200 while this process answers."""
        return _status(True, {"state": "running"})

    async def readiness(request: Request) -> JSONResponse:
        """200 once every node has been asked and the state is known: the other answers mean something."""
        every = _every(watcher, request)
        asked = all(n.probe or n.misses or n.error for s in every for n in s.sight.nodes.values())
        good = asked and all(s.fresh and s.state is not None for s in every)
        return _status(good, {"state": "ready" if good else "starting"})

    for name, handler in (("primary", primary), ("standby", standby), ("replica", standby)):
        more = ("lag",) if handler is standby else ()
        _add(routes, f"/{name}", handler, "cluster", "node", *more)
        _add(routes, f"/nodes/{{node}}/{name}", handler, "cluster", *more)
    _add(routes, "/nodes/{node}/health", node, "cluster")
    _add(routes, "/health", health, "cluster", "node")
    _add(routes, "/readiness", readiness, "cluster")
    _add(routes, "/liveness", liveness)
    return routes


def _add(routes: APIRouter, path: str, handler: Callable[..., Awaitable[JSONResponse]], *query: str) -> None:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}} for name in query
    ]
    if "{node}" in path:
        parameters.append({"name": "node", "in": "path", "required": True, "schema": {"type": "string"}})
    routes.add_api_route(
        path,
        handler,
        methods=["GET"],
        response_class=JSONResponse,
        response_model=None,
        openapi_extra={"parameters": parameters},
        responses={503: {"description": "It is not so now."}, 400: {"description": "Which node or cluster?"}},
    )
    routes.add_api_route(
        path, handler, methods=["HEAD", "OPTIONS"], response_model=None, include_in_schema=False
    )


def _asked(watcher: Watcher, request: Request) -> tuple[Seen, str]:
    """The cluster and the node in question. Raises HTTPException where it is not clear which."""
    name = request.path_params.get("node") or request.query_params.get("node")
    if not name:
        raise HTTPException(400, "which node? /nodes/NAME/primary or /primary?node=NAME")
    every = [seen for seen in _every(watcher, request) if name in seen.sight.nodes]
    if not every:
        raise HTTPException(404, "no such node")
    if len(every) > 1:
        raise HTTPException(400, "several clusters have a node of that name: add ?cluster=NAME")
    return every[0], name


def _every(watcher: Watcher, request: Request) -> list[Seen]:
    cluster = request.query_params.get("cluster")
    if cluster is None:
        return watcher.all
    if cluster not in watcher.running.agents:
        raise HTTPException(404, "no such cluster")
    return [watcher.seen(cluster)]


def _seconds(request: Request) -> float | None:
    """The longest lag that was asked for."""
    text = request.query_params.get("lag")
    if text is None:
        return None
    try:
        return float(parse(_LAG, _number(text), "lag"))
    except ConfigError:
        raise HTTPException(400, 'lag: expected seconds, or a duration such as "500ms" or "2s"') from None


def _number(text: str) -> str:
    return f"{text}s" if text.replace(".", "", 1).isdecimal() else text


def _answer(good: bool, role: str, seen: Seen) -> JSONResponse:
    """``acting`` False: another agent decides; this one says what it sees and what the witness says."""
    return _status(good, {"role": role, "holds": good, "acting": seen.sight.acting})


def _status(good: bool, body: dict[str, object]) -> JSONResponse:
    return JSONResponse(body, 200 if good else 503, {"Cache-Control": "no-store"})
