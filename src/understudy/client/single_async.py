"""One connection to the present primary, outside any pool."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import psycopg

from understudy.client.admission_async import hold, no_primary
from understudy.client.connection_async import AsyncConnection
from understudy.client.host import host_of
from understudy.client.inner_async import AsyncConnector
from understudy.client.outcome import is_connection_error
from understudy.model import Cluster

_PAUSE = 0.05  # seconds between two attempts on a server that is not ready for its role


async def connect_async(
    cluster: Cluster,
    directory: Path,
    *,
    timeout: float | None = None,  # noqa: ASYNC109
    **kwargs: Any,
) -> AsyncConnection:
    """One connection to the present primary, to be kept: each transaction on it is counted by itself.

    New transactions wait while a planned change is under way. After a change of primary it raises
    `PrimaryLost` and is closed: connect again. Keyword arguments are those of ``psycopg.AsyncConnection.connect``.
    """
    host = host_of(cluster, directory)
    host.start()
    began = monotonic()
    until = began + (cluster.policy.hold_timeout if timeout is None else timeout)
    while True:
        lease = await hold(host, until)
        host.slot.set_epoch_seen(lease.epoch)
        version = host.version
        connector = AsyncConnector(host, lease.epoch, lease.primary, readonly=False)
        try:
            conn = await connector.connect(cluster.node(lease.primary).dsn, **kwargs)
        except psycopg.OperationalError as error:
            if not is_connection_error(error) or monotonic() > until:
                raise
        else:
            if not conn.read_only_server():
                conn.gated = True
                return conn
            await conn.close()
            if monotonic() > until:
                raise no_primary(host, host.file.read(), monotonic() - began)
        await host.wait_change_async(version, _PAUSE)
