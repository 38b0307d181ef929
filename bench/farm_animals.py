"""iFarm: the first page of the list of animals, of a tenant with 20,000, as a device asks for it. Milliseconds.

Real servers, an agent, gunicorn with two processes of four threads, HTTP on the loopback interface with a token; one
client that asks again and again on one connection, the database warm. ``queries`` are the statements of one request
that ask for something (not BEGIN and COMMIT); ``concurrent`` are the same requests from eight clients at once.

Goal (ifarm.md, 1.8, asks for less than 300): p50 of 30 ms or less, 3 queries or fewer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

if __package__ in (None, ""):  # `python bench/farm_animals.py`
    here = Path(__file__).resolve().parent
    sys.path[:] = [str(here.parent), *(p for p in sys.path if Path(p).resolve() != here)]

from bench import _common as common
from ifarm import demo
from understudy.model import Rpo

PATH = "/api/v1/animals/"
ANIMALS = 20_000
WARM_UP = 30  # requests: both processes import, prepare and fill their caches
REQUESTS = 200  # per repeat
CLIENTS = 8
GOAL_MS, GOAL_QUERIES = 30, 3
_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


def asked(url: str, token: str, times: int) -> list[float]:
    """How long each of so many requests took, in ms, on one connection. Raises RuntimeError for a wrong answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        connection.request("GET", PATH, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != 200 or len(json.loads(body)["results"]) != 50:
            raise RuntimeError(f"{PATH}: expected a page of 50, found {answer.status}: {body[:200]!r}")
    connection.close()
    return taken


def queries(config: Path, password: str, token: str) -> list[str]:
    """The statements of one request, in this process."""
    os.environ.update(demo.settings(config, password))
    import django

    django.setup()
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(SERVER_NAME="127.0.0.1", headers={"authorization": f"Bearer {token}"})
    client.get(PATH)
    with CaptureQueriesContext(connection) as captured:
        client.get(PATH)
    connection.close()
    return [one["sql"] for one in captured.captured_queries if not one["sql"].startswith(_CONTROL)]


def measure(arguments: argparse.Namespace) -> common.Result:
    password = "only-for-this-bench"
    with demo.EmptyLab(mode=Rpo.BOUNDED, say=common.say) as lab:
        web_config = demo.prepare(lab, common.say)
        demo.manage(lab.config_file, password, "migrate", "--verbosity", "0")
        words = ["--animals", str(arguments.animals), "--milk-every", "28", "--years", "3"]
        tenant, token = demo.manage(lab.config_file, password, "simulate_herd", *words).split()
        with lab.connect("a") as owner:
            row = owner.execute(
                "SELECT count(*) FROM animals_animal WHERE tenant_id = %s", (tenant,)
            ).fetchone()
        statements = queries(web_config, password, token)
        with demo.web(lab, web_config, password) as (url, _):
            asked(url, token, WARM_UP)
            repeats = []
            for number in range(arguments.repeat):
                common.say(f"{number + 1} of {arguments.repeat}")
                repeats.append(asked(url, token, REQUESTS))
            with ThreadPoolExecutor(CLIENTS) as clients:
                crowd = clients.map(lambda _: asked(url, token, REQUESTS), range(CLIENTS))
                crowded = [one for taken in crowd for one in taken]
        server = common.postgresql_version(lab)
    page = common.summary(one for taken in repeats for one in taken)
    return {
        "first_page_ms": page,
        "by_repeat_p50_ms": common.summary(common.summary(taken)["p50"] for taken in repeats),
        "concurrent_ms": common.summary(crowded),
        "queries": len(statements),
        "goal_met": page["p50"] <= GOAL_MS and len(statements) <= GOAL_QUERIES,
        "goal": {"p50_ms": GOAL_MS, "queries": GOAL_QUERIES},
        "animals": row[0] if row else 0,
        "requests": REQUESTS,
        "clients": CLIENTS,
        "versions": {"postgresql": server},
    }


def main() -> int:
    parser = common.options("farm_animals", repeat=5)
    parser.add_argument("--animals", type=int, default=ANIMALS, help=f"about, in the tenant ({ANIMALS})")
    return common.finish("farm_animals", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
