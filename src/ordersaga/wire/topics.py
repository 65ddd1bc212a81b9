"""The topics that the services share: their names (settings, with the platform's defaults), owners and partition
counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property


class Participant(StrEnum):
    """A service that takes part in a saga. The value is also the name under which it is started and configured."""

    ORDER = "order"
    USER = "user"
    PAYMENT = "payment"
    TIMER = "timer"
    NOTIFICATION = "notification"


@dataclass(frozen=True, kw_only=True)
class Topics:
    """Topic names. Commands go from the orchestrator to one participant; events go from a participant to everyone."""

    order_commands: str = "order_commands"
    user_commands: str = "user_commands"
    payment_commands: str = "payment_commands"
    timer_commands: str = "timer_commands"
    order_events: str = "order_events"
    user_events: str = "user_events"
    payment_events: str = "payment_events"
    timer_events: str = "timer_events"
    notification_events: str = "notification_events"
    saga_events: str = "saga_events"
    saga_dead_letters: str = "saga_dead_letters"

    def commands_of(self, participant: Participant) -> str:
        """Where the orchestrator sends to `participant`; to the notification service that is its events topic."""
        return self._commands[participant]

    @cached_property
    def _commands(self) -> Mapping[Participant, str]:
        answering = [one for one in Participant if one is not Participant.NOTIFICATION]
        named: dict[Participant, str] = {one: getattr(self, f"{one}_commands") for one in answering}
        return named | {Participant.NOTIFICATION: self.notification_events}

    def events_of(self, participant: Participant) -> str:
        return str(getattr(self, f"{participant}_events"))

    def answers(self) -> tuple[str, ...]:
        """What the orchestrator reads."""
        return (self.order_events, self.user_events, self.payment_events, self.timer_events)

    def all(self) -> tuple[str, ...]:
        return tuple(str(getattr(self, field.name)) for field in fields(self))


PARTITIONS_DEFAULT = 6
"""Partitions of a topic that we create. Topics that exist already are taken as they are."""
