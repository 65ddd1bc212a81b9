"""One run: a platform of orchestrators and participants in one virtual afternoon, its people, and all that goes wrong.

What runs here is what runs in production: delivery, handler, worker, deadlines, verbs and the reference participants
(or bare ones); only bus, database, clock and threads are stand-ins. After two minutes of trouble the world is left in
peace until nothing moves any more; then the participants' own ledgers are read (`simulation.rules`).
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from ordersaga.as_set import sagas_of
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery.background import Background
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.relay import Relay
from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits
from ordersaga.orchestrator.runtime.archiving import Archiver
from ordersaga.orchestrator.runtime.beginnings import at_once
from ordersaga.orchestrator.runtime.bulletin import Bulletin
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.deadlines import Deadlines, DeadlineSettings
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.hearing import Hearing
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.store.archive_memory import MemoryArchive
from ordersaga.orchestrator.store.board_memory import MemoryBoard
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.memory import MemoryStore
from ordersaga.orchestrator.store.memory_tables import MemoryTables as StoreTables
from ordersaga.orchestrator.store.protocol import StoreError
from ordersaga.participants.everyone import SERVICES
from ordersaga.participants.host import Host
from ordersaga.participants.ledger_memory import MemoryLedger, MemoryTables
from ordersaga.participants.ledger_protocol import LedgerError
from ordersaga.participants.payment.consult import ConsultProvider
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.participants.service import By, Refused, ServiceSpec, Verb
from ordersaga.participants.timer.service import expire
from ordersaga.participants.user.service import answer_anyone
from ordersaga.settings import Settings
from ordersaga.testing.bare import BareServices, Habits, Mishap, Zone
from ordersaga.testing.bare_host import BareHost
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant, Topics
from simulation.faults import Faults
from simulation.machines import MachineArchive, MachineBus, MachineLedger, MachineOutbox, MachineStore, Trouble, Ways
from simulation.parts import ARCHIVING, PACE, SETTINGS, Databases, Orchestrator, Service
from simulation.scene import Scene
from simulation.scheduler import Machine, Scheduler, SimulatedClock, SimulatedRandom

TOPICS = Topics()
GROUP = "create-order-saga-orchestrator"
TROUBLE_SECONDS = 120.0
REST_SECONDS_MAX = 4 * 3600.0
SESSION_SECONDS = 6.0
LEASE_SECONDS = 45.0
"""Longer than any task dawdles: a process that is frozen past its lease may publish a row twice, which is known."""
LOOK_EVERY_SECONDS = 10.0
ASKED_AGAIN_MAX = 100
BY = By(actor="op-7", role="support", reason="asked by hand")


class World:
    def __init__(self, seed: int, scheduler: Scheduler, scene: Scene, *, only: Collection[int] | None = None) -> None:
        self.seed = seed
        self.scene = scene
        self.scheduler = scheduler
        self.random = Random(f"{seed} what people do")
        self.faults = Faults(Random(f"{seed} faults"), only=only, kinds=scene.kinds)
        self.bare = self.random.random() < 0.5 and scene.may_be_bare
        self.orchestrators_wanted = 2 if self.random.random() < 0.4 else 1
        self.orders_wanted = self.random.choice((1, 1, 2, 3))
        self.home = Machine(scheduler, "world")
        self.clock = SimulatedClock(scheduler, self.home)
        self.chance = SimulatedRandom(Random(f"{seed} chance"))
        self.bus = MemoryBus(topics=TOPICS.all(), partitions=self.random.choice((1, 3)), clock=self.clock)
        self.settings = Settings.model_validate(SETTINGS | self._kinds())
        self.sagas = sagas_of(self.settings)
        self.codec = Codec(self.sagas.data_types())
        tables = {one: MemoryTables(MemoryTable(clock=self.clock)) for one in Participant}
        self.databases = Databases(
            store=StoreTables(MemoryTable(clock=self.clock)),
            ledgers=tables,
            provider=MemoryProvider(clock=self.clock.monotonic),
            bare=BareServices(new_id=lambda: self.chance.bytes(6).hex(), habits=self._habits()),
        )
        self.board = MemoryBoard(self.databases.store, now=lambda: self.scheduler.now)
        self.silences_max = self.random.choice((0, 1, 3, 5))
        """After how many in a row a participant's steps are held."""
        self.orchestrators: list[Orchestrator] = []
        self.services: dict[Participant, Service] = {}
        self.bare_host: BareHost | None = None
        self.bare_machine: Machine | None = None
        self.placed: list[UUID] = []
        """As customers were told."""
        self.voided: set[str] = set()
        """Sagas whose money somebody gave back past us."""
        self._people_busy = 0
        self.late = 0
        """Records that are on their way still."""
        self._looked_at = -LOOK_EVERY_SECONDS

    def _kinds(self) -> dict[str, str]:
        return {f"participant_{one.value}": "bare" if self.bare else "full" for one in Participant}

    def _habits(self) -> Habits:
        return Habits(
            zone=self.random.choice(list(Zone)),
            timer_listens=self.random.random() < 0.7,
            captures_at_once=self.random.random() < 0.2,
            users_unknown=frozenset({"unknown-uma"}),
            users_without_card=frozenset({"no-card-nick"}),
        )

    # --- the run ----------------------------------------------------------------------------------

    def run(self) -> bool:
        """False where the world never came to rest."""
        for _ in range(self.orchestrators_wanted):
            self._start_orchestrator()
        for participant in (Participant.NOTIFICATION,) if self.bare else tuple(Participant):
            self._start_service(participant)
        if self.bare:
            self._start_bare()
        for _ in range(self.orders_wanted):
            self.person(self.scene.act(self))
        self.person(self._end_trouble)
        return self.scheduler.run(self._at_rest, seconds_max=REST_SECONDS_MAX)

    def at(self, failpoint: str) -> None:
        """A task has come to a place where something may happen to it."""
        task = self.scheduler.current
        if task is None or task.machine in (self.home, self.bare_machine) or not task.machine.alive:
            return
        trouble = Trouble(self.scheduler, self.faults, task.machine)
        orchestrator = task.machine.name.startswith("orchestrator")
        if trouble.happens("crash" if orchestrator else "participant_crash"):
            task.machine.kill()
        if trouble.happens("slow"):
            self.scheduler.sleep(self.random.uniform(0.5, 20.0))

    def _at_rest(self) -> bool:
        if self.scheduler.seconds - self._looked_at < LOOK_EVERY_SECONDS:
            return False
        self._looked_at = self.scheduler.seconds
        return not self.restless()

    def restless(self) -> dict[str, Any]:
        """What is under way still."""
        tables = self.databases.store
        outboxes = [tables.outbox, *(ledger.outbox for ledger in self.databases.ledgers.values())]
        found = {
            "people": self._people_busy,
            "late records": self.late,
            "deadlines": list(tables.deadlines),
            "outbox rows": sum(len(outbox.rows) for outbox in outboxes),
            "bare services": self.bare_host is not None and not self.bare_host.quiet,
            "timers": self._timers_running(),
            "unread": self._lag(),
        }
        return {name: value for name, value in found.items() if value}

    def _timers_running(self) -> bool:
        return any(row.status == "STARTED" for row in self.databases.ledgers[Participant.TIMER].rows.values())

    def _lag(self) -> bool:
        """Whether a record was not handled yet by a group that reads its topic."""
        return any(
            group.committed.get((topic, number), 0) < len(log)
            for group in self.bus._groups.values()
            for topic in {topic for member in group.members for topic in member.topics}
            for number, log in enumerate(self.bus._log[topic])
        )

    # --- machines ---------------------------------------------------------------------------------

    def _start_orchestrator(self) -> None:
        machine = self._machine(f"orchestrator-{len(self.scheduler.machines)}", self._start_orchestrator)
        trouble, clock, chance = (
            Trouble(self.scheduler, self.faults, machine),
            SimulatedClock(self.scheduler, machine),
            self.chance,
        )
        bus = self._bus(machine, trouble)
        outbox = MachineOutbox(self._outbox(self.databases.store.outbox), trouble)
        memory = MemoryStore(self.databases.store, self.codec, outbox, now=lambda: self.scheduler.now)
        store: Any = MachineStore(memory, trouble)
        producer = bus.producer(client_id=machine.name)
        relay = Relay(producer, outbox, PACE, was_written=bus.written_since, clock=clock, randomness=chance)
        circuits, admission = (
            Circuits(silences_max=self.silences_max, seconds=clock.monotonic),
            Admission(AdmissionLimits()),
        )
        bulletin = Bulletin(
            self.board,
            circuits,
            admission,
            every_seconds=5.0,
            behind_every_seconds=5.0,
            clock=clock,
            randomness=chance,
        )
        handler = Handler(store, self.sagas, relay.offer, topics=TOPICS, counting=Counting(), gate=circuits)
        looking = DeadlineSettings(every_seconds=1.0)
        hearing = Hearing(lambda: bus.group_reads(GROUP, TOPICS.answers()), clock=clock, randomness=chance)
        deadlines = Deadlines(store, handler, looking, hearing=hearing, clock=clock, randomness=chance)
        archive = MachineArchive(
            MemoryArchive(self.databases.store, self.codec, now=lambda: self.scheduler.now), trouble
        )
        archiver = Archiver(archive, ARCHIVING, clock=clock, randomness=chance)
        consumer = bus.consumer(group=GROUP, topics=TOPICS.answers(), client_id=machine.name)
        worker = ConsumeLoop(
            consumer,
            handler.records,
            handler.park,
            name="worker",
            hold_back=lambda: relay.full,
            reachable=lambda: store.check(2.0),
            poll_timeout_seconds=30.0,
            gather_seconds=0.015,
            clock=clock,
            randomness=chance,
        )
        verbs = Verbs(handler, at_once(handler), clock, chance)
        parts: list[Background] = [relay, bulletin, hearing, deadlines, archiver, worker]
        self.orchestrators.append(Orchestrator(machine, verbs, parts, bus))
        for part in parts:
            part.start()

    def _start_service(self, participant: Participant) -> None:
        machine = self._machine(f"{participant.value}-service", lambda: self._start_service(participant))
        trouble, clock = Trouble(self.scheduler, self.faults, machine), SimulatedClock(self.scheduler, machine)
        bus, tables = self._bus(machine, trouble), self.databases.ledgers[participant]
        spec = self._spec(participant)
        outbox = MachineOutbox(self._outbox(tables.outbox), trouble)
        ledger = MachineLedger(MemoryLedger(tables, spec, outbox, now=lambda: self.scheduler.now), trouble)
        producer = bus.producer(client_id=machine.name)
        relay = Relay(producer, outbox, PACE, clock=clock, randomness=self.chance)
        host = Host(
            spec,
            bus,
            ledger,
            relay,
            topics=TOPICS,
            clock=clock,
            randomness=self.chance,
            consult=ConsultProvider(self.databases.provider) if participant is Participant.PAYMENT else None,
            expire=expire if participant is Participant.TIMER else None,
            expire_every_seconds=5.0,
        )
        self.services[participant] = Service(machine, host, bus)
        host.start()

    def _spec(self, participant: Participant) -> ServiceSpec:
        spec = SERVICES[participant]
        return replace(spec, answer=answer_anyone) if participant is Participant.USER else spec

    def _start_bare(self) -> None:
        machine = self.bare_machine = Machine(self.scheduler, "bare-services")
        bus = self._bus(machine, Trouble(self.scheduler, self.faults, machine))
        self.bare_host = BareHost(
            self.databases.bare,
            bus,
            topics=TOPICS,
            clock=SimulatedClock(self.scheduler, machine),
            randomness=self.chance,
            plan=self._plan,
            expire_every_seconds=5.0,
        )
        self.bare_host.start()

    def _plan(self, saga_id: str, command: m.Message) -> tuple[Mishap, float]:
        """What becomes of a command to bare services."""
        kinds = {
            "deaf": Mishap.DEAF,
            "mute": Mishap.MUTE,
            "refused": self.random.choice((Mishap.REFUSED, Mishap.DECLINED)),
            "handled_twice": Mishap.TWICE,
            "contradicted": Mishap.BOTH,
        }
        delay_seconds = self.random.uniform(0.0, 0.3)
        for kind, mishap in kinds.items():
            if self.faults.happens(kind, self.scheduler.seconds, type(command).__name__):
                return mishap, delay_seconds
        return Mishap.NONE, delay_seconds

    def _machine(self, name: str, again: Callable[[], None]) -> Machine:
        """One that is started again some time after it died, and whose group notices after a while."""
        machine = Machine(self.scheduler, name)
        if self.faults.happens("clock_jump", self.scheduler.seconds, name):
            machine.skew = timedelta(seconds=self.random.uniform(-7200, 7200))
        pause_seconds = self.random.uniform(0.5, 20.0)

        def come_back() -> None:
            self.scheduler.sleep(SESSION_SECONDS)
            for bus in self._buses_of(machine):
                for consumer in bus.consumers:
                    consumer.close(0.0)
            self.scheduler.sleep(pause_seconds)
            self.orchestrators = [one for one in self.orchestrators if one.machine is not machine]
            again()

        machine.on_death = lambda: self.person(come_back)
        return machine

    def _buses_of(self, machine: Machine) -> list[MachineBus]:
        everyone: list[Orchestrator | Service] = [*self.orchestrators, *self.services.values()]
        return [one.bus for one in everyone if one.machine is machine]

    def _bus(self, machine: Machine, trouble: Trouble) -> MachineBus:
        return MachineBus(self.bus, trouble, self._ways(machine))

    def _ways(self, machine: Machine) -> Ways:
        events, commands = set(TOPICS.answers()), {TOPICS.commands_of(one) for one in Participant}
        commands.discard(TOPICS.notification_events)

        def lost(record: Outgoing) -> str | None:
            """A log loses nothing; a service's own bugs do. Bare ones are deaf and mute besides."""
            if self.bare:
                return None
            if record.topic in events:
                # What nobody asked for is said once: lost, it would be lost for good.
                return "answer_lost" if b'"causation_id"' in record.value else None
            return "command_lost" if record.topic in commands else None

        return Ways(
            may_get_lost=lost,
            may_come_twice=lambda topic: topic in events or not self.bare,
            may_come_late=lambda topic: topic in events,
            later=self._later,
        )

    def _later(self, record: Outgoing) -> None:
        seconds = self.random.choice((0.5, 3.0, 15.0, 45.0, 90.0)) * self.random.uniform(0.5, 1.5)
        self.late += 1

        def deliver() -> None:
            self.scheduler.sleep(seconds)
            self.bus._publish([record])
            self.late -= 1

        self.scheduler.start("a late record", deliver, self.home)

    def _outbox(self, table: MemoryTable) -> MemoryOutbox:
        owner = UUID(bytes=self.chance.bytes(16), version=4)
        return MemoryOutbox(table, owner, lease_seconds=LEASE_SECONDS, randomness=self.chance)

    # --- who acts ---------------------------------------------------------------------------------

    def person(self, acts: Callable[[], None]) -> None:
        """Somebody who does something and is then done."""

        def live() -> None:
            try:
                acts()
            finally:
                self._people_busy -= 1

        self._people_busy += 1
        self.scheduler.start("a person", live, self.home)

    def ask(self, wish: Callable[[Verbs], object]) -> None:
        """A request over HTTP: some machine handles it, and it dies with that."""
        alive = [one for one in self.orchestrators if one.machine.alive]
        if not alive:
            return
        one = self.random.choice(alive)

        def handle() -> None:
            with suppress(StoreError):
                wish(one.verbs)

        self.scheduler.start("a request", handle, one.machine)

    def act(self, participant: Participant, name: Callable[[], str | None], verb: Verb) -> bool:
        """By hand at a reference participant, past us. Whoever is not told what came of it asks again."""
        for _ in range(ASKED_AGAIN_MAX):
            if (called := name()) is None:
                return False
            told = self._act_once(self.services[participant], called, verb)
            if told is not None:
                return told
            self.scheduler.sleep(5.0)
        return False

    def _act_once(self, service: Service, name: str, verb: Verb) -> bool | None:
        """None where nobody was told."""
        told: list[bool] = []

        def at_the_host() -> None:
            try:
                service.host.act(name, verb, BY)
                told.append(True)
            except Refused:
                told.append(False)
            except LedgerError:
                return

        if service.machine.alive:
            self.scheduler.start("by hand", at_the_host, service.machine).join(30.0)
        return told[0] if told else None

    def _end_trouble(self) -> None:
        self.scheduler.sleep(TROUBLE_SECONDS)
        self.faults.over = True
