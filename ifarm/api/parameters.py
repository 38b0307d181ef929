"""What the address of a request asks for (`?status=Alive&limit=20`), read in one way for every route.

A parameter that is there has a value, and is there once. Whoever leaves a form's field empty leaves the parameter out:
`?status=` would else be a list of everything in the one route and of nothing in the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework.serializers import Serializer

from ifarm.core.errors import Invalid


def wrong(*flaws: tuple[str, str]) -> Invalid:
    """The problem for parameters and what is wrong with each: ``errors`` has {parameter, detail}."""
    told = " ".join(f"{name}: {detail}" for name, detail in flaws)
    return Invalid(told, errors=[{"parameter": name, "detail": detail} for name, detail in flaws])


def given(query: QueryDict) -> dict[str, str]:
    """All parameters. Raises `Invalid` for one without a value, or with two."""
    flaws = [
        (
            name,
            "expected one value, found more."
            if values[1:]
            else "expected a value, found none. Leave it out.",
        )
        for name, values in query.lists()
        if values[1:] or not values[0].strip()
    ]
    if flaws:
        raise wrong(*flaws)
    return query.dict()


def checked(parameters: Mapping[str, str], query: type[Serializer]) -> dict[str, Any]:
    """Those that a serializer describes, with its defaults. Raises `Invalid`."""
    asked = query(data=parameters)
    if not asked.is_valid():
        raise wrong(*((name, str(detail)) for name, details in asked.errors.items() for detail in details))
    return dict(asked.validated_data)


def narrowed(parameters: Mapping[str, str], filters: Any, rows: QuerySet[Any]) -> Any:
    """The filters (a django-filter FilterSet) over these rows; ``.qs`` are those that they leave. Raises `Invalid`."""
    chosen = filters(parameters, queryset=rows)
    if not chosen.is_valid():
        raise wrong(*((name, detail) for name, details in chosen.errors.items() for detail in details))
    return chosen
