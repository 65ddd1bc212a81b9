"""Whether an output is the one that a page shows, but for what differs from run to run.

Ids differ, and are remembered: where a page shows an id for the first time, whatever id stands in its place is what the
page means by it from then on, in commands too. Times, durations, dates and ports of servers differ and are not looked
at. A line `...` stands for any lines, and `...` in a line for anything. Everything else has to be the same.
"""

import re
from dataclasses import dataclass, field

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_VARIES = re.compile(
    rf"(?P<id>\b(?:[a-z]+[-_])?(?:{_UUID}|[0-9a-f]{{32}})\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)?)?\b|\b\d\d:\d\d:\d\d\b)"
    r"|(?P<duration>\b\d+(?:\.\d+)? (?:ms|s|MiB)\b)"
    r"|(?P<server>\b127\.0\.0\.1:\d+\b)"
    r"|(?P<number>(?<=: )\d{3,}(?=,? *$)|\b\d+\.\d+\b)"
    r"|(?P<rest>\n\.\.\.\Z)"
    r"|(?P<lines>^\.\.\.$\n?)"
    r"|(?P<anything>\.\.\.)"
    r"|(?P<spaces> +)",
    re.MULTILINE,
)
_PATTERNS = {
    "time": r"(?:\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)?)?|\d\d:\d\d:\d\d)",
    "duration": r"\d+(?:\.\d+)? (?:ms|s|MiB)",
    "number": r"\d+(?:\.\d+)?",
    "server": r"127\.0\.0\.1:\d+",
    "rest": r"(?:\n[^\n]*)*",
    "lines": r"(?:[^\n]*(?:\n|\Z))*?",
    "anything": r"[^\n]*",
    "spaces": r" +",
}
_ID = rf"(?:[a-z]+[-_])?(?:{_UUID}|[0-9a-f]{{32}})"


@dataclass
class Ids:
    """What the ids on a page are in this run."""

    known: dict[str, str] = field(default_factory=dict)

    def typed(self, command: str) -> str:
        """The command with this run's ids."""
        return re.sub(_ID, lambda found: self.known.get(found[0], found[0]), command)

    def shown(self, came: str) -> str:
        """The output with the page's ids, where it has shown them already."""
        names = {one: name for name, one in self.known.items()}
        return re.sub(_ID, lambda found: names.get(found[0], found[0]), came)

    def fits(self, shown: str, came: str) -> bool:
        """Whether this came; if so, the ids in it are known from now on."""
        names: dict[str, str] = {}
        found = re.fullmatch(self._pattern(shown.rstrip("\n"), names), came.rstrip("\n"))
        if found is None:
            return False
        self.known.update({name: found[group] for name, group in names.items()})
        return True

    def _pattern(self, shown: str, names: dict[str, str]) -> str:
        parts, end = [], 0
        for varies in _VARIES.finditer(shown):
            parts += [re.escape(shown[end : varies.start()]), self._one(varies, names)]
            end = varies.end()
        return "".join([*parts, re.escape(shown[end:])])

    def _one(self, varies: re.Match[str], names: dict[str, str]) -> str:
        if varies.lastgroup != "id":
            return _PATTERNS[str(varies.lastgroup)]
        name = varies["id"]
        if name in self.known:
            return re.escape(self.known[name])
        if name in names:
            return f"(?P={names[name]})"
        names[name] = f"id{len(names)}"
        return f"(?P<{names[name]}>{_ID})"
