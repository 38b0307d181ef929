"""One large table: how long `understudy backup create` and `verify` take for it, and how much memory they need.

A table of random text, which hardly compresses, and one of words, which does, each of ``--gigabytes``, one after the
other; the commands run as processes of their own, and every process that they start is watched.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __package__ in (None, ""):  # `python bench/backup_memory.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _common as common
from bench._memory import Peaks
from bench.backup import place
from understudy import config
from understudy.backup.keys import write_new
from understudy.backup.shelf import Shelf
from understudy.demo.agent_process import PROGRAM, environment
from understudy.demo.lab import CLUSTER, Lab
from understudy.model import Rpo

ROW = 8190
TABLES = """
[backup]
key_file = "{key}"
[[backup.destination]]
name = "disk"
folder = "{folder}"
"""
WORDS = "the cow stands in the third paddock and gave nineteen litres of milk this morning "


def main() -> int:
    parser = common.options("backup_memory", repeat=1)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of each table (4)")
    parser.add_argument("--folder", type=Path, help="where everything lies (a folder beneath TMPDIR)")
    return common.finish("backup_memory", parser.parse_args(), measure)


def measure(arguments: argparse.Namespace) -> common.Result:
    found: common.Result = {"gigabytes": arguments.gigabytes}
    with place(arguments.folder) as folder, Lab(mode=Rpo.BOUNDED, scale=1, say=common.say) as lab:
        configure(lab, folder)
        for data in ("random", "words"):
            common.say(f"filling: {data}")
            fill(lab, data, int(arguments.gigabytes * 1e9))
            made = run(lab, "create")
            proven = run(lab, "verify", "--level", "restore")
            shelf = Shelf(config.load(lab.config_file, {}), lab.cluster)
            part = shelf.find("latest").parts[0]
            found[data] = {"raw_mb": part.raw_bytes // 10**6, "stored_mb": part.stored_bytes // 10**6,
                           "create": made, "verify": proven}  # fmt: skip
            with lab.connect("a", "postgres") as connection:
                connection.execute("DROP TABLE large")
    return found


def configure(lab: Lab, folder: Path) -> None:
    """A destination and a key. The lab's agent stops: it would go on looking at what fills the disk."""
    lab.agent.stop()
    (folder / "backups").mkdir()
    write_new(folder / "key")
    with lab.config_file.open("a") as file:
        file.write(TABLES.format(key=folder / "key", folder=folder / "backups"))


def fill(lab: Lab, data: str, size: int) -> None:
    """The table `large`: so many bytes in rows of eight kilobytes."""
    with lab.connect("a", "postgres") as connection:
        connection.execute(
            "CREATE TABLE large (id bigint PRIMARY KEY, text text STORAGE EXTERNAL NOT NULL);"
            "GRANT SELECT ON large TO understudy"
        )
        with connection.cursor().copy("COPY large FROM STDIN") as copy:
            for number, row in enumerate(rows(data, size // ROW)):
                copy.write(f"{number}\t{row}\n")


def rows(data: str, count: int) -> Iterator[str]:
    for number in range(count):
        if data == "random":
            yield base64.b64encode(os.urandom(ROW * 3 // 4)).decode()
        else:
            yield (f"{number}: " + WORDS * (ROW // len(WORDS)))[:ROW]


def run(lab: Lab, *arguments: str) -> common.Result:
    """Seconds and peaks (MB) of one command. Raises RuntimeError where it fails."""
    common.say(f"understudy backup {' '.join(arguments)}")
    began = time.perf_counter()
    command = [*PROGRAM, "--cluster", CLUSTER, "backup", *arguments]
    with (
        subprocess.Popen(command, env=environment(lab.config_file), stdout=subprocess.DEVNULL) as process,
        Peaks(process.pid) as peaks,
    ):
        code = process.wait()
    if code:
        raise RuntimeError(f"understudy backup {' '.join(arguments)} ended with {code}")
    megabytes = {name: round(peak / 1e6, 1) for name, peak in sorted(peaks.by_program.items())}
    seconds = round(time.perf_counter() - began, 1)
    return {"seconds": seconds, "peak_mb": megabytes, "together_mb": round(peaks.together / 1e6, 1)}


if __name__ == "__main__":
    sys.exit(main())
