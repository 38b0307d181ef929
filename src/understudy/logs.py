"""How the agent logs: one line per event on stderr, for people, as JSON or in plain words, without secrets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from typing import Any

import structlog

from understudy.config import mask
from understudy.logs_plain import PlainStyle


class LogFormat(StrEnum):
    """CONSOLE: for people (coloured on a terminal). JSON: one object a line, for machines. PLAIN: see `logs_plain`."""

    CONSOLE = "console"
    JSON = "json"
    PLAIN = "plain"


class LogLevel(StrEnum):
    """The least important kind of line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: every text in the line, at any depth, goes through `config.mask`."""
    for key, value in event.items():
        event[key] = _masked(value)
    return event


def _masked(value: object) -> object:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(inner) for inner in value]
    if isinstance(value, BaseException):
        return mask(str(value))
    return value


def configure(
    form: LogFormat = LogFormat.CONSOLE, level: LogLevel = LogLevel.INFO, plain: PlainStyle | None = None
) -> None:
    """Set up structlog, and the standard library's logging through it, for this process.

    ``plain``: the style of PLAIN, where the caller wants it to learn clusters.
    """
    renderer = _renderer(form, plain or PlainStyle())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.INFO), force=True)


def _renderer(form: LogFormat, plain: PlainStyle) -> structlog.typing.Processor:
    if form is LogFormat.JSON:
        return structlog.processors.JSONRenderer()
    if form is LogFormat.PLAIN:
        return plain
    traceback = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=traceback)
