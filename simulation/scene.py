"""What a simulated afternoon is about: who does what, what can go wrong besides, and what must hold in the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Scene:
    name: str
    act: Callable[[Any], Callable[[], None]]
    """For a world: what one person does in it, once for each saga that is wanted."""
    rules: Callable[[Any, Any], list[str]]
    """(world, saga) -> what does not hold of it, beside the rules of every saga."""
    kinds: Mapping[str, float]
    """How often each kind of trouble happens where it may, in a run that has it."""
    may_be_bare: bool = True
    """Whether there are bare services that know what is asked of them."""
