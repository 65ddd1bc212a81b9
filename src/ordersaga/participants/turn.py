"""One batch in hand: the rows it has found and changed, the answers it has given.

Letters of one batch see each other: what the first one did to a row is what the second one finds, and a letter that
comes twice is answered once. An outside system is asked for many letters together, but never for two that may concern
the same row: `rounds` keeps those apart, in their order.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import structlog

from ordersaga.bus.protocol import Outgoing
from ordersaga.participants.ledger_protocol import Answer, Known
from ordersaga.participants.letters import Letter
from ordersaga.participants.service import Reply, Row, ServiceSpec

_log = structlog.get_logger(__name__)


class Turn:
    def __init__(self, spec: ServiceSpec, known: Known) -> None:
        self._spec = spec
        self.now = known.now
        self._rows: dict[str, Any] = dict(known.rows)
        self._key_of = {name: row.key for row in known.rows.values() for name in spec.names_in(row)}
        self._before = known.answers
        self.changed: dict[str, Row] = {}
        self.answers: dict[UUID, Answer] = {}
        self.records: list[Outgoing] = []

    def find(self, key: str, names: Sequence[tuple[str, str]]) -> Any | None:
        """The row with the service's own id, else the row under the key, else one that is called by another name."""
        own_id = self._spec.names[:1]
        own = [self._key_of[name] for name in names if name[0] in own_id and name in self._key_of]
        others = [self._key_of[name] for name in names if name[0] not in own_id and name in self._key_of]
        found = (self._rows.get(one) for one in (*own, key, *others))
        return next((row for row in found if row is not None), None)

    def said_before(self, letter: Letter) -> Answer | None:
        return self._before.get(letter.message_id) or self.answers.get(letter.message_id)

    def repeat(self, letter: Letter, answer: Answer) -> None:
        """The first word stands, even where the same id asks for something else now: that is the sender's mistake."""
        if answer.asked != letter.digest:
            _log.error(
                "participant.id_used_twice",
                participant=self._spec.participant.value,
                message_id=str(letter.message_id),
                saga_id=letter.envelope.correlation_id,
            )
        self.records.append(answer.record)

    def change(self, row: Row) -> None:
        self._rows[row.key] = self.changed[row.key] = row
        self._key_of.update((name, row.key) for name in self._spec.names_in(row))

    def say(self, letter: Letter, reply: Reply, record: Outgoing) -> None:
        self.records += [record, record] if reply.twice else [record]
        if reply.remembered:
            self.answers[letter.message_id] = Answer(letter.digest, record)


def rounds(letters: Iterable[Letter]) -> list[list[Letter]]:
    """In each round no two letters share a key, a name or an id; what they share, they meet in their order."""
    found: list[list[Letter]] = []
    next_round: dict[Any, int] = {}
    for letter in letters:
        called = (letter.key, letter.message_id, *letter.names)
        number = max(next_round.get(one, 0) for one in called)
        if number == len(found):
            found.append([])
        found[number].append(letter)
        next_round.update((one, number + 1) for one in called)
    return found
