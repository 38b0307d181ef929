"""The page that the agent serves: hand-written HTML, CSS and JavaScript modules, nothing to build.

It knows only what the API says (`/api/v1`), and puts every text of it in as text. The policy below forbids inline code,
foreign sources and, where the browser knows Trusted Types, any HTML made from a string.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.responses import Response
from starlette.types import Scope

from understudy.agent.service import Running
from understudy.decide.plans import steps
from understudy.model import PlanKind, Rpo

_HERE = Path(__file__).parent
ASSETS = "/assets"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked again with its ETag: after an update no old module meets a new one
}


class _Assets(StaticFiles):
    """Our own files, with the headers of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def mount(app: FastAPI, running: Running | None = None) -> None:
    """Add the page at ``/`` and its files. It knows nothing by itself: what it shows, the API lets it see."""
    templates = Jinja2Templates(_HERE / "templates")
    api = running.config.api if running is not None else None
    context = {"plans": plan_steps(), "guarded": api is not None and api.guarded}
    app.mount(ASSETS, _Assets(directory=_HERE / "static"), name="assets")

    async def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "index.html", context, headers=HEADERS)

    app.add_api_route(
        "/", page, methods=["GET", "HEAD"], include_in_schema=False, response_class=HTMLResponse
    )


def plan_steps() -> dict[str, dict[str, list[str]]]:
    """By rpo and kind of plan: its steps in order. The page shows those to come, too."""
    return {rpo: {kind: [str(step) for step in steps(kind, rpo)] for kind in PlanKind} for rpo in Rpo}
