"""Checks of what is said: that there is an answer, one, in the contract's words, and with all that goes around it."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

from ordersaga.testing.conformance.ear import Heard
from ordersaga.testing.conformance.parts import opening
from ordersaga.testing.conformance.subject import Case
from ordersaga.testing.conformance.talk import Lacks, NotTried, Talk, id_of, shown
from ordersaga.wire import messages as m
from ordersaga.wire.errors import WireError
from ordersaga.wire.times import parse_time
from ordersaga.wire.topics import Participant

_TRACE = uuid4().hex
TRACE_PARENT = f"00-{_TRACE}-{uuid4().hex[:16]}-01"
_CLOUD_EVENT = ("ce_id", "ce_type", "ce_source", "ce_time", "ce_correlationid")
_SPEC_VERSION = "1.0"
"""Nobody has to say it; where it is said, it is this one."""


def answers(talk: Talk) -> str:
    case = talk.case()
    asked: list[m.Message] = [talk.do(case)]
    for command in asked:  # which grows
        found = talk.ask(case, command, silence="silence")
        if not talk.is_good(command, found):
            raise Lacks(f"{m.type_of(command)} was answered {shown(found)}")
        if len(asked) == 1:
            asked += _what_follows(talk, case, found)
    return f"answered: {', '.join(m.type_of(command) for command in asked)}"


def answers_once(talk: Talk) -> str:
    case = talk.case()
    heard = [*_course(talk, case)]
    talk.quiet(case, len(heard), "more was said than was asked")
    return f"{len(heard)} commands, {len(heard)} answers"


def echoes_correlation_id(talk: Talk) -> str:
    case = talk.case()
    command = talk.do(case)
    talk.tell(case, command)
    seconds = talk.subject.answer_seconds
    if talk.ear.wait(lambda: bool(talk.answers(case, command) or talk.astray(case, command)), seconds):
        if talk.answers(case, command):
            return f"correlation_id is {case.saga_id}"
        said = talk.astray(case, command)[0].said.get("correlation_id")
        raise Lacks(f"asked for {case.saga_id}, it answered under {said!r}")
    raise NotTried(f"{m.type_of(command)} was not answered within {seconds:g} s")


def speaks_the_contract(talk: Talk) -> str:
    for _, _, found in _everything(talk):
        if trouble := found.trouble():
            raise Lacks(f"{found.type} cannot be read: {trouble}")
    return "every answer can be read"


def carries_causation_id(talk: Talk) -> str:
    """Of each kind of answer: a confirmation without it reads as somebody's own doing, and confirms nothing."""
    seen = []
    for case, command, found in _everything(talk):
        asked_id, said = id_of(case, command), found.said.get("causation_id")
        if str(said) != str(asked_id):
            told = f"the message_id of {m.type_of(command)} is {asked_id}"
            raise Lacks(f"causation_id of {found.type} is {said!r}, {told}")
        seen.append(found.type)
    return f"it is the command's message_id: {', '.join(seen)}"


def keys_by_saga(talk: Talk) -> str:
    for case, _, found in _everything(talk):
        if found.record.key != case.saga_id.encode():
            raise Lacks(f"the key of {found.type} is {found.record.key!r}")
    return "the key of every answer is the saga's id"


def has_message_ids(talk: Talk) -> str:
    heard = [found for _, _, found in _everything(talk)]
    for found in heard:
        if found.message_id is None:
            raise Lacks(f"message_id of {found.type} is {found.said.get('message_id')!r}")
    if len({found.message_id for found in heard}) < len(heard):
        raise Lacks("two different answers have the same message_id")
    return "every answer has one of its own"


def stamps_in_utc(talk: Talk) -> str:
    for _, _, found in _everything(talk):
        stamp = found.said.get("timestamp")
        try:
            parse_time(str(stamp), "timestamp")
        except WireError as error:
            raise Lacks(f"timestamp {stamp!r} of {found.type} {error.problem}") from error
        if not str(stamp).endswith("Z"):
            raise Lacks(f"timestamp {stamp!r} of {found.type} does not end with Z")
    return "every timestamp ends with Z"


def has_cloud_event_headers(talk: Talk) -> str:
    for case, _, found in _everything(talk):
        headers = found.headers
        missing = [name for name in _CLOUD_EVENT if name not in headers]
        if missing:
            raise Lacks(f"{found.type} has no {', '.join(missing)}")
        said = {"ce_type": found.type, "ce_correlationid": case.saga_id}
        if "ce_specversion" in headers:
            said["ce_specversion"] = _SPEC_VERSION
        if found.message_id:
            said["ce_id"] = str(found.message_id)
        wrong = [f"{name} is {headers[name]!r} and not {value!r}" for name, value in said.items()]
        wrong = [text for text, name in zip(wrong, said, strict=True) if headers[name] != said[name]]
        if wrong:
            raise Lacks(f"{found.type}: {'; '.join(wrong)}")
    return f"all {len(_CLOUD_EVENT)} are there and say what the body says"


