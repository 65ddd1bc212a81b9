"""The page of rules names tests that there are."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "rules.md"
RULES = [str(number) for number in range(1, 17)]
HABITS = [f"B{number}" for number in range(1, 17)]


def test_every_test_that_the_page_of_rules_names_is_one() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    defined = Counter(name for text in texts for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    assert {name for name in named if defined[name] != 1} == set()


def test_every_rule_and_every_habit_has_a_story() -> None:
    rows = re.findall(r"^\| (B?\d+) \|[^|]+\| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    told = [number for number, stories in rows if "`test_" in stories]
    assert told == [*RULES, *HABITS]
