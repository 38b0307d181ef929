"""Understudy keeps an application running when its database goes away, and gets it home without losing a row.

    import understudy

    pool = understudy.pool("main")
    with pool.connection() as conn:
        conn.execute("INSERT INTO animal (name) VALUES ('Elsa')")

Everything here is loaded on first use: ``import understudy`` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.client import AsyncConnection as AsyncConnection
    from understudy.client import AsyncPool as AsyncPool
    from understudy.client import Connection as Connection
    from understudy.client import Pool as Pool
    from understudy.client.errors import CommitInDoubt as CommitInDoubt
    from understudy.client.errors import NoPrimaryAvailable as NoPrimaryAvailable
    from understudy.client.errors import PrimaryLost as PrimaryLost
    from understudy.client.open import async_pool as async_pool
    from understudy.client.open import connect as connect
    from understudy.client.open import connect_async as connect_async
    from understudy.client.open import pool as pool
    from understudy.errors import ConfigError as ConfigError
    from understudy.errors import LeaseError as LeaseError
    from understudy.errors import UnderstudyError as UnderstudyError

__version__ = "0.1.0"

_WHERE = {
    "AsyncConnection": "understudy.client",
    "AsyncPool": "understudy.client",
    "Connection": "understudy.client",
    "Pool": "understudy.client",
    "CommitInDoubt": "understudy.client.errors",
    "NoPrimaryAvailable": "understudy.client.errors",
    "PrimaryLost": "understudy.client.errors",
    "async_pool": "understudy.client.open",
    "connect": "understudy.client.open",
    "connect_async": "understudy.client.open",
    "pool": "understudy.client.open",
    "ConfigError": "understudy.errors",
    "LeaseError": "understudy.errors",
    "UnderstudyError": "understudy.errors",
}
__all__ = ["__version__", *_WHERE]  # noqa: PLE0604 - names, all of them


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
