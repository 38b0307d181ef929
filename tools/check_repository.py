"""Checks of the repository that no linter makes: run by `make lint`.

1. uv.lock names the public index only, so that nobody's private mirror ends up in it.
2. No tracked text file holds a private key.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = ("https://pypi.org/simple", "https://files.pythonhosted.org/")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}")


def lock_mistakes() -> Iterator[str]:
    for number, line in enumerate((ROOT / "uv.lock").read_text().splitlines(), start=1):
        for address in re.findall(r'https?://[^"\s]+', line):
            if not address.startswith(PUBLIC):
                yield (
                    f"uv.lock:{number}: expected an address of pypi.org, found {address}. "
                    "Run `uv lock --default-index https://pypi.org/simple`."
                )


def key_mistakes() -> Iterator[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:  # a source archive, not a checkout
        return
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and PRIVATE_KEY.search(path.read_text(errors="replace")):
            yield f"{name}: expected no private key in the repository, found one. Remove it and replace the key."


def main() -> None:
    mistakes = [*lock_mistakes(), *key_mistakes()]
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if mistakes:
        sys.exit(1)
    print("Repository checks passed.")


if __name__ == "__main__":
    main()
