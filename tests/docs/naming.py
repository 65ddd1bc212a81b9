"""Whether a command that a page names could be typed at all: its target, its program, its options exist.

For what cannot be run in a test, and for commands in the middle of a sentence. What they do is not looked at.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import lru_cache

from tests.house_rules import ROOT, Page
from tools.reference import commands

_IN_SENTENCE = re.compile(r"`((?:ordersaga|make|python -m)\s[^`]+)`")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"[A-Z]{2,}$|\.\.\.")


def in_sentences(page: Page) -> Iterator[str]:
    """Commands in the text of a page, beside its blocks."""
    for found in _IN_SENTENCE.finditer(_FENCED.sub("", page.text)):
        yield " ".join(found[1].split())


def complaint_about(command: str) -> str | None:
    """What is wrong with it; None where nothing is. Programs of others are believed."""
    words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
    match words:
        case ["make", *targets]:
            missing = [one for one in targets if one not in _targets()]
            return f"there is no target {missing[0]}" if missing else None
        case ["python", "-m", module, *_]:
            exists = _PLACEHOLDER.search(module) or importlib.util.find_spec(module) is not None
            return None if exists else f"there is no module {module}"
        case ["ordersaga", *rest]:
            return _about_ours(rest)
    return None


@lru_cache(maxsize=1)
def _targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@lru_cache(maxsize=1)
def _ours() -> dict[str, frozenset[str]]:
    """The options of each command, by how it is typed."""
    return {
        name: frozenset(option for one in command.params for option in (*one.opts, *one.secondary_opts)) | {"--help"}
        for name, command in commands()
    }


def _about_ours(words: list[str]) -> str | None:
    if words[:1] in (["--help"], ["--install-completion"], ["COMMAND"]):
        return None
    for length in (2, 1):
        options = _ours().get(" ".join(["ordersaga", *words[:length]]))
        if options is not None:
            wrong = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
            return f"it has no option {wrong[0]}" if wrong else None
    groups = {name.split()[1] for name in _ours()}
    return None if words[0] in groups and len(words) == 1 else f"there is no command {' '.join(words[:2])}"
