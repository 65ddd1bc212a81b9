"""The documentation as a site: it is built without a warning, every link leads somewhere, and nothing is fetched."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.house_rules import ROOT
from tools.docs_site import order

LOADS = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("source", "srcset"),
    ("link", "href"),
}
"""What a browser fetches by itself. Links of the kind `canonical` name a page and fetch nothing."""
ELSEWHERE = re.compile(r"^(?:[a-z]+:)?//")
IN_STYLE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")]+)")
SCRIPTS_OF_THE_THEME = {
    "unpkg.com": "fetched where a page has an element of the class mermaid; none has",
    "api.github.com": "asked about a repository, where the theme was given one; it was not",
}
"""Hosts that the theme's scripts could ask, and why they do not."""
ASKED_BY_SCRIPT = re.compile(r"[\"'`]https://([a-z0-9.-]+)/")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = _built(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def _built(configuration: Path, into: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(configuration), "--site-dir", str(into)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)


class _Reader(HTMLParser):
    """What one page fetches, and the classes that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.classes.update((given.get("class") or "").split())
        if given.get("rel") != "canonical":
            self.fetched += [value for name, value in attrs if (tag, name) in LOADS and value]


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    read = list(_read(site))
    assert len(read) > 25
    assert [(page, one) for page, reader in read for one in reader.fetched if ELSEWHERE.match(one)] == []


def test_a_page_that_fetches_from_elsewhere_would_be_noticed() -> None:
    reader = _Reader()
    reader.feed('<link rel="stylesheet" href="//fonts.example/css"><script src="https://cdn.example/x.js"></script>')
    assert [one for one in reader.fetched if ELSEWHERE.match(one)] == [
        "//fonts.example/css",
        "https://cdn.example/x.js",
    ]


def test_no_style_sheet_fetches_anything_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    assert [
        (sheet.name, IN_STYLE.findall(text)) for sheet in sheets if IN_STYLE.search(text := sheet.read_text())
    ] == []


def test_a_script_asks_elsewhere_only_for_what_no_page_has(site: Path) -> None:
    hosts = {host for script in site.rglob("*.js") for host in ASKED_BY_SCRIPT.findall(script.read_text("utf-8"))}
    assert hosts <= SCRIPTS_OF_THE_THEME.keys()
    assert not any("mermaid" in reader.classes for _, reader in _read(site))


def test_pictures_are_drawn_while_the_site_is_built(site: Path) -> None:
    page = (site / "what-happens-when.html").read_text("utf-8")
    assert page.count("data:image/svg+xml;base64,") == (ROOT / "docs/what-happens-when.md").read_text().count(
        "```mermaid"
    )


def test_a_link_into_the_sources_leads_to_a_page_that_shows_them(site: Path) -> None:
    page = (site / "how-it-works.html").read_text("utf-8")
    assert 'href="source/src/ordersaga/orchestrator/core/advance.py.html"' in page
    assert (site / "source/src/ordersaga/orchestrator/core/advance.py.html").is_file()


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ("[nowhere](nowhere" + ".md)", "nowhere"),
        ("[gone](how-it-works.md#no-such-heading)", "no-such-heading"),
        ("[gone](../src/no_such_file.py)", "no_such_file"),
    ],
)
def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path, planted: str, complaint: str) -> None:
    for name in ("docs", "tools", "src"):
        (tmp_path / name).mkdir()
    for name in ("mkdocs.yml", "tools/docs_site.py"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    (tmp_path / "docs/index.md").write_text("# Here\n\n* [How](how-it-works.md)\n", "utf-8")
    (tmp_path / "docs/how-it-works.md").write_text(f"# How\n\n{planted}\n", "utf-8")

    built = _built(tmp_path / "mkdocs.yml", tmp_path / "site")

    assert built.returncode != 0
    assert complaint in built.stderr


def test_the_order_of_the_pages_is_that_of_the_index() -> None:
    decision = "decisions/0002-postgresql-only.md"
    nav = order(f"# D\n\n* [First](tutorial.md): x\n\n## How to\n\n* [Run](running.md): y\n1. [Two]({decision})\n")
    assert nav == [
        {"Documentation": "index.md"},
        {"First": "tutorial.md"},
        {"How to": [{"Run": "running.md"}, {"Two": decision}]},
    ]


def _read(site: Path) -> Iterator[tuple[str, _Reader]]:
    for path in sorted(site.rglob("*.html")):
        reader = _Reader()
        reader.feed(path.read_text("utf-8"))
        yield path.relative_to(site).as_posix(), reader
