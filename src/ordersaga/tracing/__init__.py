"""Traces, for whoever looks at one order in a trace viewer (OpenTelemetry).

The trace context comes in with `POST /orders`, or begins there; the saga remembers it, and each message carries it. A
step is a span whose id follows from its command's and whose times are the saga's own: whichever process hears the
answer tells the same span, after a restart too. A batch concerns many traces: its span links to them, and is a child of
none.

Promise: names, ids and numbers only, nothing personal. Where tracing is off, nothing here runs. Not promised: that each
span arrives; they wait in memory for a collector, and are given up for one that does not take them.
"""

from ordersaga.tracing.spans import Tracing

__all__ = ["Tracing"]
