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
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import psycopg
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from understudy.client import AsyncConnection, AsyncPool
from understudy.client.open import async_pool
from understudy.integrations.problems import MEDIA_TYPE, problem_of

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


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = problem_of(error)
    if problem is None:
        raise error
    _log.warning("%s %s: %s", request.method, request.url.path, problem.title, exc_info=error)
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    return JSONResponse(problem.body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


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
