"""The part of `understudy run` that serves the API, in a thread of its own.

In the agents' event loop a storm of requests would make probes late, and late probes look like a lost primary.
"""

from __future__ import annotations

import asyncio
import socket
import threading

import structlog
import uvicorn
from fastapi import FastAPI

from understudy.agent.service import Running
from understudy.config_api import Api
from understudy.web.app import create_app
from understudy.web.connection import BoundedProtocol
from understudy.web.listening import Listening

_CONNECTIONS = 256
"""Connections and requests at the same time; one more gets 503."""
_STOP = 3
"""Seconds that open requests get when the agent ends; streams are cut off then."""
_AGAIN = 1.0
"""Seconds until an address that is taken is tried again: a standby agent gets it when the acting one ends."""
_NO_PASSWORD = "-"  # noqa: S105 (it is none)
"""Without any, a key that asks for a password is asked for at the agent's terminal, and everything waits for it."""
_log = structlog.get_logger()


async def serve_api(running: Running, leave: asyncio.Event, listening: Listening) -> None:
    """Serve until ``leave`` is set. An address or a certificate that cannot be had is said once and tried again.

    ``listening`` is left open for the next configuration; the caller closes it.
    """
    api = running.config.api
    if api is None:
        return
    said = ""
    while not leave.is_set():
        try:
            with listening.at(api) as handle:
                app = await asyncio.to_thread(create_app, running)
                await _serve(app, api, handle, leave)
        except OSError as error:
            listening.close()
            if str(error) != said:
                said = str(error)
                _log.warning("api_not_served", address=f"{api.host}:{api.port}", error=said)
        await _pause(leave)


async def _serve(app: FastAPI, api: Api, handle: socket.socket, leave: asyncio.Event) -> None:
    """One server, until it ends or is told to. Raises OSError where certificate or key cannot be used."""
    server = uvicorn.Server(_config(app, api))
    # Outside the main thread uvicorn installs no signal handlers: signals are the agent's.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [handle]}, name="api", daemon=True)
    thread.start()
    _log.info("api_listening", address=f"{api.host}:{api.port}", tls=api.tls_cert is not None)
    ended = asyncio.create_task(asyncio.to_thread(thread.join))
    told = asyncio.create_task(leave.wait())
    try:
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        app.state.watcher.leaving = True
        server.should_exit = True
        told.cancel()
        await ended


def _config(app: FastAPI, api: Api) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        loop="asyncio",  # it accepts through our socket, which counts (`Listening`); others may not
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_STOP,
        ssl_certfile=api.tls_cert,
        ssl_keyfile=api.tls_key,
        ssl_keyfile_password=_NO_PASSWORD,
        ws="none",
    )
    try:
        config.load()
    except OSError as error:
        raise OSError(f"{api.tls_cert} and {api.tls_key} cannot be used: {error}") from None
    return config


async def _pause(leave: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_AGAIN):
            await leave.wait()
    except TimeoutError:
        return
