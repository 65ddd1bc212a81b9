"""`ordersaga demo`: orders on a platform of your own, in one command.

Places a few orders, tells each step as it happens, kills the orchestrator in the middle of one and shows that it goes
on. Then it stays, for you to place orders yourself, until Ctrl-C; with `--exit` it ends by itself, and with `--json`
the last line of standard output is one line of JSON.
"""

import json
import select
import shutil
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

from ordersaga.demo.client import FINAL, Api, Unanswered
from ordersaga.demo.scenes import LONGER_WINDOW_SECONDS, SCENES, Scene, order_of
from ordersaga.demo.stage import OneProcess, RealParts, Stage
from ordersaga.demo.telling import Teller
from ordersaga.interrupting import interrupted_by_signals

SCENE_SECONDS = 60.0
CRASHES_MAX = 10


def main(*, exits: bool = False, as_json: bool = False, kafka: bool = False) -> int:
    """Returns the exit code: 0 only if each order ended as it should."""
    begun = monotonic()
    orders: list[dict[str, Any]] = []
    interrupted = Event()
    with ExitStack() as at_end:  # which goes on where one of these fails
        at_end.enter_context(interrupted_by_signals(interrupted.set))
        directory = Path(tempfile.mkdtemp(prefix="ordersaga-demo-"))
        at_end.callback(shutil.rmtree, directory, ignore_errors=True)
        # Servers that were started as root run as somebody else, who has to get in.
        directory.chmod(0o755)
        stage: Stage = RealParts(directory) if kafka else OneProcess(directory)
        at_end.callback(stage.stop)
        teller = Teller(Api(stage.url))
        at_end.callback(teller.stop)
        try:
            teller.say(f"Starting {stage.title} ...")
            stage.start()
            teller.say(f"Ready after {monotonic() - begun:.1f} s: {stage.url} (data and logs: {directory})")
            teller.start()
            orders = [_play(scene, stage, teller) for scene in SCENES]
            if not exits:
                _stay(stage, teller, interrupted)
        except KeyboardInterrupt:
            teller.say("\nEnding.")
    ok = len(orders) == len(SCENES) and all(order["ok"] for order in orders)
    if as_json:
        print(json.dumps({"ok": ok, "seconds": round(monotonic() - begun, 1), "orders": orders}), flush=True)
    elif exits:
        teller.say("\nEach order ended as it should." if ok else "\nNot every order ended as it should.")
    return 0 if ok else 1


def _play(scene: Scene, stage: Stage, teller: Teller) -> dict[str, Any]:
    teller.say(f"\n{scene.title[0].upper()}{scene.title[1:]}")
    api = Api(stage.url)
    saga_id = _placed(api, scene, teller)
    if scene.crash:
        for _ in range(CRASHES_MAX):
            if _crash_in_the_middle(saga_id, stage, teller):
                break
            saga_id = _placed(api, scene, teller)
    if scene.accepted or scene.cancelled:
        _acted_upon(scene, saga_id, stage, teller)
    return _result(scene, saga_id, teller)


def _acted_upon(scene: Scene, saga_id: str, stage: Stage, teller: Teller) -> None:
    """What people do once the order is confirmed."""
    with suppress(TimeoutError):
        saga = teller.ended(saga_id, "COMPLETED", SCENE_SECONDS)
        if saga["status"] != "COMPLETED":
            return
        if scene.accepted:
            Api(stage.orders_url).accept(saga["order_id"], "runner-7")
        if scene.cancelled:
            try:
                Api(stage.url).cancel(saga_id, "changed my mind")
                teller.say("             the customer asks to cancel")
            except Unanswered as error:
                teller.say(f"             the customer asks to cancel, and is refused: {error.detail}")


def _placed(api: Api, scene: Scene, teller: Teller) -> str:
    saga_id = api.place(order_of(scene.customer_id))
    teller.follow(saga_id)
    return saga_id


def _crash_in_the_middle(saga_id: str, stage: Stage, teller: Teller) -> bool:
    """Kill the orchestrator while the saga is under way; False where the saga was faster."""
    api = Api(stage.url)
    saga = api.saga(saga_id)
    while saga["status"] not in FINAL and len(saga["steps"]) < 2:
        saga = api.saga(saga_id)
    stage.crash()
    teller.say(f"             kill -9 at {saga['current_step']} ({saga['status']})")
    begun = monotonic()
    stage.restart()
    teller.say(f"             started again after {monotonic() - begun:.1f} s")
    return saga["status"] not in FINAL


def _result(scene: Scene, saga_id: str, teller: Teller) -> dict[str, Any]:
    try:
        saga = teller.ended(saga_id, scene.status, SCENE_SECONDS)
        if scene.accepted:
            teller.accepted(saga_id, SCENE_SECONDS)
    except TimeoutError as error:
        teller.say(f"  {error}")
        saga = {"status": "UNKNOWN"}
    status, reason = saga["status"], saga.get("reason")
    ok = (status, reason) == (scene.status, scene.reason)
    return {"ok": ok, "saga_id": saga_id, "status": status, "reason": reason, "milliseconds": saga.get("milliseconds")}


def _stay(stage: Stage, teller: Teller, interrupted: Event) -> None:
    teller.say(
        f"\nPlace an order yourself:\n\n  curl -s {stage.url}/orders -H 'content-type: application/json' \\\n"
        f"       -d '{json.dumps(order_of('alice'))}'\n\n"
        f"It is cancelled {LONGER_WINDOW_SECONDS} s after it is confirmed, since no runner takes it.\n"
        f"The API is described at {stage.url}/schema\n"
        "c and Enter kills the orchestrator in the middle of an order and starts it again;\n"
        "Ctrl-C ends the demo and removes its data."
    )
    while not interrupted.is_set():
        if _key_pressed() == "c":
            _play(
                Scene(title="killed in the middle", customer_id="carol", status="COMPLETED", crash=True), stage, teller
            )


def _key_pressed() -> str:
    """What was typed within a second; nothing where there is no terminal to type at."""
    if not sys.stdin or not sys.stdin.isatty():
        sleep(1)
        return ""
    readable, _, _ = select.select([sys.stdin], [], [], 1)
    return sys.stdin.readline().strip().lower() if readable else ""
