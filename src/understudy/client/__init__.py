"""What applications import: pools and connections that lead to the present primary."""

from understudy.client.connection import Connection
from understudy.client.connection_async import AsyncConnection
from understudy.client.errors import CommitInDoubt, NoPrimaryAvailable, PrimaryLost
from understudy.client.pool import Pool
from understudy.client.pool_async import AsyncPool

__all__ = [
    "AsyncConnection",
    "AsyncPool",
    "CommitInDoubt",
    "Connection",
    "NoPrimaryAvailable",
    "Pool",
    "PrimaryLost",
]
