"""The whole platform in one process, for the demo: orchestrator and participants over an in-memory bus.

What is not durable here is the bus: it is lost with the process. What was committed is not: commands that were on their
way are asked for again.
"""

from time import monotonic

from ordersaga import bootstrap, bootstrap_participants
from ordersaga.bus.memory import MemoryBus
from ordersaga.logs import configure
from ordersaga.process import Runnable, leave, run_until_signalled
from ordersaga.settings import Settings
from ordersaga.settings_reading import read


class Platform:
    """The orchestrator and everyone it works with."""

    def __init__(self, settings: Settings, bus: MemoryBus) -> None:
        # The participants first: an order that comes in finds somebody to answer.
        self._apps: list[Runnable] = [
            bootstrap_participants.participants(settings, bus),
            bootstrap.orchestrator(settings, bus),
        ]

    def start(self) -> None:
        for app in self._apps:
            app.start()

    def stop(self, timeout_seconds: float) -> bool:
        end = monotonic() + timeout_seconds
        ended = [app.stop(max(0.1, end - monotonic())) for app in reversed(self._apps)]
        return all(ended)


def main() -> None:
    settings = read(needs=("database_url",))
    configure(settings)
    bus = MemoryBus(partitions=settings.kafka_partitions)
    leave(run_until_signalled(Platform(settings, bus), settings.stop_timeout_seconds))


if __name__ == "__main__":
    main()
