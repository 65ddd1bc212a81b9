"""The whole platform in this process, over a bus in memory and a real database: orders come in over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from ordersaga import bootstrap, bootstrap_participants
from ordersaga.bus.memory import MemoryBus
from ordersaga.demo.client import Api
from ordersaga.local.ports import free_port
from ordersaga.process import Runnable
from ordersaga.settings import Settings
from tests.canaries import ADDRESS, CUSTOMER, FOOD
from tests.waiting import until

FULL = {f"participant_{name}": "full" for name in ("order", "user", "payment", "timer", "notification")}
AMOUNT_CENTS = 870


def settings_for(database_url: str, **more: Any) -> Settings:
    settings: Any = {**FULL, "http_port": free_port(), "participants_http_port": 0, **more}
    return Settings(database_url=SecretStr(database_url), **settings)


def order(customer_id: str = CUSTOMER) -> dict[str, Any]:
    """How the customer's id begins says which card that is."""
    details = {"foodItems": [{"name": FOOD, "price": 4.35, "quantity": 2}], "deliveryLocation": ADDRESS}
    return {"customer_id": customer_id, "order_details": details}


@contextmanager
def running(app: Runnable) -> Iterator[None]:
    app.start()
    try:
        yield
    finally:
        assert app.stop(9)


@contextmanager
def orchestrator(settings: Settings, bus: MemoryBus) -> Iterator[Api]:
    api = Api(f"http://127.0.0.1:{settings.http_port}")
    with running(bootstrap.orchestrator(settings, bus)):
        until(api.ready, "the orchestrator is ready")
        yield api


@contextmanager
def participants(settings: Settings, bus: MemoryBus) -> Iterator[None]:
    with running(bootstrap_participants.participants(settings, bus)):
        yield


def status_of(api: Api, saga_id: str) -> str:
    return str(api.saga(saga_id)["status"])
