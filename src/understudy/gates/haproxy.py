"""HAProxy as a gate: the state of its servers over the runtime API (management.txt, "Unix Socket commands").

In TCP mode HAProxy sees bytes, not transactions: it can let no new session pass and end sessions, but not hold what
is in flight. A planned change ends the sessions on the old primary (by the node's own fence, after a commit that has
begun), and clients connect again.
"""

from __future__ import annotations

import asyncio

from understudy.config_gates import Haproxy
from understudy.errors import EngineError, Unreachable
from understudy.gates.base import NotRunning
from understudy.model import Cluster

# srv_admin_state of `show servers state` (include/haproxy/server-t.h): maintenance, drain; whatever of it was ordered.
_MAINTENANCE = 0x01
_DRAIN = 0x08
MAX_ANSWER_BYTES = 1024 * 1024


class HaproxyGate:
    """One backend of one HAProxy. See `Gate`."""

    def __init__(self, config: Haproxy, cluster: Cluster) -> None:
        self._socket, self._backend = config.socket, config.backend
        self._nodes = tuple(node.name for node in cluster.nodes)

    @property
    def name(self) -> str:
        return f"HAProxy {self._socket}, backend {self._backend}"

    async def hold(self) -> None:
        """No new session; those that are open go on until the fence of the node ends them."""
        for node in self._nodes:
            await self._order(f"set server {self._backend}/{node} state drain")

    async def sever(self) -> None:
        """No new session, and none goes on. What is drained is held: the fence sees to its sessions."""
        shown = await self._servers()
        for node in self._nodes:
            if not shown[node] & (_MAINTENANCE | _DRAIN):
                await self._shut(node)

    async def lead_to(self, node: str, *, anew: bool) -> None:
        shown = await self._servers()
        for other in self._nodes:
            if other != node and not shown[other] & _MAINTENANCE:
                await self._shut(other)
        if shown[node] & (_MAINTENANCE | _DRAIN):
            await self._order(f"set server {self._backend}/{node} state ready")
        elif anew:
            await self._order(f"shutdown sessions server {self._backend}/{node}")

    async def close(self) -> None:
        """Every order has a connection of its own: there is none to close."""

    async def _shut(self, node: str) -> None:
        await self._order(f"set server {self._backend}/{node} state maint")
        await self._order(f"shutdown sessions server {self._backend}/{node}")

    async def _servers(self) -> dict[str, int]:
        """Each node's administrative state as HAProxy shows it. Raises EngineError where one is missing."""
        lines = (await self._ask(f"show servers state {self._backend}")).splitlines()
        heads = [line.removeprefix("#").split() for line in lines if line.startswith("#")]
        rows = [line.split() for line in lines[1:] if line and not line.startswith("#")]
        if not heads:
            raise EngineError(f"it knows no backend {self._backend}: {' '.join(lines)[:200]}")
        servers = [dict(zip(heads[0], row, strict=False)) for row in rows]
        shown = {server["srv_name"]: int(server["srv_admin_state"]) for server in servers}
        missing = [node for node in self._nodes if node not in shown]
        if missing:
            raise EngineError(
                f"expected a server named like each node, found none for {', '.join(missing)}; "
                f"write `server {missing[0]} HOST:PORT` in backend {self._backend}"
            )
        return shown

    async def _order(self, command: str) -> None:
        """A command that answers nothing where it succeeded."""
        answer = (await self._ask(command)).strip()
        if answer:
            hint = "; the socket needs `level admin`" if "ermission" in answer else ""
            raise EngineError(f"{command} was refused: {answer[:200]}{hint}")

    async def _ask(self, command: str) -> str:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"nobody listens at {self._socket}") from None
        except OSError as error:
            raise Unreachable(f"{self._socket} cannot be opened: {error}") from None
        try:
            writer.write(command.encode() + b"\n")
            answer = b""
            while (more := await reader.read(MAX_ANSWER_BYTES)) and len(answer) < MAX_ANSWER_BYTES:
                answer += more
            return answer.decode(errors="replace")
        except OSError as error:
            raise Unreachable(f"{command}: {error}") from None
        finally:
            writer.close()
