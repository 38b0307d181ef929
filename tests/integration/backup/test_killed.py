"""A process that is killed in the middle of a part leaves nothing that could be taken for one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.backup.s3 import ACCESS, BUCKET, SECRET, S3Server, bucket_store

from understudy.backup.catalog import Catalog
from understudy.backup.prune import prune
from understudy.backup.retention import decide
from understudy.backup.store import Store
from understudy.backup.store_folder import FolderStore
from understudy.config_backup import MIB, Retention

ID = "20261121T074500Z-logical-1f2e3d"
PROGRAM = """
import json, os, sys
from pathlib import Path
from understudy.backup.keys import Key, Keys
from understudy.backup.store import open_store
from understudy.backup.stream import Progress, write_part
from understudy.config_backup import Destination

def stream():
    for number in range(10**6):
        if number == 30:
            print("well under way", flush=True)
        yield os.urandom(2**20)

stores = []
for given in json.loads(sys.argv[1]):
    if folder := given.pop("folder", None):
        given["folder"] = Path(folder)
    stores.append(open_store(Destination(**given)))
write_part(stream(), stores, sys.argv[2], "archive", Keys(Key.new()), Progress("x"))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_killed_in_the_middle_of_a_part(tmp_path: Path, how: signal.Signals) -> None:
    with S3Server("ministack") as server:
        cloud = {
            "name": "cloud",
            "bucket": BUCKET,
            "endpoint": server.endpoint,
            "access_key": ACCESS,
            "secret_key": SECRET,
        }
        given = [{"name": "nas", "folder": str(tmp_path)}, {**cloud, "part_bytes": 5 * MIB}]
        command = [sys.executable, "-c", PROGRAM, json.dumps(given), f"main/{ID}/archive"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"well under way\n"
            process.send_signal(how)
            assert process.wait(60) == -how
        stores: list[Store] = [FolderStore("nas", tmp_path), bucket_store(server.endpoint)]
        catalog = Catalog(stores)
        assert [list(store.list("")) for store in stores] == [[], []]
        assert catalog.survey("main").problems == ()
        nothing = decide([], [], Retention(last=1), datetime.now(UTC))
        later = datetime.now(UTC) + timedelta(days=3)
        told = prune(catalog, "main", nothing, later, confirm=True).leftovers
        assert len([t for t in told if "nas: " in t]) == 1
        assert len([t for t in told if f"cloud: main/{ID}/archive: unfinished upload" in t]) == 1
        assert prune(catalog, "main", nothing, later, confirm=True).leftovers == []
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
