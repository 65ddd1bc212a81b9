"""What a participant has answered is kept for as long as its command may come again, and no longer: answers tell who
ordered what, and there is one for each command.

Promised: whoever asks again in time is answered the same. Not promised: the first answer's time to whoever asks later;
the row is still there, so that nothing is done twice. Any number of hosts may forget at once.
"""

from datetime import timedelta
from functools import partial

from ordersaga.delivery.background import Chore
from ordersaga.participants.ledger_protocol import Ledger

KEPT = timedelta(days=8)
"""Topics keep a command for a week, and an undo is asked for again and again for some hours."""
PART_MAX = 5_000
"""Answers: a tenth of a second or less."""
EVERY_SECONDS, AGAIN_SECONDS = 3600.0, 1.0


def forgetting(ledger: Ledger) -> Chore:
    return Chore("answers", partial(forget_part, ledger), every_seconds=EVERY_SECONDS, again_seconds=AGAIN_SECONDS)


def forget_part(ledger: Ledger) -> bool:
    """Whether there may be more. Raises `LedgerError`."""
    with ledger.transaction() as transaction:
        return transaction.forget(KEPT, PART_MAX) == PART_MAX
