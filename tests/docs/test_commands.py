"""Every command that a page shows is typed, and what the page shows is what comes. What cannot be typed is listed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ordersaga.local.postgres import Postgres
from tests.docs.naming import complaint_about, in_sentences
from tests.docs.pages import Block, blocks
from tests.docs.platform import ALONE, Platform, running
from tests.docs.playing import Ports, play, runnable
from tests.house_rules import ROOT, Page, project_pages

LANGUAGES = {"console", "text", "json", "python", "mermaid", "yaml", "toml", "sql", "promql"}
NOT_RUN = {
    "README.md": {
        "which steps are seen under way differs": 1,
        "it stays until Ctrl-C": 1,
        "it is what runs this": 1,
        "its servers are not here": 1,
    },
    "docs/connecting.md": {"its servers are not here": 1},
    "docs/deploying.md": {"its servers are not here": 1, "it needs a container engine": 2},
    "docs/growing.md": {"its servers are not here": 1},
    "docs/proof.md": {"each takes minutes; make ci runs them": 2},
    "docs/testing-a-participant.md": {"its servers are not here": 1},
    "docs/testing.md": {
        "these are what runs this page": 1,
        "it needs a container engine": 1,
        "each takes minutes; make ci runs them": 1,
    },
    "docs/tutorial.md": {"it installs; test_project does it in a fresh copy": 1},
    "docs/upgrading.md": {"it fetches another version": 1, "it needs a container engine": 1},
}
"""What no test types: by page, the reason that stands there, and how many blocks have it."""


def _documents() -> list[Page]:
    """Pages for readers. What the code writes has its own test."""
    return [
        page
        for page in project_pages()
        if page.path in ("README.md", "CONTRIBUTING.md")
        or (page.path.startswith("docs/") and page.path.endswith(".md") and not page.path.startswith("docs/reference/"))
    ]


def _page(path: str) -> Page:
    return Page(path, (ROOT / path).read_text("utf-8"))


def _blocks() -> list[Block]:
    return [block for page in _documents() for block in blocks(page)]


TYPED = [page.path for page in _documents() if runnable(page) and page.path not in ALONE]


def test_every_block_says_what_it_is() -> None:
    wrong = [f"{one.path}:{one.line}: {one.language!r}" for one in _blocks() if one.language not in LANGUAGES]
    assert wrong == [], "commands stand in ```console blocks, outputs in ```text"


def test_no_block_hides_in_a_list() -> None:
    hidden = [
        page.path for page in _documents() for line in page.text.splitlines() if line.lstrip() != line and "```" in line
    ]
    assert hidden == []


def test_what_is_not_run_is_listed_with_its_reason() -> None:
    found: dict[str, dict[str, int]] = {}
    for block in _blocks():
        if block.not_run is not None:
            reasons = found.setdefault(block.path, {})
            reasons[block.not_run] = reasons.get(block.not_run, 0) + 1
    assert found == NOT_RUN


def test_what_is_not_run_could_be_typed() -> None:
    complaints = [
        f"{block.path}:{typed.line}: {complaint}"
        for block in _blocks()
        if block.not_run is not None
        for typed in block.typed
        if (complaint := complaint_about(typed.text))
    ]
    assert complaints == []


def test_a_command_in_a_sentence_could_be_typed() -> None:
    complaints = [
        f"{page.path}: `{command}`: {complaint}"
        for page in _documents()
        for command in in_sentences(page)
        if (complaint := complaint_about(command))
    ]
    assert complaints == []


@pytest.fixture(scope="module")
def platform(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(postgres_server, tmp_path_factory.mktemp("platform")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", TYPED)
def test_what_a_guide_shows_is_what_comes(path: str, platform: Platform, tmp_path: Path) -> None:
    _types(path, tmp_path, platform.environment, platform.ports)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_newcomer_who_types_the_tutorial_sees_what_it_shows(tmp_path: Path) -> None:
    ports = Ports.free()
    try:
        _types("docs/tutorial.md", tmp_path, ports.settings(), ports)
    finally:
        ports.release()


def _types(path: str, directory: Path, environment: Mapping[str, str], ports: Ports) -> None:
    played = list(play(_page(path), directory, environment, ports))
    complaints = [one.complaint for one in played if one.complaint]
    assert complaints == [], "\n".join(complaints)
    assert len(played) == sum(len(block.typed) for block in runnable(_page(path)))
