"""How much is tried: little in `make test`, much more in `make ci`; and how many cases there were, for whoever asks."""

import sys
from collections import Counter

from hypothesis import HealthCheck, settings

LITTLE, MUCH = 60, 1_000


def tried(cases: int) -> settings:
    return settings(max_examples=cases, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def tell(what: str, seen: Counter[str]) -> None:
    found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(seen.items()))
    sys.stdout.write(f"fuzz of {what}: {seen.total()} cases; {found}\n")
