"""How many sagas are in flight, by status and step, and since when the oldest: asking costs the same for any number.

Each transaction appends what its sagas add to a step and take away from one, with the sagas themselves, so the sums are
exact after a crash or a repeat too. Who counts one by one (`correct`) does it seldom: it makes good what a version that
knew nothing of this has moved, or somebody by hand.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ordersaga.orchestrator.store.connections import Connections, Row, statements
from ordersaga.orchestrator.store.parts import Parts

_SQL = statements("in_flight.sql")
LOOKED_MAX = 1_000
"""Of each status the oldest so many are looked at for the ages."""
Ask = Callable[[bytes, Mapping[str, Any]], list[Row]]


def counts(ask: Ask) -> Sequence[Row]:
    """Status, step, how many, and the age of the oldest in seconds: oldest first. Where a step has none among the
    oldest of its status, that of the youngest which was looked at: it is younger.
    """
    return ask(_SQL["counts"], {"looked_max": LOOKED_MAX})


def folding(connections: Connections) -> Parts:
    """Harmless at any time, by any number."""
    return Parts(connections, _SQL["fold"])


def correct(connections: Connections) -> int:
    """Count one by one and add what differs; by how many sagas it was off."""
    with connections.transaction() as connection:
        connections.enter(connection)
        connection.execute(_SQL["one_counts"])
        ((off_by,),) = connection.execute(_SQL["correct"]).fetchall()
    return int(off_by)
