"""What a figure was measured on: it stands beside every one; and what a process itself has used of it."""

import os
import platform
import resource
from importlib.metadata import version
from typing import Any

from ordersaga.local.kafka_parts import KAFKA_VERSION

LIBRARIES = ("ordersaga", "kafka-python", "psycopg", "msgspec", "litestar", "uvicorn")


def machine(postgresql: str) -> dict[str, Any]:
    found = {name: version(name) for name in LIBRARIES}
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": found | {"postgresql": postgresql, "kafka": KAFKA_VERSION},
    }


def own_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
