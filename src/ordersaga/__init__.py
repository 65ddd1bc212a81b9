"""ordersaga: the create-order saga orchestrator."""

__version__ = "0.1.0"
