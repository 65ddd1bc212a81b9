"""The pictures in the documents are those that the engine draws."""

from pathlib import Path

from ordersaga.testing.pictures import CASES, page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "what-happens-when.md"


def test_the_page_is_what_the_engine_draws() -> None:
    assert PAGE.read_text("utf-8") == page(), "`make pictures` draws it anew"


def test_each_case_comes_to_rest() -> None:
    for title, _, tell in CASES:
        assert tell().saga.outstanding is None, title
