"""What a world is made of."""

from dataclasses import dataclass

from ordersaga.delivery.background import Background
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.store.memory_tables import MemoryTables as StoreTables
from ordersaga.participants.host import Host
from ordersaga.participants.ledger_memory import MemoryTables
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.testing.bare import BareServices
from ordersaga.wire.topics import Participant
from simulation.machines import MachineBus
from simulation.scheduler import Machine


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
