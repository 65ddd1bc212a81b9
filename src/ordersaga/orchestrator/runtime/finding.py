"""What a doctor says of one thing: that it is well, or what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`cure` is empty where all is well."""

    what: str
    said: str
    cure: str = ""

    @property
    def well(self) -> bool:
        return not self.cure

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        yield f"{'ok   ' if self.well else 'WRONG'}  {self.what:13} {self.said}"
        if not self.well:
            yield f"       -> {self.cure}"
