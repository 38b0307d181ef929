"""Holding new transactions while the primary changes, instead of failing them."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from understudy.client.errors import NoPrimaryAvailable
from understudy.lease import Lease

if TYPE_CHECKING:
    from understudy.client.guard import Guard
    from understudy.client.host import Host


async def hold(host: Host, until: float) -> Lease:
    """The lease, once it lets new transactions begin. ``until`` is on the monotonic clock.

    Raises `NoPrimaryAvailable`, which says why, when that does not happen in time.
    """
    lease = host.file.read()
    if lease is not None and host.usable(lease):
        return lease
    why, began, granted = host.why(lease), monotonic(), None
    try:
        granted = await _wait(host, until, began)
        return granted
    finally:
        host.held(why, monotonic() - began, granted)


async def _wait(host: Host, until: float, began: float) -> Lease:
    while True:
        version = host.version
        lease = host.file.read()
        if lease is not None and host.usable(lease):
            return lease
        host.start()
        remaining = until - monotonic()
        if remaining <= 0:
            raise no_primary(host, lease, monotonic() - began)
        await host.wait_change_async(version, remaining)


def no_primary(host: Host, lease: Lease | None, waited: float) -> NoPrimaryAvailable:
    """The error that says for how long we waited, and why."""
    return NoPrimaryAvailable(
        f"cluster {host.cluster.name!r}: no primary could be written to within {waited:.1f} s: {host.why(lease)}. "
        "Nothing was sent. `understudy status` shows what the agent sees."
    )


async def admit(host: Host, conn: Guard) -> int:
    """Let one transaction begin on a connection that is counted per transaction.

    Waits while a planned change is under way. Raises `PrimaryLost` once the connection's node is not the
    primary of its epoch any more, `NoPrimaryAvailable` when the wait is too long.
    """
    host.start()
    until = monotonic() + host.cluster.policy.hold_timeout
    while True:
        lease = await hold(host, until)
        if lease.primary != conn.node or conn._aborted:
            conn._sever()
            raise host.lost(conn)
        tag = host.enter(lease.epoch, conn.node)
        if tag is not None:
            return tag
