"""Tells on standard error what happens to each order, as it happens: a line per step."""

import sys
import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any, TextIO

from ordersaga.demo.client import FINAL, Api, Unanswered

EVERY_SECONDS = 0.02
STATUS, RUNNER = "status", "runner"
"""What is told of beside the steps."""
MARKS = {
    "DONE": "done",
    "REFUSED": "refused",
    "IN_DOUBT": "no answer",
    "UNDONE": "taken back",
    "SETTLED": "settled",
    "SKIPPED": "skipped",
}


class Teller:
    """Watches the sagas that it is told of, and those that somebody else places."""

    def __init__(self, api: Api, out: TextIO = sys.stderr) -> None:
        self._api = api
        self._out = out
        self._lock = threading.Lock()
        self._told: dict[str, dict[str, str]] = {}
        self._begun_at: dict[str, float] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        """Sagas as they are now; one that was seen in a final status may still leave it."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="teller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Also where it never began."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def say(self, text: str = "") -> None:
        with self._lock:
            print(text, file=self._out, flush=True)

    def follow(self, saga_id: str) -> None:
        with self._lock:
            self._told.setdefault(saga_id, {})
            self._begun_at.setdefault(saga_id, monotonic())

    def ended(self, saga_id: str, status: str, timeout_seconds: float) -> dict[str, Any]:
        """The saga in `status`, or in another from which it does not come there any more. Raises TimeoutError."""
        end = monotonic() + timeout_seconds
        while (saga := self._seen.get(saga_id)) is None or saga["status"] not in {status, *FINAL - {"COMPLETED"}}:
            if monotonic() > end or self._stop.wait(EVERY_SECONDS):
                raise TimeoutError(f"saga {saga_id} is not {status} after {timeout_seconds:.0f} s")
        return saga

    def accepted(self, saga_id: str, timeout_seconds: float) -> None:
        """Wait until a runner has it. Raises TimeoutError."""
        end = monotonic() + timeout_seconds
        while RUNNER not in self._told[saga_id]:
            if monotonic() > end or self._stop.wait(EVERY_SECONDS):
                raise TimeoutError(f"saga {saga_id} was not accepted within {timeout_seconds:.0f} s")

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self._look()
            except Unanswered:
                continue

    def _look(self) -> None:
        for saga in self._api.newest()[:20]:
            if saga["id"] not in self._told:
                self.say(f"\n{saga['id']}  somebody ordered")
                self.follow(saga["id"])
        for saga_id in [one for one in self._told if self._may_move(one)]:
            self._tell(saga_id, self._api.saga(saga_id))

    def _may_move(self, saga_id: str) -> bool:
        saga = self._seen.get(saga_id)
        return saga is None or saga["status"] not in FINAL or (saga["status"] == "COMPLETED" and not saga["accepted"])

    def _tell(self, saga_id: str, saga: Mapping[str, Any]) -> None:
        milliseconds = 1000 * (monotonic() - self._begun_at[saga_id])
        told = self._told[saga_id]
        for name, became in lines(saga):
            if told.get(name) != became:
                told[name] = became
                self.say(f"  {milliseconds:7.0f} ms  {name:<20} {became}")
        if saga["status"] in FINAL and told.get(STATUS) != saga["status"]:
            told[STATUS] = saga["status"]
            reason = f" because of {saga['reason']}: {saga['explanation']}" if saga.get("reason") else ""
            self.say(f"  {milliseconds:7.0f} ms  {saga['status']}{reason}")
        if saga["accepted"] and RUNNER not in told:
            told[RUNNER] = str(saga["runner_id"])
            self.say(f"  {milliseconds:7.0f} ms  accepted by {saga['runner_id']}")
        self._seen[saga_id] = {**saga, "milliseconds": round(milliseconds)}


def lines(saga: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each step that was begun, with what became of it in words."""
    found = []
    for step in saga.get("steps", ()):
        became = MARKS.get(step.get("became") or "", "asked")
        ids = ", ".join(value for effect in step.get("effects", ()) for value in effect.get("ids", {}).values())
        found.append((step["name"], f"{became} ({ids})" if ids and became == "done" else became))
    return found
