"""What a log line says about the message that it concerns, as far as the message's headers tell."""

from ordersaga.bus.protocol import Headers

_NAMES = {"ce_correlationid": "saga_id", "ce_type": "type", "ce_id": "message_id"}
_CHARS_MAX = 100


def about(headers: Headers) -> dict[str, str]:
    """They are a stranger's text: as much of each as an id has. Empty where nothing is said, as by a bare service."""
    named = ((_NAMES.get(name), value) for name, value in headers)
    return {name: value.decode("utf-8", "replace")[:_CHARS_MAX] for name, value in named if name}
