"""Half a gigabyte goes through in the memory that a tenth of it needs: measured on a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench import backup_memory
from tests.integration.backup.s3 import ACCESS, BUCKET, SECRET, S3Server

from understudy.demo.lab import Lab
from understudy.model import Rpo

MIB = 2**20
GROWTH = 48 * MIB
"""What the peak may grow by from the first 64 MiB to all of it: less than a tenth of what passes."""

PROGRAM = """
import json, os, sys
from pathlib import Path
from understudy.backup.keys import Key, Keys
from understudy.backup.store import open_store
from understudy.backup.stream import Progress, read_object, write_part
from understudy.config_backup import Destination

given = json.loads(sys.argv[1])
if folder := given.pop("folder", None):
    given["folder"] = Path(folder)
store, keys = open_store(Destination(**given)), Keys(Key.new())
block = os.urandom(2**20)

def stream(count):
    for number in range(count):
        yield number.to_bytes(4, "big") + block[4:]

def peak():
    # Not getrusage: its peak is that of the parent at first.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

def there_and_back(key, count):
    write_part(stream(count), [store], key, "archive", keys, Progress(key))
    number = 0
    for chunk in read_object(store, key, keys):
        number += len(chunk)
    assert number == count * 2**20
    store.delete([key])

there_and_back("main/x/few", 64)
first = peak()
there_and_back("main/x/many", int(sys.argv[2]))
print(json.dumps({"first": first, "growth": peak() - first}))
"""


def measured(destination: dict[str, object], megabytes: int) -> dict[str, int]:
    command = [sys.executable, "-c", PROGRAM, json.dumps(destination), str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder(tmp_path: Path) -> None:
    found = measured({"name": "nas", "folder": str(tmp_path)}, 512)
    assert found["growth"] < GROWTH, found
    assert 20 * MIB < found["first"] < 150 * MIB, found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bucket() -> None:
    with S3Server("ministack") as server:
        destination: dict[str, object] = {
            "name": "cloud", "bucket": BUCKET, "endpoint": server.endpoint, "access_key": ACCESS, "secret_key": SECRET,
        }  # fmt: skip
        found = measured(destination, 512)
    assert found["growth"] < GROWTH, found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_table_of_a_gigabyte(tmp_path: Path) -> None:
    """The commands as they are run, with every program that they start: made, restored and compared."""
    tmp_path.chmod(0o711)
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        backup_memory.configure(lab, tmp_path)
        backup_memory.fill(lab, "random", 10**9)
        for arguments in (("create",), ("verify", "--level", "restore")):
            peaks = backup_memory.run(lab, *arguments)["peak_mb"]
            ours = {
                name: peak for name, peak in peaks.items() if name != "postgres"
            }  # the scratch server's is set
            assert max(ours.values()) < 200, peaks
            assert peaks.get("postgres", 0) < 600, peaks
