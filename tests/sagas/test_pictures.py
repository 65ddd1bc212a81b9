"""The pictures in the documents are those that the engine draws."""

import re
from pathlib import Path

from ordersaga.testing.pictures import CASES, page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "what-happens-when.md"


def test_the_page_is_what_the_engine_draws() -> None:
    assert PAGE.read_text("utf-8") == page(), "`make pictures` draws it anew"


def test_every_row_that_is_drawn_is_explained() -> None:
    explained = set(re.findall(r"^\| ([a-z' ,]+) \|", page(), re.MULTILINE))
    notes = re.findall(r"Note over S: ([a-z].*)", page())  # a status is in capitals
    drawn = {name for note in notes for name in note.split(" / ") if not name.startswith("refused: ")}
    assert len(drawn) > 10
    assert drawn <= explained


def test_each_case_comes_to_rest() -> None:
    for title, _, tell in CASES:
        assert tell().saga.outstanding is None, title
