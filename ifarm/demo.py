"""`make farm`: iFarm on two real servers of this machine, with a small herd. Ctrl-C ends and removes everything.

Two configurations lead to the same cluster: migrations connect as the owner of the tables, the web as the application's
role, which row-level security holds to one tenant at a time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from ifarm.core.provision import APPLICATION, statements
from understudy.demo.agent_process import environment
from understudy.demo.application import Say
from understudy.demo.lab import NODES, Lab
from understudy.embedded import processes
from understudy.embedded.postgresql import HOST, free_port
from understudy.model import Rpo

EMAIL: Final = "farmer@example.org"
OWNER, REPLICATING = "app", "understudy"
ANIMALS, YEARS = 300, 2
READY: Final = 60.0
"""Seconds until the web must answer."""
_ROOT = Path(__file__).resolve().parent


def main() -> None:
    """Run until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        run()
    say("ended, nothing is left")


def say(text: str) -> None:
    """One line for whoever watches."""
    print(text, flush=True)  # noqa: T201


def run() -> None:
    """Start everything, print where it is, and wait."""
    password = secrets.token_urlsafe(12)
    with EmptyLab(mode=Rpo.BOUNDED, say=say) as lab:
        web_config = prepare(lab, say)
        tenant, token = settle(lab, password, ANIMALS, YEARS, say)
        with web(lab, web_config, password) as (url, process):
            for line in welcome(url, tenant, token, password, lab):
                say(line)
            process.wait()


class EmptyLab(Lab):
    """Two servers of which neither holds a table: iFarm's migrations make them, on both."""

    def fill(self) -> None:
        """With nothing."""


def settle(lab: Lab, password: str, animals: int, years: float, say: Say) -> tuple[str, str]:
    """Migrate, and simulate a herd. Returns its tenant and the token of a device."""
    manage(lab.config_file, password, "migrate", "--verbosity", "0")
    say("migrated on both servers, as the owner of the tables")
    herd = ["--animals", str(animals), "--years", str(years), "--email", EMAIL]
    tenant, token = manage(lab.config_file, password, "simulate_herd", *herd).split()
    say(f"a herd of some {animals} cattle with the records of {365 * years:.0f} days, simulated")
    return tenant, token


def welcome(url: str, tenant: str, token: str, password: str, lab: Lab) -> list[str]:
    """What a person needs to begin."""
    return [
        "",
        f"iFarm     {url}/api/v1/tenants/{tenant}/animals/",
        f"log in    POST {url}/api/v1/accounts/browser/v1/auth/login  {EMAIL}  {password}",
        f'or        curl -H "Authorization: Bearer {token}" {url}/api/v1/animals/',
        f"routes    {url}/api/v1/openapi.json",
        f"fail over UNDERSTUDY_CONFIG={lab.config_file} understudy switchover b",
        "Ctrl-C ends everything.",
    ]


def prepare(lab: Lab, say: Say) -> Path:
    """Make the application's role on both servers; returns the configuration that connects as it."""
    password = secrets.token_urlsafe(18)
    text = lab.config_file.read_text()
    for node in NODES:
        with lab.connect(node, "postgres") as superuser:
            superuser.execute("SET default_transaction_read_only = off")
            verifier = superuser.pgconn.encrypt_password(
                password.encode(), APPLICATION.encode(), b"scram-sha-256"
            )
            for statement in statements(owner=OWNER, replicating=REPLICATING, verifier=verifier.decode()):
                superuser.execute(statement)
        owner = urlsplit(lab.dsn(node, OWNER, proxied=True))
        place = owner.netloc.rpartition("@")[2]
        application = urlunsplit(owner._replace(netloc=f"{APPLICATION}:{quote(password, safe='')}@{place}"))
        text = text.replace(f'\ndsn = "{urlunsplit(owner)}"', f'\ndsn = "{application}"')
    config = lab.folder / "web.toml"
    config.touch(mode=0o600)
    config.write_text(text)
    say(f"the role {APPLICATION}, under row-level security; owner and replication are not")
    return config


def settings(config: Path, password: str) -> dict[str, str]:
    """The environment of one of our processes."""
    return environment(config) | {
        "DJANGO_SETTINGS_MODULE": "ifarm.config.django.production",
        "IFARM_SECRET_KEY": password * 4,
        "IFARM_HOSTS": HOST,
        "IFARM_PLAIN_HTTP": "1",
        "IFARM_DEMO_PASSWORD": password,
    }


def manage(config: Path, password: str, *words: str) -> str:
    """Run one command of `manage.py`; returns what it printed. Raises RuntimeError with its words."""
    done = subprocess.run(
        [sys.executable, str(_ROOT / "manage.py"), *words],
        env=settings(config, password),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {words[0]} ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def web(lab: Lab, config: Path, password: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Gunicorn on the loopback interface, until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "ifarm.config.wsgi", f"--bind={HOST}:{port}"]
    sizes = ["--worker-class=gthread", "--workers=2", "--threads=4", f"--worker-tmp-dir={lab.folder}"]
    with (lab.folder / "web.log").open("ab") as log:
        process = subprocess.Popen(
            command + sizes,
            env=settings(config, password),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for us
            preexec_fn=processes.die_with_parent,  # noqa: PLW1509
        )
    url = f"http://{HOST}:{port}"
    try:
        lab.await_true(lambda: answers(url) or process.poll() is not None, READY, f"the web at {url}")
        if process.poll() is not None:
            raise RuntimeError(f"gunicorn ended:\n{(lab.folder / 'web.log').read_text()[-2000:]}")
        yield url, process
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Whether the web is there."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/openapi.json", timeout=30) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    main()
