"""What the tests of all routes need to know of each app: an app says it in `tests/examples.py`.

examples = Examples()

@examples.row("farm_id")                 # a row for `<uuid:farm_id>`; called with the actor and the farm's id
@examples.body("farms", "POST")          # a valid body; called with the rows' ids and a number, to differ
@examples.spare("farm")                  # for DELETE: a row that nothing refers to
@examples.fill("users")                  # more rows of a list that has no POST
examples.queries["users"] = 4            # of a list, where it is not 3 (tenant, token, rows)
    examples.longest["parents"] = 6          # of a list that cannot have 12 rows
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from django.apps import apps

from ifarm.core.actors import Actor

Ids = Mapping[str, UUID]
RowMaker = Callable[[Actor, Ids], UUID]
BodyMaker = Callable[[Ids, int], dict[str, Any]]
Filler = Callable[[Actor, Ids, int], Any]


class Examples:
    """Makers by the names of URL arguments and routes. Rows that another needs are made before it."""

    def __init__(self) -> None:
        self.rows: dict[str, RowMaker] = {}
        self.bodies: dict[tuple[str, str], BodyMaker] = {}
        self.spares: dict[str, RowMaker] = {}
        self.fillers: dict[str, Filler] = {}
        self.queries: dict[str, int] = {}
        self.longest: dict[str, int] = {}

    def row(self, argument: str) -> Callable[[RowMaker], RowMaker]:
        return _into(self.rows, argument)

    def body(self, route: str, method: str) -> Callable[[BodyMaker], BodyMaker]:
        return _into(self.bodies, (route, method))

    def spare(self, route: str) -> Callable[[RowMaker], RowMaker]:
        return _into(self.spares, route)

    def fill(self, route: str) -> Callable[[Filler], Filler]:
        return _into(self.fillers, route)


def _into(place: dict[Any, Any], key: Any) -> Callable[[Any], Any]:
    def put(maker: Any) -> Any:
        assert key not in place, key
        place[key] = maker
        return maker

    return put


def all_examples() -> Examples:
    """Those of every app."""
    found = Examples()
    for config in apps.get_app_configs():
        name = f"{config.name}.tests.examples"
        if config.name.startswith("ifarm.") and find_spec(f"{config.name}.tests") and find_spec(name):
            one: Examples = import_module(name).examples
            for mine, theirs in zip(vars(found).values(), vars(one).values(), strict=True):
                assert not mine.keys() & theirs.keys()
                mine.update(theirs)
    return found
