"""Install the programs that some tests and benches put beside us: PgBouncer, HAProxy, Chromium, from Debian's packages.

Needs root and apt; elsewhere it says what to install, and the tests that need a program that is not there are skipped
with that reason. No service is started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = {"pgbouncer": "pgbouncer", "haproxy": "haproxy", "chromium": "chromium"}  # program -> package
POLICY = Path(
    "/usr/sbin/policy-rc.d"
)  # exit code 101: packages may not start their services (invoke-rc.d(8))


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


def main() -> int:
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
