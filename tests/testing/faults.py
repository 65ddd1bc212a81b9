"""What can be wrong with a participant: faults in what it says, hears, decides and keeps."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from msgspec.structs import replace as changed

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.participants.ledger_memory import MemoryTables
from ordersaga.participants.order.service import Accept
from ordersaga.participants.service import Asked, Reply
from ordersaga.testing.conformance import Case, Effect
from ordersaga.wire import messages as m
from tests.testing.in_memory import Answer, Fault

MANY = 20
"""So many sagas in a row, a command for each, come from the check of many at once only."""

# --- what is said -------------------------------------------------------------------------------------------------


def says(edit: Callable[[dict[str, Any]], Any], type_name: str = "") -> Callable[[], Fault]:
    """`edit` changes the message, of all types or of one."""

    def edited(record: Outgoing) -> Sequence[Outgoing]:
        said = json.loads(record.value)
        if type_name in ("", said["type"]):
            edit(said)
        return [changed(record, value=json.dumps(said).encode())]

    return lambda: Fault(says=edited)


def headers(keep: Callable[[str], bool]) -> Callable[[], Fault]:
    return lambda: Fault(
        says=lambda record: [changed(record, headers=tuple(one for one in record.headers if keep(one[0])))]
    )


def says_of_the(number: int, edit: Callable[[dict[str, Any]], Any], type_name: str) -> Callable[[], Fault]:
    """Of the so-many-th answer of this type to one saga."""

    def fault() -> Fault:
        seen: Counter[str] = Counter()

        def edited(record: Outgoing) -> Sequence[Outgoing]:
            said = json.loads(record.value)
            if said["type"] == type_name:
                seen[said["correlation_id"]] += 1
                if seen[said["correlation_id"]] == number:
                    edit(said)
            return [changed(record, value=json.dumps(said).encode())]

        return Fault(says=edited)

    return fault


def twice(type_name: str) -> Callable[[], Fault]:
    return lambda: Fault(says=lambda record: [record] * (2 if type_of(record) == type_name else 1))


def authorizes_anew() -> Fault:
    """Another hold for what was given back before."""
    given_back: set[str] = set()

    def says(record: Outgoing) -> Sequence[Outgoing]:
        said = json.loads(record.value)
        if said["type"] == "payment.released":
            given_back.add(said["correlation_id"])
        if said["type"] == "payment.authorized" and said["correlation_id"] in given_back:
            said["payload"]["payment_intent_id"] = f"pi_{uuid4().hex}"
        return [changed(record, value=json.dumps(said).encode())]

    return Fault(says=says)


def silent_after(dropped: Sequence[int]) -> Callable[[], Fault]:
    """These answers after each kill are lost, counted from it."""

    def fault() -> Fault:
        said = Counter[str]()

        def lost(record: Outgoing) -> Sequence[Outgoing]:
            said["all"] += 1
            return [] if said["kills"] and said["all"] in dropped else [record]

        def killed() -> None:
            said["kills"] += 1
            said["all"] = 0

        return Fault(says=lost, killed=killed)

    return fault


def fires_all_the_same() -> Fault:
    """A short timer that was cancelled."""
    short: set[str] = set()

    def hears(record: Record) -> Record:
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            said = json.loads(record.value or b"")
            at = datetime.fromisoformat(said["payload"]["timeout_at"])
            if at < datetime.now(UTC) + timedelta(minutes=1):
                short.add(said["correlation_id"])
        return record

    def says(record: Outgoing) -> Sequence[Outgoing]:
        said = json.loads(record.value)
        if said["type"] != "timer.cancelled" or said["correlation_id"] not in short:
            return [record]
        return [record, changed(record, value=json.dumps({**said, "type": "timer.expired"}).encode())]

    return Fault(hears=hears, says=says)


def mute_about(type_name: str) -> Callable[[], Fault]:
    return lambda: Fault(says=lambda record: [] if type_of(record) == type_name else [record])


# --- what is heard ------------------------------------------------------------------------------------------------


def deaf_to(concerns: Callable[[Record, dict[str, Any]], bool]) -> Callable[[], Fault]:
    return lambda: Fault(hears=lambda record: None if concerns(record, read(record)) else record)


def deaf_to_the(number: int, concerns: Callable[[dict[str, Any]], bool]) -> Callable[[], Fault]:
    """The so-many-th such command of one saga, and all after it."""

    def fault() -> Fault:
        seen: Counter[str] = Counter()

        def hears(record: Record) -> Record | None:
            said = read(record)
            if not concerns(said):
                return record
            seen[_saga(said)] += 1
            return record if seen[_saga(said)] < number else None

        return Fault(hears=hears)

    return fault


def deaf_once_answered(concerns: Callable[[dict[str, Any]], bool]) -> Callable[[], Fault]:
    def fault() -> Fault:
        asked: set[str] = set()

        def hears(record: Record) -> Record | None:
            said = read(record)
            if concerns(said) and _saga(said) in asked:
                return None
            if said.get("type") == "authorize_payment":
                asked.add(_saga(said))
            return record

        return Fault(hears=hears)

    return fault


def answers_anything() -> Fault:
    def hears(record: Record) -> Record:
        said = read(record)
        if said.get("type") != "unheard_of.command":
            return record
        told = {**said, "type": "get_payment_info", "payload": {"user_id": "somebody"}}
        return changed(record, value=json.dumps(told).encode())

    return Fault(hears=hears)


def a_new_id_for_each() -> Fault:
    def hears(record: Record) -> Record:
        said = read(record)
        return changed(record, value=json.dumps({**said, "message_id": str(uuid4())}).encode()) if said else record

    return Fault(hears=hears)


def loses_one_of_many(is_sound: Callable[[dict[str, Any]], bool]) -> Callable[[], Fault]:
    """When many sagas come in a row."""

    def fault() -> Fault:
        row: set[str] = set()

        def hears(record: Record) -> Record | None:
            said = read(record)
            if not is_sound(said) or _saga(said) in row:
                row.clear()
            row.add(_saga(said))
            return None if len(row) == MANY else record

        return Fault(hears=hears)

    return fault


def names_one_for_another() -> Fault:
    """When many orders come in a row."""
    row: list[str] = []

    def says(record: Outgoing) -> Sequence[Outgoing]:
        said = json.loads(record.value)
        if said["type"] != "order.created":
            row.clear()
            return [record]
        row.append(said["payload"]["order_id"])
        if len(row) != MANY:
            return [record]
        said["payload"]["order_id"] = row[-2]
        return [changed(record, value=json.dumps(said).encode())]

    return Fault(says=says)


def dies_of(text: bytes | None) -> Callable[[], Fault]:
    """None: of a record without a value."""
    return lambda: Fault(dies_of=lambda record: record.value is None if text is None else text in (record.value or b""))


# --- what is decided ----------------------------------------------------------------------------------------------


def decides(otherwise: Callable[[Any, Asked, Reply], Reply]) -> Callable[[], Fault]:
    """`otherwise` turns the right reply into a wrong one."""

    def answering(answer: Answer) -> Answer:
        return lambda row, asked: otherwise(row, asked, answer(row, asked))

    return lambda: Fault(answers=answering)


def confirms_and_does_nothing(row: Any, asked: Asked, reply: Reply) -> Reply:
    match asked.command:
        case m.CancelOrder(order_id=order_id) if row and order_id and row.status == "PENDING":
            return Reply(event=m.OrderCancelled(order_id=order_id, reason="r"))
    return reply


def answers_an_update_by_state(row: Any, asked: Asked, reply: Reply) -> Reply:
    """Each time anew: what is CREATED, or further, is as it should be."""
    match asked.command:
        case m.UpdateOrderStatus(order_id=order_id) if row and row.status in ("CREATED", "ACCEPTED"):
            told = m.OrderStatusUpdated(order_id=order_id, status="CREATED", saga_id=row.key)
            return Reply(event=told, remembered=False)
        case m.UpdateOrderStatus():
            return replace(reply, remembered=False)
    return reply


def updates_whatever_is_not_cancelled(row: Any, asked: Asked, reply: Reply) -> Reply:
    """UPDATE orders SET status = 'CREATED' WHERE status <> 'CANCELLED'."""
    match asked.command:
        case m.UpdateOrderStatus(order_id=order_id) if row and row.status != "CANCELLED":
            told = m.OrderStatusUpdated(order_id=order_id, status="CREATED", saga_id=row.key)
            return Reply(row=changed(row, status="CREATED", runner_id=None), event=told, remembered=False)
    return reply


def updates_and_says_what_it_said_first() -> Fault:
    """It recognises repeats in what it says, and not in what it does."""
    first: dict[str, str] = {}

    def says(record: Outgoing) -> Sequence[Outgoing]:
        said = json.loads(record.value)
        if said["type"] == "order.status_updated":
            said["timestamp"] = first.setdefault(said["correlation_id"], said["timestamp"])
        return [changed(record, value=json.dumps(said).encode())]

    return replace(decides(updates_whatever_is_not_cancelled)(), says=says)


def brings_back_to_life(row: Any, asked: Asked, reply: Reply) -> Reply:
    match asked.command:
        case m.UpdateOrderStatus(order_id=order_id) if row and row.status == "CANCELLED":
            told = m.OrderStatusUpdated(order_id=order_id, status="CREATED", saga_id=row.key)
            return Reply(row=changed(row, status="CREATED"), event=told)
    return reply


def forgets_early_undos(row: Any, asked: Asked, reply: Reply) -> Reply:
    if isinstance(asked.command, m.RevertPayment) and row is None and asked.command.payment_id is None:
        return Reply(event=m.PaymentFailed(error="not_found"), remembered=False)
    return reply


def remembers_refusals(row: Any, asked: Asked, reply: Reply) -> Reply:
    return replace(reply, remembered=True)


def cancels_what_a_runner_has(row: Any, asked: Asked, reply: Reply) -> Reply:
    if isinstance(asked.command, m.CancelOrder) and row and row.status == "ACCEPTED":
        told = m.OrderCancelled(order_id=row.order_id, reason=asked.command.reason)
        return Reply(row=changed(row, status="CANCELLED"), event=told)
    return reply


def lets_runners_take(status: str) -> Callable[[], Fault]:
    """What is in this state, as if it were open."""

    def answering(answer: Answer) -> Answer:
        def answered(row: Any, asked: Asked) -> Reply:
            is_taken = isinstance(asked.command, Accept) and row and row.status == status
            return answer(changed(row, status="CREATED") if is_taken else row, asked)

        return answered

    return lambda: Fault(answers=answering)


def is_silent_for_refusing(row: Any, asked: Asked, reply: Reply) -> Reply:
    refused = isinstance(asked.command, m.AuthorizePayment) and asked.command.order.amount < 50
    return Reply(event=None) if refused else reply


def fires(seconds: float) -> Callable[[Any, Asked, Reply], Reply]:
    """Later, or earlier, than it should."""

    def otherwise(row: Any, asked: Asked, reply: Reply) -> Reply:
        if not isinstance(asked.command, m.StartOrderTimer) or reply.row is None:
            return reply
        later: Any = reply.row
        return replace(reply, row=changed(later, timeout_at=later.timeout_at + timedelta(seconds=seconds)))

    return otherwise


# --- what is kept -------------------------------------------------------------------------------------------------


def loses_rows(tables: MemoryTables) -> None:
    """All but the last of the latest, as a database does that does not write through."""
    with tables.changed:
        for key in list(tables.rows)[-6:-1]:
            del tables.rows[key]


def loses_answers(tables: MemoryTables) -> None:
    with tables.changed:
        tables.answers.clear()


def loses_timers(tables: MemoryTables) -> None:
    with tables.changed:
        for key, row in tables.rows.items():
            if row.timeout_at:
                tables.rows[key] = changed(row, timeout_at=row.timeout_at + timedelta(hours=1))


def holds_a_cent_more(case: Case, effects: Sequence[Effect]) -> Sequence[Effect]:
    return [replace(one, amount_cents=(one.amount_cents or 0) + 1) for one in effects]


def keeps_what_came_without_a_key() -> Fault:
    """A service that trusts in the order of a partition."""
    unkeyed: set[str] = set()

    def hears(record: Record) -> Record:
        if not record.key:
            unkeyed.add(read(record).get("correlation_id", ""))
        return record

    def ledger(case: Case, effects: Sequence[Effect]) -> Sequence[Effect]:
        return [Effect(effect_id="pi_lost", stands=True)] if case.saga_id in unkeyed else effects

    return Fault(hears=hears, ledger=ledger)


def keeps(what: Callable[[MemoryTables], None]) -> Callable[[], Fault]:
    return lambda: Fault(keeps=what)


# --- small print --------------------------------------------------------------------------------------------------


def read(record: Record) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        said = json.loads(record.value or b"")
        return said if isinstance(said, dict) else {}
    return {}


def _saga(said: Mapping[str, Any]) -> str:
    return str(said.get("correlation_id"))


def type_of(record: Outgoing) -> str:
    return str(json.loads(record.value)["type"])


def is_a(said: Mapping[str, Any], name: str, *, by_id: bool | None = None) -> bool:
    payload = said.get("payload")
    found = isinstance(payload, dict) and said.get("type") == name
    return found and (by_id is None or by_id == bool(isinstance(payload, dict) and payload.get("payment_id")))


def old_time(said: dict[str, Any]) -> None:
    said["timestamp"] = (datetime.now(UTC) - timedelta(minutes=1)).isoformat().replace("+00:00", "Z")


def new_time(said: dict[str, Any]) -> None:
    said["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
