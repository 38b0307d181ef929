"""An encrypted, compressed backup stream against `pg_dump -Z0 | zstd -1`, on the same data in the same run.

`ours`: pg_dump -Z0 through `understudy.backup.stream` (zstd level 1, AES-256-GCM) into a folder. The peer: the program
zstd writes the same dump to a file of the same folder, not encrypted. They take turns; MB are of uncompressed dump.
Then the whole product: `create` with fingerprints in the dump's snapshot, and its verification at level `restore` (a
scratch server, every table compared).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if __package__ in (None, ""):  # `python bench/backup.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench import _common as common
from understudy import config
from understudy.backup import logical, programs, verify
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Level, Verdict
from understudy.backup.store import open_store
from understudy.backup.stream import Progress, write_part
from understudy.config_backup import Destination
from understudy.demo.lab import Lab
from understudy.model import Rpo

REALISTIC = """
    CREATE TABLE customer (id bigint PRIMARY KEY, name text NOT NULL, email text, made timestamptz, profile jsonb);
    CREATE TABLE event (id bigint PRIMARY KEY, customer bigint NOT NULL REFERENCES customer, at timestamptz,
                        kind text, token uuid, amount numeric(12, 2), payload jsonb);
    INSERT INTO customer SELECT n, 'customer ' || n, md5(n::text) || '@example.org',
        '2026-01-01'::timestamptz + n * interval '1 minute',
        jsonb_build_object('level', n % 7, 'tags', ARRAY[md5((n % 1000)::text), 'x'])
        FROM generate_series(1, {customers}) n;
    INSERT INTO event SELECT n, n % {customers} + 1, '2026-01-01'::timestamptz + n * interval '1 second',
        (ARRAY['view', 'order', 'pay', 'ship'])[n % 4 + 1], md5(n::text)::uuid, n % 10000 / 7.0,
        jsonb_build_object('path', '/p/' || n % 5000, 'ms', n % 317) FROM generate_series(1, {customers} * 5) n;
    CREATE INDEX ON event (customer); CREATE INDEX ON event (at);
"""
ACCOUNTS = """
    CREATE TABLE bench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
    INSERT INTO bench_accounts SELECT n, (n - 1) / 100000 + 1, 0, '' FROM generate_series(1, {rows}) n;
    GRANT SELECT ON bench_accounts TO understudy;
"""
STAND_IN = (
    "import sys, zstandard;"
    "zstandard.ZstdCompressor(level=1).copy_stream(sys.stdin.buffer, sys.stdout.buffer, read_size=1 << 20)"
)


def main() -> int:
    parser = common.options("backup", repeat=3)
    parser.set_defaults(scale=50)
    parser.add_argument(
        "--data", choices=("pgbench", "realistic"), default="realistic", help="for the streams (realistic)"
    )
    parser.add_argument(
        "--customers", type=int, default=300_000, help="of the realistic data; five events each (300,000)"
    )
    parser.add_argument("--folder", type=Path, help="where everything lies (a folder beneath TMPDIR)")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return ours_in_here(*arguments.child)
    return common.finish("backup", arguments, measure)


def measure(arguments: argparse.Namespace) -> common.Result:
    scale = arguments.scale
    with place(arguments.folder) as folder, Lab(mode=Rpo.BOUNDED, scale=1, say=common.say) as lab:
        with lab.connect("a", "postgres") as connection:
            common.say(f"filling: {arguments.data}")
            fill(connection, arguments)
            server = connection.info.parameter_status("server_version") or "unknown"
        streams = compare_streams(lab, folder, arguments.repeat)
        with lab.connect("a", "postgres") as connection:
            connection.execute("DROP TABLE IF EXISTS event, customer, bench_accounts")
        whole = whole_backup(lab, folder, scale)
    zstd, name = zstd_command()
    return {
        **streams["result"],
        **whole,
        "data": arguments.data,
        "versions": {"postgresql": server, "zstd": zstd_version(zstd)},
        "peers": {name: streams["peer"]},
    }


@contextmanager
def place(given: Path | None) -> Iterator[Path]:
    """A folder for dumps, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="understudy-bench-", dir=given))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(connection: psycopg.Connection, arguments: argparse.Namespace) -> None:
    if arguments.data == "pgbench":
        connection.execute(ACCOUNTS.format(rows=arguments.scale * 100_000))
    else:
        connection.execute(REALISTIC.format(customers=arguments.customers))
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


# --- the stream alone ---------------------------------------------------------------------------------------


