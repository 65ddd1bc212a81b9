"""Tell what happens to a saga, sentence by sentence, and check what it does: no database, no bus, no clock.

    given(CREATE_ORDER, PLACED)
        .expect(m.CreateOrder, to=Participant.ORDER)
        .reply(m.OrderCreated(order_id="o-1"))
        .reply(m.PaymentInfoFailed(error="User not found"))
        .expect(m.CancelOrder(order_id="o-1", saga_id=SAGA, reason="CUSTOMER_UNKNOWN"), to=Participant.ORDER)
        .reply(m.OrderCancelled(order_id="o-1"))
        .ends(Status.COMPENSATED, reason=Reason.CUSTOMER_UNKNOWN)

`reply` is what a full participant says to the command that is out (it names the command); `hear` is anything else
that arrives. Time passes only where the story says so.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition, Kind
from ordersaga.orchestrator.core.inputs import (
    CancelAsked,
    CommandDeadline,
    Decision,
    Happened,
    Input,
    Operator,
    ResolveAsked,
    RetryAsked,
    Send,
    SettleAsked,
    Verdict,
    WindowDeadline,
)
from ordersaga.orchestrator.core.instance import Became, Instance, Requested, SagaData, Status
from ordersaga.orchestrator.core.needs import needs
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire.messages import Command, Event, Notification
from ordersaga.wire.topics import Participant

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SAGA_ID = UUID("019b7e6c-0000-7000-8000-000000000001")
OPERATOR = Operator(actor="night-shift", role="operator", why="looked into it")
FULL: Mapping[Participant, Kind] = dict.fromkeys(Participant, Kind.FULL)
BARE: Mapping[Participant, Kind] = dict.fromkeys(Participant, Kind.BARE)


def given(definition: Definition, data: SagaData, *, kinds: Mapping[Participant, Kind] = FULL) -> "Story":
    """A saga that was just asked for; `kinds` says which participants recognise repeats (all, unless told)."""
    return Story(replace(definition, kinds=kinds), data)


class Story:
    def __init__(self, definition: Definition, data: SagaData) -> None:
        self.definition = definition
        self.now = NOON
        self.sent: list[Send] = []
        self._shut: frozenset[Participant] = frozenset()
        self.last = start(definition, SAGA_ID, data, self.now)
        self._take(self.last)

    @property
    def saga(self) -> Instance[Any]:
        return self.last.instance

    # What happens

    def reply(self, event: Event, *, stamp: datetime | None = None) -> Self:
        """The participant answers the command that is out."""
        out = self.saga.outstanding
        assert out, f"nothing is out that {event!r} could answer; the saga is {self.saga.status}"
        return self._happen(Happened(event=event, causation_id=out.message_id, stamp=stamp or self.now))

    def hear(self, event: Event, *, causation_id: UUID | None = None, stamp: datetime | None = None) -> Self:
        """Something arrives that may or may not be an answer."""
        return self._happen(Happened(event=event, causation_id=causation_id, stamp=stamp or self.now))

    def silence(self) -> Self:
        """Nothing comes until the saga has to do something about it, once."""
        due_at = self.saga.command_due_at
        assert due_at, f"the saga waits for nothing; it is {self.saga.status}"
        self.now = max(self.now, due_at)
        return self._happen(CommandDeadline())

    def silence_until(self, status: Status, *, at_most: int = 200) -> Self:
        """Nothing comes until the saga has reached `status`."""
        for _ in range(at_most):
            if self.saga.status is status:
                return self
            self.silence()
        raise AssertionError(f"still {self.saga.status} after {at_most} silences")

    def nobody_accepts(self) -> Self:
        """The acceptance window runs out on the saga's own deadline."""
        assert self.saga.window_due_at, f"no window is open; the saga is {self.saga.status}"
        self.now = max(self.now, self.saga.window_due_at)
        return self._happen(WindowDeadline())

    def cancel(self, actor: str = "customer", *, reason: Reason = Reason.CUSTOMER_REQUEST, why: str = "") -> Self:
        return self._happen(CancelAsked(Requested(actor=actor, role=actor, reason=reason, why=why)))

    def retry(self) -> Self:
        return self._happen(RetryAsked(OPERATOR))

    def settle(self, undo: str) -> Self:
        return self._happen(SettleAsked(OPERATOR, undo))

    def resolve(self) -> Self:
        return self._happen(ResolveAsked(OPERATOR))

    def answers_nobody(self, *participants: Participant) -> Self:
        """From now on; nobody: all answer again."""
        self._shut = frozenset(participants)
        return self

    def kinds_are(self, kinds: Mapping[Participant, Kind]) -> Self:
        """From now on: the orchestrator was stopped, set otherwise and started again."""
        self.definition = replace(self.definition, kinds=kinds)
        return self

    def after(self, seconds: float) -> Self:
        self.now += timedelta(seconds=seconds)
        return self

    # What is expected

    def expect(self, command: Command | type[Command], *, to: Participant) -> Self:
        """The next command that was sent and not yet expected."""
        index = next((i for i, send in enumerate(self.sent) if isinstance(send.body, Command)), None)
        assert index is not None, f"expected {command!r}, but no command was sent; {self._state()}"
        send = self.sent.pop(index)
        found = send.body if isinstance(command, Command) else type(send.body)
        assert (found, send.to) == (command, to), f"expected {command!r} to {to}, found {send.body!r} to {send.to}"
        return self

    def expect_nothing(self) -> Self:
        commands = [send.body for send in self.sent if isinstance(send.body, Command)]
        assert not commands, f"expected no command, found {commands}"
        return self

    def expect_notice(self, notice: type[Notification], **fields: Any) -> Self:
        index = next((i for i, send in enumerate(self.sent) if isinstance(send.body, Notification)), None)
        assert index is not None, f"expected {notice.__name__}, but the customer was told nothing; {self._state()}"
        body = self.sent.pop(index).body
        assert type(body) is notice, f"expected {notice.__name__}, found {body!r}"
        found = {name: getattr(body, name) for name in fields}
        assert found == fields, f"expected {fields}, found {found}"
        return self

    def expect_verdict(self, verdict: Verdict) -> Self:
        found = self.last.verdict
        assert found is verdict, f"expected {verdict}, found {found} ({self.last.why}); {self._state()}"
        return self

    def step(self, name: str, became: Became | None) -> Self:
        found = self.saga.steps[name].became if name in self.saga.steps else None
        assert found is became, f"expected {name} {became}, found {found}"
        return self

    def waits(self, status: Status) -> Self:
        """In `status`, and waiting for something."""
        assert self.saga.status is status, f"expected {status}; {self._state()}"
        assert self.saga.command_due_at or self.saga.window_due_at, f"waits for nothing; {self._state()}"
        return self

    def ends(self, status: Status, *, reason: Reason | None = None, attention: bool = False) -> Self:
        """At rest in `status` for `reason`, with nothing out, nothing left to take back, and every command told of."""
        found = (self.saga.status, self.saga.reason, bool(self.saga.attention))
        assert found == (status, reason, attention), f"expected {(status, reason, attention)}; {self._state()}"
        assert self.saga.outstanding is None, f"{self.saga.outstanding} is still out"
        if status in (Status.COMPENSATED, Status.CANCELLED):
            assert not needs(self.definition, self.saga), f"left to undo: {needs(self.definition, self.saga)}"
        return self.expect_nothing()

    def _happen(self, seen: Input) -> Self:
        before = self.saga
        decision = decide(self.definition, before, seen, self.now, shut=self._shut)
        assert decide(self.definition, before, seen, self.now, shut=self._shut) == decision, (
            "a decision must be a function of what went in"
        )
        if decision.verdict is not Verdict.APPLIED:
            assert decision.instance is before and not decision.messages, f"{decision.verdict} must change nothing"
        self.last = decision
        self._take(decision)
        return self

    def _take(self, decision: Decision) -> None:
        self.sent += decision.messages

    def _state(self) -> str:
        record = self.saga
        return (
            f"the saga is {record.status} ({record.reason}), out: {record.outstanding}, attention: {record.attention}"
        )
