"""The project keeps the rules of its house, and each rule finds a violation that was planted.

Reads files only, in under two seconds. The contracts between packages are import-linter's and stand in
`pyproject.toml`; that each of them catches what it says is shown in `test_project.py`.
"""

from collections.abc import Sequence
from functools import cache

import pytest

from tests import house_pages, house_rules
from tests.house_rules import ROOT, Page, Rule, project_pages

RULES: Sequence[Rule] = (
    house_rules.files_are_short,
    house_rules.functions_are_short,
    house_rules.core_functions_are_mostly_tiny,
    house_rules.modules_are_named_for_their_job,
    house_rules.modules_say_what_they_are,
    house_rules.waits_are_on_conditions,
    house_rules.pure_packages_read_nothing,
    house_rules.sql_stands_in_sql_files,
    house_rules.nothing_is_fetched_from_a_named_host,
    house_rules.no_path_belongs_to_one_machine,
    house_rules.nothing_is_left_for_later,
    house_pages.pages_that_are_mentioned_exist,
    house_pages.decisions_are_numbered_and_complete,
    house_pages.every_page_is_listed,
)


@cache
def _pages() -> Sequence[Page]:
    return project_pages()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_its_rules(rule: Rule) -> None:
    assert _complaints(rule(_pages())) == ""


