"""Lists in pages: by (sort column, id), so that each page costs the same and no row is skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.core import signing
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from ifarm.api.parameters import wrong

SIZE: Final = 50
LARGEST: Final = 500
_SALT = "ifarm.page"


class Order:
    """What a list can be sorted by; the first is the default.

    Raises ValueError for a column that may be NULL: rows without a value would be in no page.
    """

    def __init__(self, model: type[models.Model], *names: str) -> None:
        self.fields: dict[str, Any] = {}
        for name in names:
            try:
                field = model._meta.get_field(name)
            except FieldDoesNotExist:
                raise ValueError(
                    f"{model.__name__}: expected a field {name!r} to sort by, found none"
                ) from None
            if field.null:
                raise ValueError(f"{model.__name__}.{name}: expected NOT NULL to sort by, found NULL allowed")
            self.fields[name] = field
        self.default = names[0]

    @property
    def choices(self) -> list[str]:
        """The values of `?sort=`."""
        return [word for name in self.fields for word in (name, f"-{name}")]


@dataclass(frozen=True, slots=True)
class Page:
    """One page, and the parameters of the next (None: this is the last)."""

    rows: list[Any]
    next: str | None


def page(rows: models.QuerySet[Any], order: Order, parameters: Mapping[str, str]) -> Page:
    """The page that `?sort=&limit=&cursor=` ask for. Raises `Invalid`."""
    cursor = _opened(parameters.get("cursor"))
    sort = cursor["sort"] if cursor else parameters.get("sort", order.default)
    if sort not in order.choices:
        raise wrong(("sort", f"expected one of {', '.join(order.choices)}, found {sort!r}."))
    limit = _limit(parameters.get("limit", str(SIZE)))
    name, down = sort.lstrip("-"), sort.startswith("-")
    if cursor:
        # `>=` on the column alone is what the index can begin at; the rest is decided on the rows of that value.
        side = "lt" if down else "gt"
        value = order.fields[name].to_python(cursor["value"])
        beyond = models.Q(**{f"{name}__{side}": value}) | models.Q(**{f"id__{side}": cursor["id"]})
        rows = rows.filter(beyond, **{f"{name}__{side}e": value})
    sign = "-" if down else ""
    found = list(rows.order_by(f"{sign}{name}", f"{sign}id")[: limit + 1])
    if len(found) <= limit:
        return Page(found, None)
    last = found[limit - 1]
    place = {"sort": sort, "value": order.fields[name].value_to_string(last), "id": str(last.pk)}
    kept = {key: value for key, value in parameters.items() if key not in {"cursor", "sort"}}
    return Page(found[:limit], urlencode({**kept, "cursor": signing.dumps(place, salt=_SALT)}))


def _opened(cursor: str | None) -> dict[str, str] | None:
    if cursor is None:
        return None
    try:
        return dict(signing.loads(cursor, salt=_SALT))
    except signing.BadSignature:
        raise wrong(
            ("cursor", "expected the one of the page before, found another. Start without.")
        ) from None


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LARGEST:
        raise wrong(("limit", f"expected a number from 1 to {LARGEST}, found {text!r}."))
    return int(text)
