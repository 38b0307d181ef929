"""What an operator may order over HTTP: the same orders as on the command line, left for the agent."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from understudy.agent.orders import NoAgent, NoSuchTarget, Orders
from understudy.errors import UnderstudyError
from understudy.model import RequestKind
from understudy.plain import plain
from understudy.web.auth import Guard
from understudy.web.clusters import found
from understudy.web.watcher import Watcher


class Wish(BaseModel):
    """The body of an order. ``accept_loss``: a failover past the gates on lag and in-sync."""

    model_config = ConfigDict(extra="forbid")
    target: Annotated[str, Field(max_length=64)] | None = None
    accept_loss: bool = False


def router(watcher: Watcher, guard: Guard) -> APIRouter:
    """The endpoints that act. An order is answered 202: `answer` and `plan` of the cluster tell what becomes of it."""
    routes = APIRouter(
        prefix="/api/v1/clusters/{name}", tags=["orders"], dependencies=[Depends(guard.acting)]
    )

    @routes.post("/switchover", status_code=202)
    async def switchover(name: str, wish: Wish) -> dict[str, object]:
        """Change the primary as planned."""
        return await _order(watcher, name, RequestKind.SWITCHOVER, wish)

    @routes.post("/failover", status_code=202)
    async def failover(name: str, wish: Wish) -> dict[str, object]:
        """Change the primary although the present one is lost."""
        return await _order(watcher, name, RequestKind.FAILOVER, wish)

    @routes.post("/failback", status_code=202)
    async def failback(name: str, wish: Wish) -> dict[str, object]:
        """A switchover to the preferred node."""
        home = found(watcher, name).cluster.preferred.name
        if wish.target not in (None, home):
            raise HTTPException(422, f"failback goes to {home}")
        return await _order(watcher, name, RequestKind.SWITCHOVER, wish.model_copy(update={"target": home}))

    @routes.post("/pause")
    async def pause(name: str) -> dict[str, object]:
        """No automatic failover or failback until `resume`."""
        return await asyncio.to_thread(_paused, watcher, name, True)

    @routes.post("/resume")
    async def resume(name: str) -> dict[str, object]:
        """Undo `pause`."""
        return await asyncio.to_thread(_paused, watcher, name, False)

    return routes


def _orders(watcher: Watcher, name: str) -> Orders:
    running = watcher.running
    return Orders(found(watcher, name).cluster, running.witness, running.config.directory, who="api:operator")


async def _order(watcher: Watcher, name: str, kind: RequestKind, wish: Wish) -> dict[str, object]:
    if wish.accept_loss and kind is not RequestKind.FAILOVER:
        raise HTTPException(422, "accept_loss belongs to failover: a planned change loses nothing")
    return await asyncio.to_thread(_place, _orders(watcher, name), kind, wish)


def _place(orders: Orders, kind: RequestKind, wish: Wish) -> dict[str, object]:
    try:
        state = orders.state()
        target = orders.target(state, wish.target)
        if target == state.primary and state.plan is None:
            raise HTTPException(409, f"{target} is the primary already")
        orders.require_agent()
        request = orders.change(kind, target, accept_loss=wish.accept_loss)
    except UnderstudyError as error:
        raise _refused(error) from None
    return {"id": request.id, "kind": str(kind), "target": target}


def _paused(watcher: Watcher, name: str, paused: bool) -> dict[str, object]:
    try:
        state, changed = _orders(watcher, name).pause(paused=paused)
    except UnderstudyError as error:
        raise _refused(error) from None
    return {"cluster": state.cluster, "paused": paused, "changed": changed}


def _refused(error: UnderstudyError) -> HTTPException:
    status = 422 if isinstance(error, NoSuchTarget) else 503 if isinstance(error, NoAgent) else 409
    return HTTPException(status, str(plain(str(error))))