def compare_streams(lab: Lab, folder: Path, repeat: int) -> common.Result:
    """Both pipelines in turn; a first round of each warms the caches and is not counted."""
    dsn = lab.dsn("a", "postgres")
    runs: dict[str, list[tuple[float, int, float]]] = {"ours": [], "peer": []}
    for number in range(repeat + 1):
        for name in ("ours", "peer") if number % 2 else ("peer", "ours"):
            target = folder / name
            target.mkdir()
            found = ours(dsn, target) if name == "ours" else peer(dsn, target)
            shutil.rmtree(target)
            if number:
                runs[name].append(found)
                common.say(f"{name} {number}: {found[0]:.2f} s")
    raw = max(size for _, size, _ in runs["ours"])
    speed = {name: [raw / seconds / 1e6 for seconds, _, _ in found] for name, found in runs.items()}
    pairs = [a / b for a, b in zip(speed["ours"], speed["peer"], strict=True)]
    return {
        "result": {
            "dump_mb_per_s": common.summary(speed["ours"]),
            "raw_pipe_mb_per_s": common.summary(speed["peer"]),
            "ratio": common.summary(pairs, 3),
            "ratio_of_best": round(max(speed["ours"]) / max(speed["peer"]), 3),
            "peak_memory_mb": round(max(peak for _, _, peak in runs["ours"]), 1),
            "dump_mb": round(raw / 1e6, 1),
        },
        "peer": {"dump_mb_per_s": common.summary(speed["peer"])},
    }


def ours(dsn: str, target: Path) -> tuple[float, int, float]:
    """Seconds, bytes of dump, peak memory in MB, in a process of its own: its memory is nobody else's."""
    environment = os.environ | {"UNDERSTUDY_BENCH_DSN": dsn}
    done = subprocess.run(
        [sys.executable, "-m", "bench.backup", "--child", "ours", str(target), "-"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, size, peak = json.loads(done.stdout)
    return seconds, size, peak


def ours_in_here(_: str, target: str, __: str) -> int:
    dsn = os.environ["UNDERSTUDY_BENCH_DSN"]
    store = open_store(Destination(name="bench", folder=Path(target)))
    keys = Keys(Key.new())
    line, environment = programs.command_line(dsn, "bench")
    began = time.perf_counter()
    with programs.Child(
        [programs.program("pg_dump", 16), *DUMP, f"--dbname={line}"], environment, dsn=dsn
    ) as child:
        part = write_part(child.chunks(), [store], "bench/one/archive", "archive", keys, Progress("bench"))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, part.raw_bytes, peak]))
    return 0


DUMP = (
    "--format=custom",
    "--compress=0",
    "--no-subscriptions",
    "--exclude-schema=understudy",
    "--no-password",
)


def peer(dsn: str, target: Path) -> tuple[float, int, float]:
    """The same dump through zstd -1 into a file, which is synced as ours is."""
    line, environment = programs.command_line(dsn, "bench")
    command, _ = zstd_command()
    began = time.perf_counter()
    with (target / "archive.zst").open("wb") as file:
        dump = subprocess.Popen(
            [programs.program("pg_dump", 16), *DUMP, f"--dbname={line}"],
            env=environment,
            stdout=subprocess.PIPE,
        )
        pack = subprocess.Popen(command, stdin=dump.stdout, stdout=file)
        assert dump.stdout is not None
        dump.stdout.close()
        codes = pack.wait(), dump.wait()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    if any(codes):
        raise RuntimeError(f"the peer failed: zstd {codes[0]}, pg_dump {codes[1]}")
    return seconds, 0, 0.0


def zstd_command() -> tuple[list[str], str]:
    """The peer's program and its name."""
    if (path := shutil.which("zstd")) is not None:
        return [path, "-1", "-q", "-c"], "pg_dump -Z0 | zstd -1"
    return [
        sys.executable,
        "-c",
        STAND_IN,
    ], "pg_dump -Z0 | python zstandard level 1 (stand-in for the program zstd)"


def zstd_version(command: list[str]) -> str:
    done = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


# --- the whole product --------------------------------------------------------------------------------------


def whole_backup(lab: Lab, folder: Path, scale: int) -> common.Result:
    """`create` and `verify` at level restore of pgbench's data at this scale, with nobody writing."""
    with lab.connect("a", "postgres") as connection:
        common.say(f"filling: pgbench's accounts at scale {scale}")
        connection.execute(ACCOUNTS.format(rows=scale * 100_000))
        connection.execute("VACUUM ANALYZE bench_accounts")
        connection.execute("CHECKPOINT")
    loaded = config.load(lab.config_file, {})
    (folder / "whole").mkdir()
    store, keys = open_store(Destination(name="bench", folder=folder / "whole")), Keys(Key.new())
    began = time.perf_counter()
    manifest = logical.create(loaded, lab.cluster, [store], keys, tell=common.say)
    create_s = time.perf_counter() - began
    common.say(f"created in {create_s:.1f} s; verifying")
    proof = verify.verify(Catalog([store]), manifest, Level.RESTORE, keys, loaded, tell=common.say)
    if proof.verdict is not Verdict.PASS:
        raise RuntimeError(f"the backup is not proven: {proof.checks}")
    raw = manifest.part(logical.ARCHIVE).raw_bytes
    return {
        "scale": scale,
        "create_s": round(create_s, 2),
        "create_mb_per_s": round(raw / create_s / 1e6, 1),
        "verify_restore_s": proof.seconds,
        "restore_s": proof.restore_seconds,
        "restore_mb_per_s": round(raw / proof.restore_seconds / 1e6, 1),
        "checks": [f"{check.what}: {check.verdict}: {check.detail}" for check in proof.checks],
    }


if __name__ == "__main__":
    sys.exit(main())
