"""What connect, SELECT 1 and close cost with SQLAlchemy, against a stock engine on psycopg. Microseconds per call.

Measured as in `bench.overhead`: short rounds of both alternate in one process, and neighbours are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

if __package__ in (
    None,
    "",
):  # `python bench/overhead_sqlalchemy.py`: this folder would hide the library of the same name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import sqlalchemy
from sqlalchemy import text

from bench import _common as common
from bench.overhead import ROUNDS, fastest, interleaved, paired
from understudy.demo.lab import CLUSTER, Lab
from understudy.integrations.sqlalchemy import create_engine
from understudy.model import Rpo

ONE = text("SELECT 1")


def checkout(engine: sqlalchemy.Engine) -> Callable[[], object]:
    """The same lines for both engines."""

    def call() -> object:
        with engine.connect() as connection:
            return connection.execute(ONE).scalar_one()

    return call


def measure(arguments: argparse.Namespace) -> common.Result:
    with Lab(mode=Rpo.BOUNDED, scale=1, say=common.say) as lab:
        stock = sqlalchemy.create_engine(lab.dsn("a", "app").replace("postgresql:", "postgresql+psycopg:", 1))
        ours = create_engine(CLUSTER, config=lab.config_file)
        calls = {"stock": checkout(stock), "understudy": checkout(ours)}
        rounds, cpu = interleaved(calls, arguments.repeat * ROUNDS), fastest(calls)
        stock.dispose()
        ours.dispose()
        server = common.postgresql_version(lab)
    over, ratio = paired(rounds["understudy"], rounds["stock"], ROUNDS)
    middle = {name: round(statistics.median(values), 2) for name, values in rounds.items()}
    return {
        "understudy_over_stock_us": over["p50"],
        "understudy_over_stock_ratio": ratio["p50"],
        "by_repeat": {"over_us": over, "ratio": ratio},
        "cpu_us": cpu,
        "cpu_over_stock_us": round(cpu["understudy"] - cpu["stock"], 2),
        "stock_us": middle["stock"],
        "understudy_us": middle["understudy"],
        "all_rounds_us": {name: common.summary(values, 2) for name, values in rounds.items()},
        "versions": {"postgresql": server, "sqlalchemy": sqlalchemy.__version__},
        "peers": {"sqlalchemy": {"understudy_us": middle["stock"]}},
    }


def main() -> int:
    return common.finish("overhead_sqlalchemy", common.options("overhead_sqlalchemy").parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
