"""Addresses of a node that is named, with at most one question per name under way.

`getaddrinfo` cannot be cancelled: where no name server answers, each call keeps a thread for up to half a minute. The
event loop has few of them, and they also read the witness. So whoever asks for a name that is being asked for shares
that question: however often a node is dialled whose name is gone with it, the agent goes on with the other one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

_Asked = dict[str, asyncio.Task[list[str]]]
_asked: WeakKeyDictionary[asyncio.AbstractEventLoop, _Asked] = WeakKeyDictionary()


async def resolved(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters of libpq with the addresses of their host filled in, where it is one name.

    Raises psycopg.OperationalError where the name is not known.
    """
    host = str(parameters.get("host") or "")
    if not host or "hostaddr" in parameters or host[0] in "/@" or "," in host or _is_address(host):
        return parameters
    try:
        addresses = await _addresses(host)
    except OSError as error:
        raise psycopg.OperationalError(f"failed to resolve host {host!r}: {error}") from error
    return parameters | {"host": ",".join([host] * len(addresses)), "hostaddr": ",".join(addresses)}


async def _addresses(host: str) -> list[str]:
    asked = _asked.setdefault(asyncio.get_running_loop(), {})
    task = asked.get(host)
    if task is None:
        task = asked[host] = asyncio.create_task(_look_up(host))
        task.add_done_callback(lambda done: _answered(asked, host, done))
    return await asyncio.shield(task)


def _answered(asked: _Asked, host: str, task: asyncio.Task[list[str]]) -> None:
    del asked[host]
    if not task.cancelled():
        task.exception()  # everybody who asked may have left


async def _look_up(host: str) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(
        host, None, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM
    )
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
