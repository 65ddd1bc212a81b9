"""Times on the wire: ISO 8601, with `Z` or an offset, or, from existing services, without a zone, which means UTC."""

from datetime import UTC, datetime

from ordersaga.wire.errors import WireError


def parse_time(text: str, field: str) -> datetime:
    """Aware UTC. Raises `WireError` for what is no time."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WireError(field, f"{text[:40]!r} is not an ISO 8601 time") from None


def time_text(time: datetime) -> str:
    """As we write it: UTC with `Z`."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
