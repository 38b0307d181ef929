"""The driver of HAProxy against the real one: what it says where the configuration is not as it must be."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.web_world import cluster

from understudy.config_gates import Haproxy
from understudy.embedded import EmbeddedError
from understudy.embedded.daemon import find
from understudy.embedded.haproxy import BACKEND, EmbeddedHaproxy, driven
from understudy.errors import EngineError
from understudy.gates.base import NotRunning
from understudy.gates.haproxy import HaproxyGate

try:
    find("haproxy")
except EmbeddedError as absent:
    pytestmark = pytest.mark.skip(reason=str(absent))

PAIR = {"home": 1, "cloud": 2}  # nobody listens there; this is about orders only


def gate(haproxy: EmbeddedHaproxy, backend: str = BACKEND) -> HaproxyGate:
    return HaproxyGate(Haproxy(socket=haproxy.socket, backend=backend), cluster())


async def refused(gate: HaproxyGate, *names: str) -> str:
    """What each of these orders is refused with."""
    said = set()
    for name in names or ("hold", "sever", "lead_to"):
        with pytest.raises(EngineError) as error:
            await (gate.lead_to("home", anew=True) if name == "lead_to" else getattr(gate, name)())
        said.add(str(error.value))
    return "\n".join(said)


async def passing(gate: HaproxyGate) -> set[str]:
    """The servers that new sessions may be led to: neither in maintenance (1) nor drained (8) by order."""
    return {name for name, state in (await gate._servers()).items() if not state & 0x09}


async def test_each_order_may_be_given_twice() -> None:
    with EmbeddedHaproxy(driven(PAIR)) as haproxy:
        one = gate(haproxy)
        for node in ("home", "home", "cloud", "home"):
            await one.lead_to(node, anew=True)
            assert await passing(one) == {node}
        for order in (one.hold, one.hold, one.sever, one.sever):
            await order()
            assert await passing(one) == set()
        await one.lead_to("cloud", anew=True)
        assert await passing(one) == {"cloud"}


async def test_a_backend_that_is_not_there() -> None:
    with EmbeddedHaproxy(driven(PAIR)) as haproxy:
        said = await refused(gate(haproxy, "nowhere"))
    assert "nowhere" in said
    assert "level admin" not in said  # the socket is as it must be


async def test_a_server_that_is_not_there() -> None:
    with EmbeddedHaproxy(driven({"home": 1, "other": 2})) as haproxy:
        said = await refused(gate(haproxy))
    assert "cloud" in said
    assert f"in backend {BACKEND}" in said
    assert "level admin" not in said


async def test_a_socket_without_the_right_to_order() -> None:
    def reading(port: int, socket: Path) -> str:
        return driven(PAIR)(port, socket).replace("level admin", "level user")

    with EmbeddedHaproxy(reading) as haproxy:
        said = await refused(gate(haproxy), "hold", "lead_to")
    assert "level admin" in said


async def test_one_that_is_gone_is_not_running() -> None:
    with EmbeddedHaproxy(driven(PAIR)) as haproxy:
        haproxy.kill()
        with pytest.raises(NotRunning):
            await gate(haproxy).hold()
