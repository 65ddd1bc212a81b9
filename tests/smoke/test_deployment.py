"""The smoke test in earnest: against processes of their own on real Kafka and PostgreSQL, with one thing wrong at a
time.
"""

from collections.abc import Mapping, Sequence

import pytest

from tests.smoke.rounds import ROUNDS, Told, rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAMED: Mapping[str, tuple[str, Sequence[str]]] = {
    "the database is away": ("database", ["refused", "DATABASE_URL"]),
    "a wrong password": ("database", ["password authentication failed", "DATABASE_URL"]),
    "the schema is behind": ("schema", ["ordersaga migrate"]),
    "one of three brokers is away": ("addresses", ["1 of 3 do not answer", "start that broker"]),
    "the order service is silent": ("order completed", ["the order service has not answered", "order_commands"]),
    "the user service is silent": ("order completed", ["the user service has not answered", "user_commands"]),
    "the payment service is silent": ("order completed", ["the payment service has not answered", "payment_commands"]),
    "orders are stopped": ("new orders", ["night shift: the kitchen is on fire", "ordersaga orders resume"]),
    "the API is away": ("api", ["nobody listens there", "ORDERSAGA_SMOKE_API_URL"]),
    "the token is refused": ("token", ["401", "ORDERSAGA_SMOKE_TOKEN"]),
    "the API only looks": ("token", ["503", "--read-only"]),
    "no worker is alive": ("worker", ["nobody is in the group", "ordersaga serve"]),
    "nobody folds the statistics": ("folding", ["wait to be put into their hours", "`deadlines`"]),
    "a topic is missing": ("topics", ["saga_dead_letters missing", "ordersaga topics apply"]),
}
"""For each thing that is wrong: which check fails, and what it says."""


def test_each_thing_that_is_wrong_is_named_with_what_to_look_at() -> None:
    with rounds() as found:
        told = {one.title: one for one in found.all()}
        assert set(NAMED) == {*ROUNDS, "a topic is missing"}
        for title in ("nothing wrong", "nothing wrong any more"):
            assert told[title].code == 0, told[title].text
        for title, (what, said) in NAMED.items():
            must_name(told[title], what, said)


def must_name(told: Told, what: str, said: Sequence[str]) -> None:
    assert told.code == 1, told
    lines = told.text.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("FAILED") and what in line[:28]]
    assert begins, told
    text = " ".join(lines[begins[0] : begins[0] + 2])
    assert [one for one in said if one not in text] == [], told
