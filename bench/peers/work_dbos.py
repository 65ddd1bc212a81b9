"""Five durable steps on DBOS: plain functions of one process, its state in PostgreSQL. Run by `bench.peers`, in the
environment that DBOS is installed in:

    python work_dbos.py IN_FLIGHT SECONDS        (DATABASE_URL)
"""

import asyncio
import json
import os
import resource
import sys
import time
from typing import Any

from dbos import DBOS

DBOS(
    config={
        "name": "bench",
        "system_database_url": os.environ["DATABASE_URL"],
        "application_version": "1",
        "run_admin_server": False,
        "log_level": "ERROR",
        "sys_db_pool_size": 20,
        "db_engine_kwargs": {"pool_pre_ping": False},  # one round trip less for each query
    }
)


@DBOS.step()
async def step(number: int, order: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "step": number, "order_id": order["order_id"]}


@DBOS.workflow()
async def saga(order: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for number in range(5):
        answer = await step(number, order)
    return answer


async def work(in_flight: int, seconds: float) -> dict[str, Any]:
    begun, took = time.perf_counter(), []
    cpu = time.process_time()

    async def place(place: int) -> None:
        number = 0
        while time.perf_counter() - begun < seconds:
            since = time.perf_counter()
            number += 1
            items = [{"name": "burrito", "price": 9.99, "quantity": 2}]
            await saga({"order_id": f"o-{place}-{number}", "customer_id": "c-123", "items": items})
            took.append(time.perf_counter() - since)

    await asyncio.gather(*(place(number) for number in range(in_flight)))
    elapsed = time.perf_counter() - begun
    took.sort()
    return {
        "per_second": round(len(took) / elapsed, 1),
        "p50_ms": round(took[len(took) // 2] * 1000, 1),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1),
        "count": len(took),
        "cpu_ms": round((time.process_time() - cpu) * 1000 / len(took), 2),
        "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    DBOS.launch()
    asyncio.run(work(8, 2.0))
    print("warm", flush=True)
    sys.stdin.readline()  # until whoever measures has looked at the clocks
    print(json.dumps(asyncio.run(work(int(sys.argv[1]), float(sys.argv[2])))), flush=True)
    os._exit(0)
