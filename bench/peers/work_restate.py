"""Five durable calls to a second service on Restate. Served by `bench.peers`, in the environment that Restate's kit is
installed in: `python -m hypercorn work_restate:app`.
"""

from typing import Any

import restate

participant = restate.Service("Participant")
saga = restate.Service("Saga")


@participant.handler(name="Do")
async def do(context: restate.Context, asked: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "step": asked["step"], "order_id": asked["order"]["order_id"]}


@saga.handler(name="Calls")
async def calls(context: restate.Context, order: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for number in range(5):
        answer = await context.service_call(do, arg={"step": number, "order": order})
    return answer


app = restate.app([participant, saga])
