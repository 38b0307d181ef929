"""Build the project's environment from uv.lock: `python3 tools/bootstrap.py .venv`.

Needs Python 3.11 or newer with pip, and the package index pip is configured for. Runs before anything is
installed, so it uses the standard library only. Whoever comes second waits for the first (a file lock).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

UV = "uv==0.13.8"
OLDEST_PYTHON = (3, 11)
PUBLIC_INDEX = "https://pypi.org/simple"
ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=env)


def create(venv: Path) -> None:
    """Create `venv` with pip in it, also where the system's Python came without `ensurepip` (Debian)."""
    if (venv / "bin" / "python").exists():
        return
    if (
        subprocess.run(
            [sys.executable, "-c", "import ensurepip"], capture_output=True, check=False
        ).returncode
        == 0
    ):
        run(sys.executable, "-m", "venv", venv)
    else:
        run(sys.executable, "-m", "venv", "--without-pip", venv)
        run(sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet", "pip")


def pip_setting(venv: Path, name: str) -> str | None:
    """One of pip's settings, from its files or the environment, or None where it is not set."""
    for scope in (":env:", "global", "install"):
        answer = subprocess.run(
            [str(venv / "bin" / "python"), "-m", "pip", "config", "get", f"{scope}.{name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    return None


def uv_environment(venv: Path) -> tuple[dict[str, str], bool]:
    """The environment for uv, which does not read pip's configuration, and whether the index is a mirror."""
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON_DOWNLOADS": "never"}
    env.pop("VIRTUAL_ENV", None)
    if certificate := pip_setting(venv, "cert"):
        env.setdefault("SSL_CERT_FILE", certificate)
    if extra := pip_setting(venv, "extra-index-url"):
        env.setdefault("UV_INDEX", " ".join(extra.split()))
    if index := pip_setting(venv, "index-url"):
        env.setdefault("UV_DEFAULT_INDEX", index)
    index = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or PUBLIC_INDEX
    return env, index.rstrip("/") != PUBLIC_INDEX


def sync_from_mirror(venv: Path, uv: Path, env: dict[str, str]) -> None:
    """Install what uv.lock names, hashes checked, from the configured index.

    `uv sync` would fetch from the addresses written in the lock, which a machine behind a mirror may not reach.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        selection = ("--all-packages", "--all-extras", "--all-groups", "--no-emit-workspace")
        run(uv, "export", "--quiet", "--frozen", *selection, "--output-file", wanted, env=env)
        python = venv / "bin" / "python"
        run(uv, "pip", "install", "--python", python, "--require-hashes", "-r", wanted, env=env)
    members = [path.parent for path in sorted(ROOT.glob("*/pyproject.toml"))]
    editables = [part for member in [ROOT, *members] for part in ("--editable", member)]
    run(uv, "pip", "install", "--python", venv / "bin" / "python", "--no-deps", *editables, env=env)


def main() -> None:
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            f"bootstrap: expected Python {'.'.join(map(str, OLDEST_PYTHON))} or newer, found "
            f"{sys.version.split()[0]} at {sys.executable}. Run `make setup PYTHON=python3.11`."
        )
    venv = (ROOT / (sys.argv[1] if len(sys.argv) > 1 else ".venv")).absolute()
    with (ROOT / "tools" / "bootstrap.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        create(venv)
        run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
        env, mirrored = uv_environment(venv)
        uv = venv / "bin" / "uv"
        if mirrored:
            sync_from_mirror(venv, uv, env)
        else:
            run(uv, "sync", "--frozen", "--all-packages", "--all-extras", "--all-groups", env=env)


if __name__ == "__main__":
    main()
