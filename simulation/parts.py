"""What a world is made of."""

from dataclasses import dataclass
from datetime import timedelta

from ordersaga.delivery.background import Background
from ordersaga.delivery.relay_pace import RelayPace
from ordersaga.orchestrator.runtime.archiving import ArchiveSettings
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.store.memory_tables import MemoryTables as StoreTables
from ordersaga.participants.host import Host
from ordersaga.participants.ledger_memory import MemoryTables
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.testing.bare import BareServices
from ordersaga.wire.topics import Participant
from simulation.machines import MachineBus
from simulation.scheduler import Machine

PACE = RelayPace(scan_interval_seconds=10.0)
ARCHIVING = ArchiveSettings(older_than=timedelta(seconds=20), forget_after=None, every_seconds=15.0)
"""Soon, so that late news find their saga in the archive."""
SETTINGS = {
    "acceptance_window_seconds": 60,
    "acceptance_window_after_reopening_seconds": 20,
    "step_timeout_seconds": 10,
    "step_attempts_max": 3,
    "undo_timeout_seconds": 10,
    "undo_attempts_max": 12,
    "undo_backoff_seconds_max": 30,
}


@dataclass
class Orchestrator:
    machine: Machine
    verbs: Verbs
    parts: list[Background]
    bus: MachineBus


@dataclass
class Service:
    """A reference participant, on a machine of its own."""

    machine: Machine
    host: Host
    bus: MachineBus


@dataclass
class Databases:
    """What outlives every process."""

    store: StoreTables
    ledgers: dict[Participant, MemoryTables]
    provider: MemoryProvider
    bare: BareServices
