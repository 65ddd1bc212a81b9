"""Whatever the edge takes, PostgreSQL can keep and give back as it was."""

import json
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Stage, order

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def meant(value: Any) -> Any:
    """What a reader of JSON makes of it: 1e16 and 10000000000000000 are one number."""
    return json.loads(json.dumps(value), parse_int=float)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(note=ANYTHING)
@example(note="\x00")
@example(note="\ud800")
@example(note={"\x00": 1})
@example(note=[2**63 - 1, -(2**63), 1e18, -0.0, 5e-324])
@example(note=1e20)
@example(note={"deep": [-1e308]})
@example(note="\u2028\ufffe\U0010ffff")
def test_what_is_taken_is_stored_as_it_came_and_all_else_is_refused(postgres_stage: Stage, note: Any) -> None:
    content = json.dumps(order(note=note)).encode()
    answer = postgres_stage.client.post("/orders", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (202, 400), answer.text
    if answer.status_code == 202:
        saga = postgres_stage.api.store.get(UUID(answer.json()["saga_id"]))
        assert saga is not None
        assert meant(saga.data.personal.order_details["note"]) == meant(note)


def test_what_a_browser_writes_of_a_price_comes_to_the_cents_that_it_means(postgres_stage: Stage) -> None:
    for price_cents in range(50, 1000, 41):
        item = {"name": "Burrito", "price": price_cents / 100, "quantity": 3}
        saga_id = postgres_stage.place(foodItems=[item], deliveryFee=0)
        assert postgres_stage.client.get(f"/sagas/{saga_id}").json()["amount_cents"] == 3 * price_cents
