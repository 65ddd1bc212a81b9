"""How long to wait before trying again: doubling, capped, with a jitter that is derived and not drawn, so that a
decision stays a function.
"""

from uuid import UUID
from zlib import crc32


def backoff_seconds(saga_id: UUID, step: str, attempt: int, first_seconds: float, max_seconds: float) -> float:
    """The wait after `attempt` (1 is the first) of `step`: between 75 and 100 % of `first_seconds` doubled for each
    attempt before it.
    """
    full = min(max_seconds, first_seconds * 2.0 ** min(attempt - 1, 30))
    share = crc32(f"{saga_id}/{step}/{attempt}".encode()) / 0xFFFFFFFF
    return full * (0.75 + 0.25 * share)
