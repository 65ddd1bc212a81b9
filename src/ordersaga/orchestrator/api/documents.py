"""The OpenAPI description of what the routes read themselves: request bodies, and the problems that they answer.

Bodies are read by `web.reading.read_object`, which is stricter than a schema can say, so what they look like is written
here, as structs that serve as documents only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIType, Operation, Parameter, RequestBody, Schema
from msgspec import Meta, Struct

from ordersaga.orchestrator.api.views import HealthView
from ordersaga.orchestrator.sagas import EVERY
from ordersaga.web.problems import MEDIA_TYPE, Problem


class FoodItem(Struct, kw_only=True):
    """Further fields are passed on. `item_name` is taken for `name`."""

    name: Annotated[str, Meta(min_length=1, max_length=1000)]
    price: Annotated[float, Meta(ge=0, description="Dollars, at most two decimals")]
    quantity: Annotated[int, Meta(ge=1, le=10_000)]


class OrderDetails(Struct, kw_only=True):
    """Further fields are passed on."""

    foodItems: Annotated[list[FoodItem], Meta(min_length=1, max_length=200)]  # noqa: N815, the platform's name
    deliveryLocation: Annotated[str, Meta(min_length=1, max_length=255)]  # noqa: N815
    storeLocation: Annotated[str, Meta(min_length=1, max_length=255)] | None = None  # noqa: N815
    deliveryFee: Annotated[float, Meta(ge=0, description="Dollars, at most two decimals")] | None = None  # noqa: N815


class OrderRequest(Struct, kw_only=True):
    """An order. Its total, the sum of price times quantity and the fee, is from 0.50 to 999.99 dollars."""

    customer_id: Annotated[str, Meta(min_length=1, max_length=36)]
    order_details: OrderDetails


WHO_CHARS_MAX = 255
"""As long as a customer's id may be set to be: a front end names the customer who cancels."""


class CancelRequest(Struct, kw_only=True):
    """Who asks, and why. Recorded in the history."""

    who: Annotated[str, Meta(max_length=WHO_CHARS_MAX)] | None = None
    why: Annotated[str, Meta(max_length=500)] | None = None
    role: Annotated[Literal["customer", "operator"], Meta(description="customer where not given")] | None = None


class OperatorRequest(Struct, kw_only=True):
    """Who steps in, and why. Recorded in the history."""

    who: Annotated[str, Meta(min_length=1, max_length=100)]
    why: Annotated[str, Meta(min_length=1, max_length=500)]


class SeenRequest(OperatorRequest, kw_only=True):
    """Who steps in, and why, and as of which `revision` they looked at the saga. Recorded in the history."""

    revision: Annotated[int, Meta(ge=1, description="Of the saga, when it was looked at")] | None = None


def _settled_by_hand() -> Iterator[str]:
    for saga in EVERY:
        yield from (undo.name for undo in saga.undos())
    for saga in EVERY:
        yield from (step.do.command.__name__ for step in saga.steps if saga.is_asked_until_answered(step))


class SettleRequest(OperatorRequest, kw_only=True):
    """`undo` is what was done by other means: an undo, or what is asked for after the point of no return."""

    undo: Annotated[str, Meta(extra_json_schema={"enum": list(dict.fromkeys(_settled_by_hand()))})]


class CompletionRequest(OperatorRequest, kw_only=True):
    """The runner has delivered. `runner_id` is needed where the acceptance did not name the runner."""

    payout_cents: Annotated[int, Meta(ge=1, description="What the runner gets: at most what the customer pays")]
    runner_id: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


_ORDER = {
    "customer_id": "user_2abc",
    "order_details": {
        "foodItems": [{"name": "Burrito", "price": 9.95, "quantity": 2}],
        "storeLocation": "Main Street 1",
        "deliveryLocation": "Hall B, room 4",
        "deliveryFee": 4.35,
    },
}
_CANCEL = {"who": "user_2abc", "why": "I ordered twice"}


