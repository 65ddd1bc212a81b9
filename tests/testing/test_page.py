"""The page on examining a participant has every property, in its words."""

from ordersaga.testing.conformance import Kind, Participant, Property
from ordersaga.testing.conformance.properties import PROPERTIES
from tests.house_rules import ROOT

BEGIN, END = "## The properties\n", "## What it found\n"


def test_the_page_says_every_property_and_why_it_matters() -> None:
    text = (ROOT / "docs/testing-a-participant.md").read_text("utf-8")
    found = text[text.index(BEGIN) : text.index(END)]
    assert [line for line in found.splitlines() if line.startswith("| ")][1:] == rows()


def rows() -> list[str]:
    """Lines of the table."""
    return [_row(one) for one in PROPERTIES]


def _row(one: Property) -> str:
    mark = {Kind.BARE: "**", Kind.FULL: "", None: "*"}[one.promised_by]
    of = "all four" if len(one.of) == 4 else ", ".join(each.value for each in Participant if each in one.of)
    return f"| {mark}{one.name}{mark} | {of} | {one.says} | {one.why} |"