def passes_on_the_trace(talk: Talk) -> str:
    case = talk.case()
    found = talk.done(case, headers=(("traceparent", TRACE_PARENT.encode()),)).headers.get("traceparent", "")
    if not re.fullmatch(rf"00-{_TRACE}-[0-9a-f]{{16}}-[0-9a-f]{{2}}", found):
        raise Lacks(f"traceparent is {found!r}, the command's was {TRACE_PARENT!r}")
    return f"the trace is {_TRACE}"


def ignores_unknown_fields(talk: Talk) -> str:
    case = talk.case()
    command = talk.do(case)
    found = talk.ask(case, command, more={"x_unheard_of": {"a": [1, None]}}, silence="with fields that it cannot know")
    if not talk.is_good(command, found):
        raise Lacks(f"with fields that it cannot know, {m.type_of(command)} was answered {shown(found)}")
    return "an unknown field in the envelope and in the payload made no difference"


def ignores_unknown_headers(talk: Talk) -> str:
    case = talk.case()
    command = talk.do(case)
    headers = (
        ("x-unheard-of", b"\xff\x00"),
        ("traceparent", b"no trace at all"),
        ("ce_id", b""),
        ("x-unheard-of", b""),
    )
    found = talk.ask(case, command, headers=headers, silence="with headers that it cannot know")
    if not talk.is_good(command, found):
        raise Lacks(f"with headers that it cannot know, {m.type_of(command)} was answered {shown(found)}")
    return "unknown, repeated, empty and binary headers made no difference"


def leaves_others_alone(talk: Talk) -> str:
    """What is not for it, then a command of the same saga that is: by its answer all before was read."""
    case = talk.case()
    told = _envelope(case, "unheard_of.command", b"{}")
    event = _envelope(case, "order.accepted", b'{"order_id":"' + case.order_id.encode() + b'","runner_id":"r"}')
    no_type = _envelope(case, "", b"{}")
    talk.tell_raw(case, told, event, no_type, _other_command(talk, case))
    talk.done(case)
    talk.quiet(case, 1, "it answered what is not for it")
    return "an unknown type, an event, and another service's command were passed over"


def refuses(talk: Talk) -> str:
    asked = [*_refusals(talk)]
    for case, command in asked:
        found = talk.ask(case, command, silence="silence where it should refuse")
        if talk.is_good(command, found):
            raise Lacks(f"{m.type_of(command)} cannot be carried out and was answered {shown(found)}")
    return f"refused: {', '.join(m.type_of(command) for _, command in asked)}, where it cannot be done"


# --- what is asked ------------------------------------------------------------------------------------------------


def _course(talk: Talk, case: Case) -> Iterator[tuple[m.Message, Heard]]:
    """Everything that this participant can be asked for one saga, in business order, each with its answer."""
    command = talk.do(case)
    done = talk.done(case, command)
    yield command, done
    for following in _what_follows(talk, case, done):
        yield following, talk.done(case, following)


def _what_follows(talk: Talk, case: Case, done: Heard) -> list[m.Message]:
    if talk.part.undo is None:
        return []
    effect_id = talk.effect_id(done)
    opened = [opening(effect_id)] if talk.subject.participant is Participant.ORDER else []
    return [*opened, talk.undo(case, effect_id)]


def _everything(talk: Talk) -> Iterator[tuple[Case, m.Message, Heard]]:
    """Answers of each kind: a saga's course, refusals, an undo that comes early and the command that comes after it.

    Whether it refuses and remembers is for other checks: of what it does not answer there is nothing to see here.
    """
    case = talk.case()
    for command, found in _course(talk, case):
        yield case, command, found
    for other, command in [*_refusals(talk), *_overtaken(talk)]:
        with suppress(NotTried):
            yield other, command, talk.ask(other, command)


def _refusals(talk: Talk) -> Iterator[tuple[Case, m.Message]]:
    """What cannot be carried out, each in a saga of its own."""
    if talk.part.never:
        case = talk.case()
        yield case, talk.part.never(case, talk.subject.samples)
    if talk.subject.participant is Participant.ORDER:
        case = talk.case()
        yield case, opening(case.order_id)


def _overtaken(talk: Talk) -> Iterator[tuple[Case, m.Message]]:
    if talk.part.undo:
        case = talk.case()
        yield case, talk.undo(case, None)
        yield case, talk.do(case)


def _other_command(talk: Talk, case: Case) -> bytes:
    """One that another service understands."""
    if talk.subject.participant is Participant.USER:
        return _envelope(case, "cancel_timer", b'{"order_id":"o","reason":"r"}')
    return _envelope(case, "get_payment_info", b'{"user_id":"u"}')


def _envelope(case: Case, name: str, payload: bytes) -> bytes:
    now = datetime.now(UTC).isoformat().encode()
    ids = b'"correlation_id":"' + case.saga_id.encode() + b'","message_id":"' + str(uuid4()).encode() + b'"'
    return b'{"type":"' + name.encode() + b'",' + ids + b',"timestamp":"' + now + b'","payload":' + payload + b"}"
