"""The whole platform in this process, over a bus in memory and a database of the test's own, to be tried and broken."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import psycopg

from ordersaga import bootstrap, bootstrap_commands, bootstrap_participants
from ordersaga.bus.memory import MemoryBus
from ordersaga.local.ports import free_ports
from ordersaga.settings import Settings
from ordersaga.smoke.check import Check, Result
from ordersaga.wire.topics import Participant, Topics
from tests.waiting import until

FULL = {f"participant_{one.value}": "full" for one in Participant}


@dataclass(kw_only=True)
class Platform:
    settings: Settings
    bus: MemoryBus

    def tried(self, *, patience_seconds: float = 10.0, orders: bool = True, **more: Any) -> dict[str, Check]:
        """What `ordersaga smoke` finds, by what each check is about. `more`: settings of its own."""
        settings = self.settings.model_copy(update={"smoke_timeout_seconds": patience_seconds, **more})
        smoke = replace(bootstrap_commands.smoke(settings, self.bus, orders=orders), addresses=())
        try:
            with patch("ordersaga.orchestrator.runtime.doctor.CHECK_SECONDS", 1.0):
                return {one.what: one for one in smoke.checks()}
        finally:
            smoke.doctor.store.close()


@contextmanager
def platform(
    database_url: str,
    *,
    run: bootstrap.Run = bootstrap.EVERYTHING,
    participants: Collection[Participant] = tuple(Participant),
    topics: Collection[str] | None = None,
    **settings: Any,
) -> Iterator[Platform]:
    """`topics`: those that there are; None: all."""
    api_port, desk_port = free_ports(2)
    one_alone = next(iter(participants)) if len(participants) == 1 else None
    given: Mapping[str, Any] = {
        "database_url": database_url,
        "kafka_bootstrap_servers": "unused:1",
        "http_port": api_port,
        # One that runs alone listens at this port plus its number.
        "participants_http_port": desk_port - (list(Participant).index(one_alone) + 1 if one_alone else 0),
        "smoke_payment_url": f"http://127.0.0.1:{desk_port}",
        "step_timeout_seconds": 30,
        **FULL,
        **settings,
    }
    bus, made = MemoryBus(topics=tuple(topics or ())), Settings(**given)
    services = bootstrap_participants.participants(
        made, bus, names=[one.value for one in participants], create_topics=run.create_topics
    )
    with patch("ordersaga.bootstrap.FOLD_EVERY_SECONDS", 0.2):
        app = bootstrap.orchestrator(made, bus, run)
    try:
        services.start()
        app.start()
        if run.migrate and topics is None:
            until(lambda: app.health().ready, "the orchestrator is ready")
        yield Platform(settings=made, bus=bus)
    finally:
        app.stop(5.0)
        services.stop(5.0)


def wrong(found: Mapping[str, Check]) -> dict[str, Check]:
    return {what: one for what, one in found.items() if one.result is Result.FAILED}


def names(found: dict[str, Check], result: Result) -> list[str]:
    return [what for what, one in found.items() if one.result is result]


def sagas(at: Platform) -> list[str]:
    """The status of each."""
    with psycopg.connect(at.settings.database_url.get_secret_value()) as connection:  # type: ignore[union-attr]
        return [str(status) for (status,) in connection.execute("SELECT status FROM ordersaga.sagas ORDER BY id")]


ALL_TOPICS = Topics().all()