def test_every_link_in_the_documents_leads_somewhere() -> None:
    files = frozenset(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*"))
    assert _complaints(house_pages.links_lead_somewhere(_pages(), existing=files)) == ""


def test_the_rules_are_run_over_the_whole_project() -> None:
    paths = {page.path for page in _pages()}
    assert {"src/ordersaga/__init__.py", "tests/house_rules.py", "Makefile", ".ci/run", "docs/index.md"} <= paths
    assert not any(".venv" in path or "egg-info" in path for path in paths)


def _complaints(complaints: Sequence[str]) -> str:
    return "\n".join(complaints)


def _function(name: str, lines: int) -> str:
    return f"def {name}() -> None:\n" + "    pass\n" * (lines - 1)


CORE = "src/ordersaga/orchestrator/core/planted.py"
STORE = "src/ordersaga/orchestrator/store/planted.py"
NOT_YET = "TO" + "DO"

# rule, path, what is planted there, a word of the complaint, and a near miss that is allowed
PLANTED: Sequence[tuple[Rule, str, str, str, str]] = (
    (house_rules.files_are_short, STORE, "x = 1\n" * 401, "401 lines", "x = 1\n" * 400),
    (house_rules.functions_are_short, STORE, _function("long", 51), "::long: 51", _function("short", 50)),
    (
        house_rules.core_functions_are_mostly_tiny,
        CORE,
        _function("a", 10) + _function("b", 10) + _function("c", 2),
        "median function has 10",
        _function("a", 30) + _function("b", 9) + _function("c", 2),
    ),
    (house_rules.modules_say_what_they_are, STORE, "x = 1\n", "no docstring", '"""What it is."""\n'),
    (house_rules.modules_say_what_they_are, STORE, "# only a comment\n", "no docstring", ""),
    (house_rules.waits_are_on_conditions, "tests/test_x.py", "time.sleep(1)", "wait on a condition", "wake.wait(1)"),
    (house_rules.waits_are_on_conditions, "tests/test_x.py", "sleep(1)", "wait on a condition", "sleeper(1)"),
    (house_rules.pure_packages_read_nothing, CORE, "import time", "imports time", "import datetime"),
    (house_rules.pure_packages_read_nothing, CORE, "import os.path", "imports os.path", "import math"),
    (house_rules.pure_packages_read_nothing, CORE, "from random import random", "imports random", "random: bytes"),
    (house_rules.pure_packages_read_nothing, CORE, "def f():\n  import socket", "imports socket", "socket = 1"),
    (house_rules.pure_packages_read_nothing, CORE, "import logging", "imports logging", "import msgspec"),
    (house_rules.pure_packages_read_nothing, CORE, "datetime.now(UTC)", "datetime.now", "now + timedelta(1)"),
    (house_rules.pure_packages_read_nothing, CORE, "datetime.utcnow()", "datetime.utcnow", "instance.now"),
    (house_rules.pure_packages_read_nothing, CORE, "dt.date.today()", "dt.date.today", "today = window.today"),
    (house_rules.pure_packages_read_nothing, CORE, "clock = datetime.now", "datetime.now", "clock = now"),
    (house_rules.pure_packages_read_nothing, CORE, "from uuid import uuid4", "uuid4", "from uuid import UUID, uuid5"),
    (house_rules.pure_packages_read_nothing, CORE, "uuid.uuid4()", "uuid.uuid4", "uuid.uuid5(a, b)"),
    (house_rules.pure_packages_read_nothing, CORE, "open('x')", "open reads", "case.open"),
    (house_rules.sql_stands_in_sql_files, STORE, "c.execute('SELECT 1 FROM saga')", "SQL in", "'select one'"),
    (house_rules.sql_stands_in_sql_files, STORE, "c.execute('insert into saga')", "SQL in", "'insertion'"),
    (house_rules.sql_stands_in_sql_files, STORE, "x = f'update {t} set a'", "SQL in", "'update needed'"),
    (house_rules.sql_stands_in_sql_files, STORE, "c.execute('delete from saga')", "SQL in", "'''Delete from it.'''"),
    (
        house_rules.nothing_is_fetched_from_a_named_host,
        "Dockerfile",
        "pip install --" + "index-url x",
        "where packages come from",
        "pip install .",
    ),
    (
        house_rules.nothing_is_fetched_from_a_named_host,
        "constraints.txt",
        "https" + "://files.somewhere.io/x.whl",
        "an address",
        "http://127.0.0.1:8000/health https://shop.example/x",
    ),
    (house_rules.no_path_belongs_to_one_machine, "README.md", "cd /" + "home/me", "one machine", "src/home/x"),
    (house_rules.no_path_belongs_to_one_machine, "README.md", "'/" + "work/main'", "one machine", "the/work/done"),
    (house_rules.nothing_is_left_for_later, "bench/x.py", f"# {NOT_YET}: later", NOT_YET, "# to do well"),
    (house_pages.pages_that_are_mentioned_exist, "docs/a.md", "see nowhere" + ".md", "mentions", "see a.md"),
    (house_pages.every_page_is_listed, "docs/how/b.md", "# B", "not listed", ""),
)


@pytest.mark.parametrize(("rule", "path", "planted", "word", "near_miss"), PLANTED)
def test_each_rule_finds_what_was_planted_and_lets_the_near_miss_pass(
    rule: Rule, path: str, planted: str, word: str, near_miss: str
) -> None:
    complaints = rule([Page(path, planted)])
    assert complaints and word in complaints[0] and path.rsplit("/", 1)[0] in complaints[0]
    if near_miss:
        assert rule([Page(path, near_miss)]) == []


def test_every_rule_has_a_planted_violation() -> None:
    elsewhere = {house_rules.modules_are_named_for_their_job, house_pages.decisions_are_numbered_and_complete}
    assert {rule for rule, *_ in PLANTED} | elsewhere == set(RULES)


@pytest.mark.parametrize("name", ["utils", "common", "helpers", "base", "manager", "saga_manager", "base_store"])
def test_a_module_that_is_named_for_no_job_is_refused(name: str) -> None:
    assert house_rules.modules_are_named_for_their_job([Page(f"src/ordersaga/{name}.py", "")])
    assert house_rules.modules_are_named_for_their_job([Page("src/ordersaga/database.py", "")]) == []


def test_an_exception_that_is_no_longer_needed_is_a_complaint() -> None:
    assert house_rules.files_are_short([Page(STORE, "x\n")], allowed={STORE: "once"}) == [
        f"{STORE}: is listed as long, and is not"
    ]


def test_an_exception_with_a_reason_is_accepted() -> None:
    assert house_rules.files_are_short([Page(STORE, "x\n" * 500)], allowed={STORE: "one table"}) == []


@pytest.mark.parametrize("link", ["b.md", "../missing.py", "a.md#no-such-heading", "#no-such-heading"])
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    pages = [Page("docs/a.md", f"# One heading\n[there]({link})")]
    assert house_pages.links_lead_somewhere(pages) == [f"docs/a.md: the link to {link} leads nowhere"]


@pytest.mark.parametrize("link", ["a.md", "a.md#one-heading", "../Makefile", "..", "pictures/x.svg", "#one-heading"])
def test_a_link_that_leads_somewhere_is_accepted(link: str) -> None:
    pages = [Page("docs/a.md", f"# One heading\n[there]({link})"), Page("Makefile", "")]
    assert house_pages.links_lead_somewhere(pages, existing=frozenset({"docs/pictures/x.svg"})) == []


def test_a_gap_between_decisions_is_found() -> None:
    body = "\n".join(house_pages.DECISION_SECTIONS)
    first, third = Page("docs/decisions/0001-a.md", body), Page("docs/decisions/0003-c.md", body)
    assert house_pages.decisions_are_numbered_and_complete([first]) == []
    assert house_pages.decisions_are_numbered_and_complete([first, third]) == ["docs/decisions: numbered [1, 3]"]


def test_a_decision_that_says_not_what_it_cost_is_found() -> None:
    page = Page("docs/decisions/0001-a.md", "## Context\n## Decision\n")
    assert house_pages.decisions_are_numbered_and_complete([page]) == [
        f"{page.path}: has no section '## What we gave up'"
    ]
