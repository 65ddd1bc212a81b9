"""The sagas, each a file. A new one is begun, found, compared and documented once it stands in `EVERY`."""

from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER

EVERY: tuple[Definition, ...] = (CREATE_ORDER, COMPLETE_ORDER)
