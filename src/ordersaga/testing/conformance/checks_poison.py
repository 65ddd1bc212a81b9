"""The check of what nobody should have to read: records that are no messages, each followed by a sound command.

All go to one partition, so a participant that stops at one of them answers nothing that comes after.
"""

from collections.abc import Callable, Mapping

from ordersaga.testing.conformance.talk import Talk
from ordersaga.wire import messages as m

_LEVELS = 20_000
Making = Callable[[str, str], bytes | None]
"""From the type of a command that is understood, and the id of a saga. None: a record without a value."""


def _with(payload: str, **envelope: str) -> Making:
    """A record whose type promises more than it keeps."""

    def value(name: str, saga_id: str) -> bytes:
        fields = {"type": f'"{name}"', "correlation_id": f'"{saga_id}"', **envelope, "payload": payload}
        return f"{{{','.join(f'{field}:{text}' for field, text in _quoted(fields))}}}".encode()

    return value


def _quoted(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(f'"{name}"', text) for name, text in fields.items()]


POISON: Mapping[str, Making] = {
    "no value": lambda name, saga_id: None,
    "no bytes at all": lambda name, saga_id: b"",
    "bytes that are no text": lambda name, saga_id: b"\xff\xfe\x00\x01",
    "text that is no JSON": lambda name, saga_id: b"create_order please",
    "half a message": lambda name, saga_id: b'{"type":"create_order","correlation_id":"',
    "a list": lambda name, saga_id: b"[1,2,3]",
    "a number": lambda name, saga_id: b"12",
    "no type": lambda name, saga_id: b'{"payload":{}}',
    "a type that is a number": lambda name, saga_id: (
        b'{"type":7,"correlation_id":"' + saga_id.encode() + b'","payload":{}}'
    ),
    "no payload": _with("null"),
    "a payload that is a list": _with("[]"),
    "a payload without its fields": _with("{}"),
    "fields of the wrong types": _with(
        '{"order_id":7,"customer_id":{},"user_id":[],"saga_id":1,"order":"x","reason":0,"timeout_at":true,"title":1}'
    ),
    "a time that is none": _with('{"order_id":"o","customer_id":"c","timeout_at":"tomorrow","reason":"r"}'),
    "an amount that is a text": _with(
        '{"order_id":"o","return_url":"","order":{"amount":"870","description":""},"customer":{"clerkUserId":"c",'
        '"stripeCustomerId":"s","userStripeCard":{"payment_method_id":"p"}}}'
    ),
    "the character NUL": _with(
        '{"order_id":"a\\u0000b","customer_id":"a\\u0000b","user_id":"a\\u0000b","saga_id":"a\\u0000b",'
        '"order_details":{"note":"\\u0000"},"reason":"\\u0000","status":"CREATED"}'
    ),
    "half a surrogate pair": _with(
        '{"order_id":"\\ud800","customer_id":"\\ud800","user_id":"\\ud800","saga_id":"\\ud800","order_details":{},'
        '"reason":"\\ud800","status":"\\ud800"}'
    ),
    "a number beyond all": _with('{"order_id":1e400,"user_id":-1e400,"order_details":{"x":1e400}}'),
    "a correlation_id that is a list": _with("{}", correlation_id="[]"),
    "a message_id that is none": _with("{}", message_id='"not-a-uuid"'),
    "twenty thousand levels": _with('{"order_details":' + "[" * _LEVELS + "]" * _LEVELS + "}"),
}


def survives_poison(talk: Talk) -> str:
    for name, making in POISON.items():
        case, nobody = talk.case(), talk.case()
        command = talk.do(case)
        talk.tell_raw(case, making(m.type_of(command), nobody.saga_id))
        talk.tell(case, command)
        talk.answer(case, command, silence=f"after {name}")
    return f"after each of {len(POISON)} malformed records the next command was answered"
