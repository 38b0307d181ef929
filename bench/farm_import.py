"""iFarm: a file of 10,000 animals with their tags, from sending it until all of them are in the herd. Seconds.

Real servers, an agent, gunicorn with two processes of four threads; the file goes by HTTP with a token, and one worker
(`manage.py run_imports`, whose start is counted) writes the rows in chunks of 500, while the web answers. Each animal
has an ear tag, an EID, a breed, a birth, a paddock's farm and, in nine of ten cases, a dam in the same file: with its
identifiers, its parentage, its first movement, its stay, the audit of each and an event, some 14 rows in the database.

Goal: p50 of 20 s or less for each type of file.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

if __package__ in (None, ""):  # `python bench/farm_import.py`
    here = Path(__file__).resolve().parent
    sys.path[:] = [str(here.parent), *(p for p in sys.path if Path(p).resolve() != here)]

from bench import _common as common
from ifarm import demo
from ifarm.exchange.columns import COLUMNS
from ifarm.exchange.words import FileType, Kind
from ifarm.exchange.writing import table
from understudy.demo.lab import Lab
from understudy.model import Rpo

ANIMALS = 10_000
GOAL_S = 20
FIRST_BIRTH = date(2010, 1, 1)


def rows(farm: str, series: int, many: int) -> list[dict[str, Any]]:
    """Animals that nobody has yet; offspring before their dams, so that their order has to be found."""
    found = []
    for number in range(many):
        generation, place = divmod(number, many // 10)
        found.append(
            {
                "tag_number": f"AT {series:03} {number:06}",
                "eid": f"040{series:04}{number:08}",
                "name": f"Cow {number}",
                "species": "Cattle",
                "sex": "Female",
                "breeds": "SIM:3 HOL:1" if number % 3 else "SIM",
                "birth_date": FIRST_BIRTH + timedelta(days=500 * generation + place % 400),
                "purpose": "Milk",
                "dam_tag": f"AT {series:03} {number - many // 10:06}" if generation else None,
                "farm": farm,
                "reference": "no",
                "source_id": f"{series}/{number}",
            }
        )
    return found[::-1]


def file_of(kind: FileType, farm: str, series: int, many: int) -> bytes:
    names = [column.name for column in COLUMNS[Kind.ANIMALS]]
    with table(names, rows(farm, series, many), kind, "animals") as file:
        return file.read()


def imported(web: httpx.Client, lab: Lab, password: str, kind: FileType, body: bytes) -> dict[str, float]:
    """Seconds until the file was taken, until its rows were written, and of the worker's CPU. Raises RuntimeError.

    On a busy machine the last says most; it is without that of the database.
    """
    began = time.perf_counter()
    answer = web.post(
        "imports/", files={"file": (f"herd.{kind.value}", body)}, data={"kind": "animals", "source": "bench"}
    )
    taken = time.perf_counter() - began
    if answer.status_code != 201:
        raise RuntimeError(f"imports/: expected 201, found {answer.status_code}: {answer.text[:300]}")
    before = worked()
    demo.manage(lab.config_file, password, "run_imports")
    cpu = worked() - before
    job = web.get(f"imports/{answer.json()['id']}/").json()
    total = time.perf_counter() - began
    if (job["state"], job["rows_good"]) != ("done", job["rows_total"]):
        raise RuntimeError(f"expected all rows written, found {job}")
    return {"taken_s": taken, "done_s": total, "worker_cpu_s": cpu}


def worked() -> float:
    """Seconds of CPU of the processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(arguments: argparse.Namespace) -> common.Result:
    password = "only-for-this-bench"
    with demo.EmptyLab(mode=Rpo.BOUNDED, say=common.say) as lab:
        web_config = demo.prepare(lab, common.say)
        demo.manage(lab.config_file, password, "migrate", "--verbosity", "0")
        herd = ["--animals", "100", "--years", "1"]
        _, token = demo.manage(lab.config_file, password, "simulate_herd", *herd).split()
        with demo.web(lab, web_config, password) as (url, _):
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=f"{url}/api/v1/", headers=headers, timeout=120) as web:
                farm = web.get("farms/").json()["results"][0]["name"]
                figures: dict[str, list[dict[str, float]]] = {kind.value: [] for kind in FileType}
                sizes = {}
                for number in range(arguments.repeat):
                    for place, kind in enumerate(FileType):
                        body = file_of(kind, farm, 2 * number + place, arguments.animals)
                        sizes[kind.value] = len(body)
                        figures[kind.value].append(imported(web, lab, password, kind, body))
                        common.say(
                            f"{number + 1} of {arguments.repeat}: {kind.value} {figures[kind.value][-1]}"
                        )
        with lab.connect("a") as owner:
            row = owner.execute("SELECT count(*) FROM animals_animal").fetchone()
        server = common.postgresql_version(lab)
    seconds = {
        name: {kind: common.summary(one[name] for one in found) for kind, found in figures.items()}
        for name in ("done_s", "taken_s", "worker_cpu_s")
    }
    done = seconds["done_s"]
    return {
        **seconds,
        "goal_met": all(one["p50"] is not None and one["p50"] <= GOAL_S for one in done.values()),
        "goal": {"p50_s": GOAL_S},
        "animals_of_a_file": arguments.animals,
        "file_bytes": sizes,
        "animals_at_the_end": row[0] if row else 0,
        "versions": {"postgresql": server},
    }


def main() -> int:
    parser = common.options("farm_import", repeat=3)
    parser.add_argument("--animals", type=int, default=ANIMALS, help=f"in each file ({ANIMALS})")
    return common.finish("farm_import", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
