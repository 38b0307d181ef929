"""The page as it is served: strict headers, nothing inline, nothing foreign, every file there, every word known."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import understudy.web.page
from understudy.decide.plans import steps
from understudy.model import PlanKind, Rpo, Step
from understudy.web.page import ASSETS, HEADERS, mount

STATIC = Path(understudy.web.page.__file__).parent / "static"
MODULES = sorted(STATIC.glob("*.js"))
SINKS = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|\.style\b|\"style\""
)


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    mount(app)
    return TestClient(app)


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_nothing_inline_and_nothing_foreign(client: TestClient) -> None:
    elements = Elements(client.get("/").text).found
    assert any(tag == "script" and "src" in attributes for tag, attributes in elements)
    for tag, attributes in elements:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert tag != "script" or "src" in attributes or attributes["type"] == "application/json"
        for name in ("src", "href"):
            assert not re.match(r"[a-z]+:|//", attributes.get(name) or "")


def test_every_answer_has_the_strict_headers(client: TestClient) -> None:
    addresses = ["/", *(f"{ASSETS}/{path.name}" for path in STATIC.iterdir())]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, address
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'self';")


def test_what_the_page_refers_to_is_there(client: TestClient) -> None:
    elements = Elements(client.get("/").text).found
    wanted = {
        a[name] for _, a in elements for name in ("src", "href") if not (a.get(name) or "#").startswith("#")
    }
    wanted |= {
        f"assets/{name}" for path in MODULES for name in re.findall(r'from "\./([^"]+)"', path.read_text())
    }
    assert len(wanted) >= len(MODULES)
    for address in wanted:
        assert client.get(f"/{address}").status_code == 200, address


def test_a_file_that_did_not_change_is_not_sent_again(client: TestClient) -> None:
    first = client.get(f"{ASSETS}/app.js")
    again = client.get(f"{ASSETS}/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


def test_nothing_outside_the_folder_is_served(client: TestClient) -> None:
    for path in ("../__init__.py", "%2e%2e/__init__.py", "..%2f__init__.py"):
        assert client.get(f"{ASSETS}/{path}").status_code == 404


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_modules_make_no_markup_from_text(module: Path) -> None:
    assert not re.findall(SINKS, module.read_text())


def test_every_step_is_explained() -> None:
    words = (STATIC / "words.js").read_text()
    table = words[words.index("export const STEPS") : words.index("const TITLES")]
    assert set(re.findall(r"^  (\w+): \"", table, re.MULTILINE)) == {str(step) for step in Step}


def test_the_page_is_told_the_steps_of_every_plan(client: TestClient) -> None:
    plans = understudy.web.page.plan_steps()
    for rpo in Rpo:
        assert {kind: tuple(map(str, steps(kind, rpo))) for kind in PlanKind} == {
            PlanKind(kind): tuple(names) for kind, names in plans[rpo].items()
        }
    assert "open_reverse_slot" in client.get("/").text
