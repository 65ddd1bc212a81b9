"""Whatever a ledger's export has in it: payments, or a line that says where it cannot be read."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ordersaga.orchestrator.core.reconcile import Payment
from ordersaga.orchestrator.store.ledger import LedgerUnreadable, from_file
from tests.fuzz.counting import LITTLE, MUCH, tell, tried

FIELDS = list(Payment.__struct_fields__)
WILD: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["1020", "-5", "1e9", "10.20", "nan", "\x00", '"', "AUTHORIZED", "authorized"]),
    st.lists(st.integers(), max_size=2),
)
SOUND = st.fixed_dictionaries(
    {
        "payment_id": st.text("pay-123", min_size=1, max_size=8),
        "order_id": st.text("o-123", min_size=1, max_size=8),
        "payment_intent_id": st.text("pi_1", min_size=1, max_size=8),
        "amount_cents": st.integers(0, 10**6),
        "status": st.sampled_from(["AUTHORIZED", "voided", "CAPTURED"]),
    }
)
ROWS = st.lists(SOUND | st.dictionaries(st.sampled_from([*FIELDS, "more"]), WILD), max_size=5)


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode("utf-8", "surrogatepass")


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, [*FIELDS, "more"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


ONE = {"payment_id": "pay-1", "order_id": "o-1", "payment_intent_id": "pi_1", "amount_cents": 1020, "status": "VOIDED"}
SOUND_FILES = {".jsonl": as_lines([ONE]), ".csv": as_csv([ONE])}
CONTENTS = {
    ".jsonl": ROWS.map(as_lines) | st.binary(max_size=60) | st.just(b"\xef\xbb\xbf{}"),
    ".csv": ROWS.map(as_csv) | st.binary(max_size=60),
}


@pytest.mark.parametrize("cases", [LITTLE, pytest.param(MUCH, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", CONTENTS)
def test_whatever_a_ledger_file_has_in_it_is_read_or_said_to_be_wrong(suffix: str, cases: int, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    file = tmp_path / f"ledger{suffix}"

    @tried(cases)
    @given(content=CONTENTS[suffix])
    @example(content=SOUND_FILES[suffix])
    def ask(content: bytes) -> None:
        file.write_bytes(content)
        try:
            found = list(from_file(file))
        except LedgerUnreadable:
            seen["refused"] += 1
        else:
            assert all(isinstance(one, Payment) for one in found)
            seen["read"] += 1

    ask()
    tell(f"ledger files ({suffix})", seen)
    assert seen["refused"] and seen["read"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deep.jsonl", b'{"payment_id":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        ("long.csv", b'payment_id\n"' + b"x" * 200_000),
    ],
)
def test_what_is_too_deep_or_too_long_is_said_in_a_line(name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(LedgerUnreadable, match=name):
        list(from_file(file))
