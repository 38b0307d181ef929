"""What the engine costs, against Django's own on the same server in the same process. Microseconds per call.

Two calls: an autocommit `get`, and a small write in `atomic`. Measured as in `bench.overhead`: short rounds of both
engines alternate, and neighbours are compared. ``ratio`` is the larger of the two calls'. The server does not wait for
its disk (``synchronous_commit = off`` in both): what is left is what the engines do, and a commit that waits makes the
ratio smaller.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # `python bench/django.py`
    here = Path(__file__).resolve().parent
    sys.path[:] = [str(here.parent), *(p for p in sys.path if Path(p).resolve() != here)]

from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from bench import _common as common
from bench.overhead import interleaved, paired
from understudy.demo.lab import Lab
from understudy.integrations.django.target import ENGINE
from understudy.model import Rpo

_STOCK = "django.db.backends.postgresql"
_CALLS = ("get", "atomic")
TIMES = 10  # calls per round: some 5 ms
ROUNDS = 300  # per repeat


def configure(lab: Lab) -> None:
    """Two aliases to one server: `default` by Understudy, `stock` by Django's own engine."""
    import django

    there = conninfo_to_dict(lab.dsn("a", "app"))
    place = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=[],
        DATABASES={
            "default": {"ENGINE": ENGINE, "CONN_MAX_AGE": None, "OPTIONS": {"config": str(lab.config_file)}},
            "stock": {
                "ENGINE": _STOCK,
                "CONN_MAX_AGE": None,
                **{key: str(there.get(name) or "") for key, name in place.items()},
            },
        },
    )
    django.setup()


def account() -> Any:
    """A model on a table of pgbench."""
    from django.db import models

    class Account(models.Model):
        aid = models.IntegerField(primary_key=True)
        bid = models.IntegerField()
        abalance = models.IntegerField()

        class Meta:
            app_label = "bench"
            db_table = "pgbench_accounts"
            managed = False

    return Account


def calls() -> dict[str, Callable[[], object]]:
    """The same lines for both engines."""
    from django.db import transaction
    from django.db.models import F

    model = account()

    def get(alias: str) -> Callable[[], object]:
        return lambda: model.objects.using(alias).get(pk=7)

    def atomic(alias: str) -> Callable[[], object]:
        def call() -> None:
            with transaction.atomic(using=alias):
                model.objects.using(alias).filter(pk=7).update(abalance=F("abalance") + 1)

        return call

    kinds = {"get": get, "atomic": atomic}
    names = {"stock": "stock", "understudy": "default"}
    return {f"{kind} {name}": kinds[kind](alias) for kind in _CALLS for name, alias in names.items()}


def measure(arguments: argparse.Namespace) -> common.Result:
    with Lab(mode=Rpo.BOUNDED, scale=1, say=common.say) as lab:
        with lab.connect("a", "postgres") as connection:
            connection.execute("ALTER ROLE app SET synchronous_commit = off")
        configure(lab)
        from django.db import connections

        rounds = interleaved(calls(), arguments.repeat * ROUNDS, TIMES)
        server = common.postgresql_version(lab)
        connections.close_all()
    figures = {kind: _compare(rounds[f"{kind} understudy"], rounds[f"{kind} stock"]) for kind in _CALLS}
    worst = max(figures.values(), key=lambda f: f["ratio"])
    return {
        **worst,
        "calls": figures,
        "all_rounds_us": {name: common.summary(values, 2) for name, values in rounds.items()},
        "versions": {"postgresql": server, "django": _version()},
        "peers": {"django.db.backends.postgresql": {"understudy_us": worst["stock_us"]}},
    }


def _compare(ours: list[float], stock: list[float]) -> common.Result:
    over, ratio = paired(ours, stock, ROUNDS)
    return {
        "ratio": ratio["p50"],
        "by_repeat": {"over_us": over, "ratio": ratio},
        "stock_us": round(statistics.median(stock), 2),
        "understudy_us": round(statistics.median(ours), 2),
    }


def _version() -> str:
    import django

    return django.get_version()


def main() -> int:
    return common.finish("django", common.options("django").parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
