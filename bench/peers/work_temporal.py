"""Five durable steps on Temporal: normal activities, so that each is durable before the next. Worker and starter in one
process. Run by `bench.peers`, in the environment that Temporal's kit is installed in:

    python work_temporal.py IN_FLIGHT SECONDS        (TEMPORAL_ADDRESS)

Tuned as one would: eager starts and activities, ten pollers of each kind, no sandbox.
"""

import asyncio
import json
import os
import resource
import sys
import time
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

NAMESPACE = "bench"
READY_SECONDS = 60.0


@activity.defn
async def step(number: int, order: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "step": number, "order_id": order["order_id"]}


@workflow.defn
class Saga:
    @workflow.run
    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for number in range(5):
            answer = await workflow.execute_activity(
                step, args=[number, order], start_to_close_timeout=timedelta(seconds=30)
            )
        return answer


async def connected() -> Client:
    """Once the namespace is there and served."""
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            client = await Client.connect(os.environ["TEMPORAL_ADDRESS"], namespace=NAMESPACE)
            await _register(client)
            async for _ in client.list_workflows("", page_size=1):
                break
            return client
        except (RPCError, RuntimeError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.5)


async def _register(client: Client) -> None:
    kept = Duration(seconds=86_400)
    asked = RegisterNamespaceRequest(namespace=NAMESPACE, workflow_execution_retention_period=kept)
    try:
        await client.workflow_service.register_namespace(asked)
    except RPCError as error:
        if "already" not in str(error).lower():
            raise


async def work(client: Client, in_flight: int, seconds: float, run: str) -> dict[str, Any]:
    begun, took = time.perf_counter(), []
    cpu = time.process_time()

    async def place(place: int) -> None:
        number = 0
        while time.perf_counter() - begun < seconds:
            since = time.perf_counter()
            number += 1
            items = [{"name": "burrito", "price": 9.99, "quantity": 2}]
            order = {"order_id": f"{run}-{place}-{number}", "customer_id": "c-123", "items": items}
            name = f"saga-{order['order_id']}"
            await client.execute_workflow(Saga.run, order, id=name, task_queue="saga", request_eager_start=True)
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


async def main() -> None:
    client = await connected()
    async with Worker(
        client,
        task_queue="saga",
        workflows=[Saga],
        activities=[step],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=2000,
        max_concurrent_workflow_tasks=256,
        max_concurrent_activities=256,
        max_concurrent_workflow_task_polls=10,
        max_concurrent_activity_task_polls=10,
    ):
        await work(client, int(sys.argv[1]), 3.0, "warm")
        print("warm", flush=True)
        sys.stdin.readline()  # until whoever measures has looked at the clocks
        print(json.dumps(await work(client, int(sys.argv[1]), float(sys.argv[2]), "run")), flush=True)
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
