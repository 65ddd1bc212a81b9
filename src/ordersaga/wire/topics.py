"""The topics that the services share: their names (settings, with the platform's defaults), owners and partition
counts.
"""

from dataclasses import dataclass, fields
from enum import StrEnum


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
        if participant is Participant.NOTIFICATION:
            return self.notification_events
        return str(getattr(self, f"{participant.value}_commands"))

    def events_of(self, participant: Participant) -> str:
        return str(getattr(self, f"{participant.value}_events"))

    def answers(self) -> tuple[str, ...]:
        """What the orchestrator reads."""
        return (self.order_events, self.user_events, self.payment_events, self.timer_events)

    def all(self) -> tuple[str, ...]:
        return tuple(str(getattr(self, field.name)) for field in fields(self))


PARTITIONS_DEFAULT = 6
"""Partitions of a topic that we create. Topics that exist already are taken as they are."""
