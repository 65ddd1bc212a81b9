"""What a figure was measured on: it stands beside every one; and what a process itself has used of it."""

import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ordersaga.local.kafka_parts import KAFKA_VERSION

LIBRARIES = ("ordersaga", "kafka-python", "psycopg", "msgspec", "litestar", "uvicorn")
FSYNCS, FSYNC_BYTES = 50, 8192


def machine(postgresql: str, directory: Path) -> dict[str, Any]:
    """`postgresql`: its version; `directory`: where its files are, or on the same disk: how long that takes to keep
    something is measured now.
    """
    found = {name: version(name) for name in LIBRARIES}
    return {
        "cores": cores(),
        "cores_of_container": cores_of_container(),
        "processor": processor(),
        "fsync_ms": fsync_ms(directory),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": found | {"postgresql": postgresql, "kafka": KAFKA_VERSION},
    }


def cores() -> int:
    """That this process may run on, which may be fewer than there are."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def cores_of_container(cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """So many cores' time a container is held to, whichever they are; None: to no less than there is, or it does not
    say.
    """
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / f"cpu/cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else round(int(quota) / int(period), 2)


def processor(told: Path = Path("/proc/cpuinfo")) -> str:
    """Its model, as far as it is told."""
    lines = told.read_text(errors="replace").splitlines() if told.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def fsync_ms(directory: Path) -> float:
    """Until a page of 8 kB is on the disk: the median of 50, each after the other, in a file that goes again."""
    took = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(FSYNCS):
            os.pwrite(file.fileno(), os.urandom(FSYNC_BYTES), 0)
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    return round(statistics.median(took) * 1e3, 3)


def own_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
