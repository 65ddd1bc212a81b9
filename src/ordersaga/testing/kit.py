"""What those who write a saga test it with, in one import: stories, and every interleaving.

    from ordersaga.testing.kit import FULL, Stage, given, must_hold

`given` tells a story sentence by sentence: pure, and time passes only where the story says so. `must_hold` explores
every interleaving of the saga with its participants within bounds. See docs/writing-a-saga.md for an example of each.
"""

from ordersaga.model.explore import Bounds, Found, explore
from ordersaga.model.stage import Rule, Said, Stage, few_attempts
from ordersaga.testing.story import BARE, FULL, NOON, SAGA_ID, Story, given

__all__ = [
    "BARE", "FULL", "NOON", "SAGA_ID", "Bounds", "Found", "Rule", "Said", "Stage", "Story", "explore", "few_attempts",
    "given", "must_hold",
]  # fmt: skip


def must_hold(stage: Stage, *, faults: int = 1, hands: int = 1, states_max: int = 1_000_000) -> Found:
    """Explore everything that can happen with so many faults and so many doings of people on one path. Raises
    `AssertionError` with the rule that is broken first and the shortest way to it.
    """
    found = explore(stage, Bounds(faults=faults, hands=hands, states_max=states_max))
    if found.violations:
        rule, path = found.violations[0]
        raise AssertionError("\n  ".join([f"{rule}. This is not so after:", *path]))
    assert found.complete, f"there are more than {states_max} states: take fewer faults or hands"
    return found
