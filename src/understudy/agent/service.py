"""Running the agents of all configured clusters in one process, with the signals a service manager sends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

import structlog

from understudy.agent.agent import ClusterAgent
from understudy.config import Config
from understudy.engines import engine_for
from understudy.engines.base import Engine
from understudy.errors import UnderstudyError
from understudy.gates import gates_for
from understudy.lease import boot_now
from understudy.witness import SqliteWitness, Witness

_AGAIN = 2.0
"""Seconds until an agent that could not begin is tried again: `understudy setup` is all that most of them lack."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What runs in this process, for the parts that only look at it (pages, metrics, alerts): agents by cluster."""

    config: Config
    witness: Witness
    agents: Mapping[str, ClusterAgent]


Part = Callable[[Running, asyncio.Event], Coroutine[None, None, None]]
"""Something that runs beside the agents until the event is set. It must not fail for what it can report instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Team:
    """The agents of one configuration, made and not begun yet."""

    running: Running
    witness: SqliteWitness
    engines: Mapping[str, Engine]


async def serve(load: Callable[[], Config], *, standby: bool = False, parts: Sequence[Part] = ()) -> None:
    """Run until SIGTERM or SIGINT. SIGHUP reads the configuration again; a bad one is reported and not used.

    A cluster whose agent cannot begin (not set up, its place taken) is reported and tried again; the others go on.

    Args:
        load: reads the configuration (called once now, and again at each SIGHUP).
        standby: wait for an acting agent's place instead of refusing to start.
        parts: what runs beside the agents; begun anew with each new configuration.

    Raises:
        UnderstudyError: the first configuration failed, or no agent of it could begin.
    """
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)

    async def team() -> _Team:
        return await asyncio.to_thread(_team, load(), standby)

    following: _Team | None = await team()
    seen: Mapping[str, ClusterAgent] | None = None
    while following is not None:
        reload.clear()
        leave = asyncio.Event()
        agents = asyncio.create_task(_run(following, leave, parts=parts, before=seen))
        seen = following.running.agents
        following = await _wait(agents, stop, reload, team)
        leave.set()
        await agents


async def _wait(
    agents: asyncio.Task[None],
    stop: asyncio.Event,
    reload: asyncio.Event,
    team: Callable[[], Awaitable[_Team]],
) -> _Team | None:
    """Until the agents of a good new configuration replace the present ones (returned), or all is to end (None)."""
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
            following = await team()
        except (UnderstudyError, OSError) as error:
            _log.error("reload_refused", error=str(error), message="the running configuration stays in force")
            continue
        _log.info("reloading", source=following.running.config.source)
        return following


def _team(config: Config, standby: bool) -> _Team:
    """Everything that can fail before an agent begins fails here, while those of the present configuration run."""
    witness = SqliteWitness(config.directory / "witness.db")
    try:
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
    except BaseException:
        witness.close()
        raise
    running = Running(config=config, witness=witness, agents=agents)
    return _Team(running=running, witness=witness, engines=engines)


async def _run(
    team: _Team, leave: asyncio.Event, *, parts: Sequence[Part], before: Mapping[str, ClusterAgent] | None
) -> None:
    """The agents and the parts beside them, until told to leave or one of them fails.

    ``before``: the agents of the configuration before this one; None: this is the first.
    """
    with contextlib.closing(team.witness):
        agents = team.running.agents
        if before is not None:
            for name in agents.keys() & before.keys():
                agents[name].inherit(before[name])
        failed: dict[str, UnderstudyError] | None = {} if before is None else None
        try:
            await _together(
                [
                    *(_keep(name, agents, leave, failed) for name in agents),
                    *(part(team.running, leave) for part in parts),
                ]
            )
        finally:
            for engine in team.engines.values():
                await engine.close()


async def _keep(
    name: str,
    agents: Mapping[str, ClusterAgent],
    leave: asyncio.Event,
    failed: dict[str, UnderstudyError] | None,
) -> None:
    """Run one agent. One that cannot begin is told and tried again: the others go on meanwhile.

    Args:
        failed: where a process of which no agent can begin is to end (it has just been started), the errors so far.
    """
    said: type[UnderstudyError] | None = None
    while not leave.is_set():
        try:
            await agents[name].run(leave)
        except UnderstudyError as error:
            if failed is not None:
                failed[name] = error
                if failed.keys() == agents.keys() and not any(agent.begun for agent in agents.values()):
                    raise
            if type(error) is not said:
                again = f"tried again every {_AGAIN:g} s; the other agents go on"
                _log.error("agent_not_started", cluster=name, error=str(error), message=again)
            said = type(error)
        else:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                await leave.wait()


async def _together(runs: list[Coroutine[None, None, None]]) -> None:
    """Run all; where one fails, its own error is raised (not a group of one)."""
    try:
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(run)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
