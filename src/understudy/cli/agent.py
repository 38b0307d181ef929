"""`understudy run`: the agent itself, in the foreground, as a service manager wants it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Annotated

import structlog
import typer

from understudy import config as configuration
from understudy import logs
from understudy.agent.service import Running, serve
from understudy.cli.common import Cli, of
from understudy.config import Config
from understudy.logs_plain import PlainStyle
from understudy.web.listening import Listening


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    context: typer.Context,
    standby: Annotated[bool, typer.Option("--standby", help="Wait for an acting agent's place.")] = False,
    log_format: Annotated[
        logs.LogFormat, typer.Option(help="console, json or plain")
    ] = logs.LogFormat.CONSOLE,
    log_level: Annotated[
        logs.LogLevel, typer.Option(help="debug, info, warning, error")
    ] = logs.LogLevel.INFO,
) -> None:
    """Run the agents of all configured clusters until SIGTERM; SIGHUP reads the configuration again."""
    cli = of(context)
    plain = PlainStyle()
    logs.configure(log_format, log_level, plain)

    def load() -> Config:
        config = _load(cli)
        plain.learn(config.clusters)
        return config

    with contextlib.closing(Listening()) as listening:
        backups = functools.partial(_backups, cli.path)
        parts = (_monitor, functools.partial(_api, listening), _telemetry, backups, _readiness)
        asyncio.run(serve(load, standby=standby, parts=parts))


async def _monitor(running: Running, leave: asyncio.Event) -> None:
    """Watch and tell people, where the configuration asks for it."""
    if running.config.alerting is not None:
        from understudy.monitor.part import watch

        await watch(running, leave)


async def _api(listening: Listening, running: Running, leave: asyncio.Event) -> None:
    """Answer HTTP, where the configuration has a table ``[api]``."""
    if running.config.api is None:
        listening.close()
        return
    from understudy.web.serve import serve_api

    await serve_api(running, leave, listening)


async def _backups(path: Path | None, running: Running, leave: asyncio.Event) -> None:
    """Make, prove and tidy backups on schedule, where the configuration has a table ``[backup]``."""
    if running.config.backup is not None:
        from understudy.backup.part import keep

        await keep(running, leave, config_file=path)


async def _readiness(running: Running, leave: asyncio.Event) -> None:
    """Look once a minute how ready each cluster is; without ``[backup]`` that is said, not passed over."""
    from understudy.readiness.part import keep

    await keep(running, leave)


async def _telemetry(running: Running, leave: asyncio.Event) -> None:
    """Make spans of plans, where OpenTelemetry is installed."""
    try:
        from understudy.integrations.telemetry_plans import trace_plans
    except ImportError:
        return
    await trace_plans(running, leave)


def _load(cli: Cli) -> Config:
    """The configuration as it is on disk now, its warnings logged; `--cluster` leaves only that one."""
    config = configuration.load(cli.path)
    for warning in config.warnings:
        structlog.get_logger().warning("configuration", message=warning)
    if cli.wanted is None:
        return config
    return dataclasses.replace(config, clusters=(config.cluster(cli.wanted),))
