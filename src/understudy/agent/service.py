"""Running the agents of all configured clusters in one process, with the signals a service manager sends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

import structlog

from understudy.agent.agent import ClusterAgent
from understudy.config import Config
from understudy.engines import engine_for
from understudy.errors import UnderstudyError
from understudy.gates import gates_for
from understudy.lease import boot_now
from understudy.witness import SqliteWitness, Witness

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What runs in this process, for the parts that only look at it (pages, metrics, alerts): agents by cluster."""

    config: Config
    witness: Witness
    agents: Mapping[str, ClusterAgent]


Part = Callable[[Running, asyncio.Event], Coroutine[None, None, None]]
"""Something that runs beside the agents until the event is set. It must not fail for what it can report instead."""


async def serve(load: Callable[[], Config], *, standby: bool = False, parts: Sequence[Part] = ()) -> None:
    """Run until SIGTERM or SIGINT. SIGHUP reads the configuration again; a bad one is reported and not used.

    Args:
        load: reads the configuration (called once now, and again at each SIGHUP).
        standby: wait for an acting agent's place instead of refusing to start.
        parts: what runs beside the agents; begun anew with each new configuration.

    Raises:
        UnderstudyError: the configuration, or the start of an agent, failed.
    """
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    config = load()
    seen: Mapping[str, ClusterAgent] = {}
    while not stop.is_set():
        reload.clear()
        leave = asyncio.Event()
        agents = asyncio.create_task(_run(config, leave, standby=standby, parts=parts, before=seen))
        following = await _wait(agents, stop, reload, load)
        leave.set()
        seen = await agents
        if following is None:
            return
        config = following


async def _wait(
    agents: asyncio.Task[Mapping[str, ClusterAgent]],
    stop: asyncio.Event,
    reload: asyncio.Event,
    load: Callable[[], Config],
) -> Config | None:
    """Until a good new configuration replaces the present one (returned), or all is to end (None)."""
    while True:
        waits = [asyncio.create_task(event.wait()) for event in (stop, reload)]
        try:
            await asyncio.wait([agents, *waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if agents.done() or stop.is_set():
            return None
        reload.clear()
        try:
            config = load()
        except UnderstudyError as error:
            _log.error("reload_refused", error=str(error), message="the running configuration stays in force")
            continue
        _log.info("reloading", source=config.source)
        return config


async def _run(
    config: Config,
    leave: asyncio.Event,
    *,
    standby: bool,
    parts: Sequence[Part],
    before: Mapping[str, ClusterAgent],
) -> Mapping[str, ClusterAgent]:
    """One agent per cluster and the parts beside them, until told to leave or one of them fails.

    ``before``: the agents of the configuration before this one; returned are those of this one.
    """
    witness = await asyncio.to_thread(SqliteWitness, config.directory / "witness.db")
    with contextlib.closing(witness):
        engines = {cluster.name: engine_for(cluster, clock=boot_now) for cluster in config.clusters}
        agents = {
            cluster.name: ClusterAgent(
                cluster,
                engines[cluster.name],
                witness,
                config.directory,
                standby=standby,
                gates=gates_for(cluster, config.gates.get(cluster.name, ())),
            )
            for cluster in config.clusters
        }
        for name in agents.keys() & before.keys():
            agents[name].inherit(before[name])
        running = Running(config=config, witness=witness, agents=agents)
        try:
            await _together(
                [*(agent.run(leave) for agent in agents.values()), *(part(running, leave) for part in parts)]
            )
        finally:
            for engine in engines.values():
                await engine.close()
    return agents


async def _together(runs: list[Coroutine[None, None, None]]) -> None:
    """Run all; where one fails, its own error is raised (not a group of one)."""
    try:
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(run)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
