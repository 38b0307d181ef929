"""The application that the agent serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from understudy.agent.service import Running
from understudy.config_api import Api
from understudy.errors import UnderstudyError
from understudy.plain import plain
from understudy.web import actions, balancer, clusters, health, metrics, page, readiness
from understudy.web.auth import Gatekeeper, Guard
from understudy.web.watcher import Watcher


def create_app(running: Running) -> FastAPI:
    """Everything under one application. It asks no database: what it says, the agents know or the witness says.

    Without a table ``[api]`` (tests) it behaves as on loopback without tokens.
    """
    api = running.config.api or Api(host="127.0.0.1", port=8008)
    watcher, guard = Watcher(running), Guard(api)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(watcher.run())
        yield
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking

    app = FastAPI(
        title="Understudy",
        version="1",  # of this API
        lifespan=life,
        docs_url=None,  # the pages that come with FastAPI load code from foreign hosts
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.watcher = watcher
    app.include_router(balancer.router(watcher))
    app.include_router(health.router(watcher))
    app.include_router(clusters.router(watcher, guard))
    app.include_router(readiness.router(watcher, guard))
    app.include_router(actions.router(watcher, guard))
    app.include_router(metrics.router(watcher, guard))
    page.mount(app, running)
    app.add_middleware(Gatekeeper, api=api)
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UnderstudyError, _failed)
    return app


async def _refusal(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """What was wrong and where, without the value: it may be a secret in the wrong place."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
    if any(tuple(e["loc"]) == ("body",) for e in error.errors()):  # what curl -d sends is called a form
        found += "; send a JSON object with Content-Type: application/json"
    return JSONResponse({"error": plain(found)}, 422)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    """The witness does not answer. Its words name files of this host: they are for the log."""
    return JSONResponse({"error": "the witness does not answer; the agent's log says why"}, 503)
