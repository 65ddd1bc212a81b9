"""What the page on writing a saga shows is what stands in the saga that it tells of."""

import re
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "writing-a-saga.md").read_text("utf-8")
SAGA = (ROOT / "src/ordersaga/orchestrator/sagas/complete_order.py").read_text("utf-8")


def test_each_piece_of_code_on_the_page_is_the_sagas_own() -> None:
    shown = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    assert [piece for piece in shown if indent(piece.rstrip(), " " * 8) + "," not in SAGA] == []
