"""Five durable steps on Restate, in two forms: calls of a second service, and runs in the handler itself, as DBOS does
it. Served by `bench.peers`, in the environment that Restate's kit is installed in:
`python -m hypercorn work_restate:app`.
"""

from typing import Any

import restate

participant = restate.Service("Participant")
saga = restate.Service("Saga")


async def done(step: int, order: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "step": step, "order_id": order["order_id"]}


@participant.handler(name="Do")
async def do(context: restate.Context, asked: dict[str, Any]) -> dict[str, Any]:
    return await done(asked["step"], asked["order"])


@saga.handler(name="Calls")
async def calls(context: restate.Context, order: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for number in range(5):
        answer = await context.service_call(do, arg={"step": number, "order": order})
    return answer


@saga.handler(name="Runs")
async def runs(context: restate.Context, order: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for number in range(5):
        answer = await context.run_typed(f"step {number}", done, step=number, order=order)
    return answer


app = restate.app([participant, saga])