@dataclass
class PlaceOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(OrderRequest, "An order of one burrito, twice", _ORDER, required=True)
        self.parameters = [
            Parameter(
                name="Idempotency-Key",
                param_in="header",
                description="The client's own name for this order",
                schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255),
            )
        ]


_RETRY = {"who": "night-shift", "why": "The payment service is back"}
_SEEN = {"who": "night-shift", "why": "The payment service is back", "revision": 7}
_SETTLE = {"who": "night-shift", "why": "Refunded in the provider's console", "undo": "revert_payment"}


@dataclass
class OperatorOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(OperatorRequest, "An operator who tries again", _RETRY, required=True)


@dataclass
class SeenOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(SeenRequest, "An operator who has looked at it", _SEEN, required=True)


@dataclass
class SettleOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(SettleRequest, "A payment refunded by hand", _SETTLE, required=True)


_COMPLETE = {"who": "dispatch", "why": "Handed over at the door", "payout_cents": 435}


@dataclass
class CompleteOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(CompletionRequest, "An order that was handed over", _COMPLETE, required=True)


@dataclass
class CancelOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(CancelRequest, "A customer who changed their mind", _CANCEL, required=False)


def documented(*statuses: int, conflict: tuple[str, str] | None = None) -> dict[int, ResponseSpec]:
    """The problems that a route answers, for its `responses`: these, and those of whom it is for. `conflict`: kind and
    words of its 409.
    """
    said = _SAID | ({409: conflict} if conflict else {})
    return {status: _response(status, *said[status]) for status in sorted({*statuses, *_OF_ALL})}


NOT_READY = {503: ResponseSpec(HealthView, generate_examples=False, description="Not ready: see the parts")}

_OF_ALL = (401, 403, 429)
_SAID = {
    400: ("invalid-request", "order_details.foodItems[0].price: must be a number of dollars, such as 4.35"),
    401: ("unauthorized", "A token is needed: Authorization: Bearer <token>."),
    403: ("forbidden", "This is not for viewers."),
    404: ("no-such-saga", "There is no saga with this id."),
    409: ("cannot-be-done", "This cannot be done: it has changed since; the saga is FAILED."),
    413: ("request-entity-too-large", "Request Entity Too Large"),
    422: ("key-reused", "This Idempotency-Key was used for another order: take a new one for each."),
    415: ("unsupported-media-type", "The body must be application/json."),
    429: ("too-many-requests", "That is a lot of orders in a short time. Please try again later."),
    500: ("internal-error", "Something went wrong on our side."),
    503: ("unavailable", "The service cannot do this right now. Please try again in a few seconds."),
}


def _response(status: int, kind: str, said: str) -> ResponseSpec:
    title = kind.replace("-", " ").capitalize()
    value = {"type": f"urn:ordersaga:problem:{kind}", "title": title, "status": status, "detail": said, "error": said}
    return ResponseSpec(
        data_container=Problem,
        generate_examples=False,
        description=title,
        media_type=MEDIA_TYPE,
        examples=[Example(summary=title, value=value | {"success": False})],
    )


def _body(struct: type[Struct], summary: str, example: dict[str, Any], *, required: bool) -> RequestBody:
    found = msgspec.json.schema(struct)
    schema = cast(Any, _in_place(found["$defs"][struct.__name__], found["$defs"]))
    shown = cast(Any, {"example": Example(summary=summary, value=example)})
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=schema, examples=shown)}, required=required)


def _in_place(part: Any, definitions: dict[str, Any]) -> Any:
    """`part` with each reference replaced by what it refers to: the framework keeps no definitions but its own."""
    match part:
        case {"$ref": str(reference)}:
            return _in_place(definitions[reference.rpartition("/")[2]], definitions)
        case dict():
            return {key: _in_place(value, definitions) for key, value in part.items()}
        case list():
            return [_in_place(value, definitions) for value in part]
    return part
