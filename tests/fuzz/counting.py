"""How much is tried: little in `make test`, much more in `make ci`; and how many cases there were, for whoever asks."""

import sys
from collections import Counter

from hypothesis import HealthCheck, settings

LITTLE, MUCH = 60, 1_000
MANY = 300


def tried(cases: int) -> settings:
    return settings(max_examples=cases, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def tell(what: str, seen: Counter[str], *outcomes: str) -> None:
    """And each of the outcomes came about, where so many were tried that it is not a matter of luck."""
    found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(seen.items()))
    sys.stdout.write(f"fuzz of {what}: {seen.total()} cases; {found}\n")
    if seen.total() >= MANY:
        assert all(seen[outcome] for outcome in outcomes), f"of {', '.join(outcomes)} not all came about"
