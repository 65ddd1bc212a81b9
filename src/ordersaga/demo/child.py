"""The whole platform in one process, for the demo: orchestrator and participants over an in-memory bus, state in
PostgreSQL.

What is not durable here is the bus: it is lost with the process. What was committed is not: commands that were on
their way are asked for again.
"""

from ordersaga.bootstrap import serve_all
from ordersaga.bus.memory import MemoryBus
from ordersaga.logs import configure
from ordersaga.settings_reading import read


def main() -> None:
    settings = read(needs=("database_url",))
    configure(settings)
    serve_all(settings, MemoryBus(partitions=settings.kafka_partitions))


if __name__ == "__main__":
    main()
