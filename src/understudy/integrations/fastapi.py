"""FastAPI and Starlette: a pool that lives as long as the application, and honest answers while the primary is away.

    app = FastAPI(lifespan=lifespan("main"))
    install(app)

    @app.post("/animals", status_code=201)
    async def add(name: str, conn: Annotated[AsyncConnection, connection()]) -> None:
        await conn.execute("INSERT INTO animal (name) VALUES (%s)", (name,))

What `connection` and `transaction` hand out is committed before the answer is sent: an answer that says "done" is true.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg_pool import PoolTimeout
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from understudy.client import AsyncConnection, AsyncPool, CommitInDoubt, NoPrimaryAvailable
from understudy.client.errors import PrimaryLost
from understudy.client.open import async_pool
from understudy.client.outcome import is_connection_error

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

_log = logging.getLogger(__name__)

# --- a pool, a connection, a session ------------------------------------------------------------------------


def lifespan(
    cluster: str | None = None, **options: Any
) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, AsyncPool]]]:
    """A lifespan for an application: an `understudy.async_pool` while it runs, in ``request.state.understudy``.

    In a lifespan of your own: ``async with understudy.async_pool() as pool: yield {"understudy": pool}``.
    """

    @asynccontextmanager
    async def live(app: Starlette) -> AsyncIterator[dict[str, AsyncPool]]:
        async with async_pool(cluster, **options) as opened:
            yield {"understudy": opened}

    return live


def pool(request: HTTPConnection) -> AsyncPool:
    """A dependency: the pool of this application's `lifespan`, for ``pool.run`` and transactions of one's own.

    Raises RuntimeError where the application has no such lifespan.
    """
    found = getattr(request.state, "understudy", None)
    if not isinstance(found, AsyncPool):
        raise RuntimeError(  # noqa: TRY004 - the application is set up wrongly
            f"request.state.understudy: expected the pool of the application's lifespan, found {found!r}; "
            "make the application with lifespan=understudy.integrations.fastapi.lifespan(...)"
        )
    return found


def connection(*, readonly: bool = False, max_lag: float | None = None) -> Any:
    """A FastAPI dependency: a connection for one request, committed before the answer is sent.

    Any exception, HTTPException too, rolls back. Arguments are those of `AsyncPool.connection`.
    """

    async def one(request: HTTPConnection) -> AsyncIterator[AsyncConnection]:
        async with pool(request).connection(readonly=readonly, max_lag=max_lag) as conn:
            yield conn

    return _ends_before_the_answer(one)


def transaction(sessions: async_sessionmaker[AsyncSession]) -> Any:
    """A FastAPI dependency: an SQLAlchemy session for one request, committed before the answer is sent.

    ``sessions``: of an engine of `understudy.integrations.sqlalchemy.create_async_engine`.
    """

    async def one() -> AsyncIterator[AsyncSession]:
        async with sessions() as session, session.begin():
            yield session

    return _ends_before_the_answer(one)


def _ends_before_the_answer(dependency: Callable[..., Any]) -> Any:
    """FastAPI ends a dependency after the answer was sent unless its scope is the function."""
    import fastapi

    if "scope" not in inspect.signature(fastapi.Depends).parameters:
        raise RuntimeError(
            f"expected FastAPI 0.121 or newer, found {fastapi.__version__}: it would send answers before the commit. "
            "Use the dependency `pool` and `async with pool.connection()` in the function instead."
        )
    return fastapi.Depends(dependency, scope="function")


# --- answers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """A body after RFC 9457 (problem details for HTTP) and, where asking again is safe, after how many seconds."""

    type: str
    title: str
    detail: str
    outcome: str
    retry_after: int | None
    status: int = 503


IN_DOUBT = Problem(
    "urn:understudy:commit-in-doubt",
    "The outcome is unknown",
    "The database went away while the work of this request was being committed. It may have been done, or not. "
    "Look for it before you ask again.",
    "unknown",
    None,
)
NO_PRIMARY = Problem(
    "urn:understudy:no-primary",
    "The database takes no writes at the moment",
    "Nothing was sent to it. It is safe to ask again.",
    "not committed",
    5,
)
LOST = Problem(
    "urn:understudy:connection-lost",
    "The connection to the database was lost",
    "The transaction was certainly not committed. It is safe to run it again.",
    "not committed",
    1,
)
FULL = Problem(
    "urn:understudy:no-connection",
    "Too many requests use the database",
    "No connection became free in time, and nothing was sent. It is safe to ask again.",
    "not committed",
    1,
)


def problem_of(error: BaseException) -> Problem | None:
    """What to answer to an error, or None where it says nothing about the database's availability."""
    if isinstance(error, CommitInDoubt):
        return IN_DOUBT
    if isinstance(error, NoPrimaryAvailable):
        return NO_PRIMARY
    if isinstance(error, PoolTimeout):
        return FULL
    cause = getattr(error, "orig", None) or error  # SQLAlchemy's errors hold the driver's
    return LOST if isinstance(cause, PrimaryLost) or is_connection_error(cause) else None


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = problem_of(error)
    if problem is None:
        raise error
    _log.warning("%s %s: %s", request.method, request.url.path, problem.title, exc_info=error)
    body = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "outcome": problem.outcome,
    }
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    return JSONResponse(
        body, status_code=problem.status, headers=headers, media_type="application/problem+json"
    )


def install(app: Starlette) -> None:
    """Answer 503 with a problem body (RFC 9457) where the database was not to be had; see `problem_of`.

    With ``Retry-After`` where it is safe to ask again, without it where the outcome is unknown. Names no node.
    """
    app.add_exception_handler(
        psycopg.OperationalError, _answer
    )  # the client's errors and the pool's are these too
    if find_spec("sqlalchemy") is not None:
        from sqlalchemy.exc import OperationalError

        app.add_exception_handler(OperationalError, _answer)
