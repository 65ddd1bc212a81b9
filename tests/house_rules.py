"""The rules of the house that no linter knows, each a function from what was read to a list of complaints.

A complaint is one line, `path:line: what is wrong`. The rules know what they apply to; `test_house_style.py` runs each
over the project, where it must find nothing, and over a planted violation, which it must find. They read text and
syntax only: what is assembled while the program runs escapes them.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
CORE_FUNCTION_LINES_MEDIAN_BELOW = 10

LONG_FILES: dict[str, str] = {}
"""Files that may be longer, each with the reason."""
LONG_FUNCTIONS: dict[str, str] = {}
"""`path::function` that may be longer, each with the reason."""
WAITING_TESTS: dict[str, str] = {
    "tests/faults/lasting.py": "a fault lasts for a time",
}
"""Test files that may call `sleep`, each with the reason: the time itself is what they are about."""

CORE = "src/ordersaga/orchestrator/core/"
PURE = ("src/ordersaga/wire/", CORE, "src/ordersaga/orchestrator/sagas/")
PURE_MAY_IMPORT = frozenset(
    "__future__ abc base64 collections copy dataclasses datetime decimal enum fractions functools hashlib itertools"
    " json math msgspec operator ordersaga re string struct types typing unicodedata uuid zlib".split()
)
IMPURE_NAMES = frozenset("now utcnow today uuid1 uuid4 getnode open print input breakpoint".split())
KEEPS_SQL_IN_FILES = ("src/ordersaga/orchestrator/store/", "src/ordersaga/participants/", "src/ordersaga/delivery/")
REFUSED_NAMES = frozenset("util utils common helper helpers base manager managers misc".split())

HOSTS_ALLOWED = (
    "localhost",
    "example.com",
    "example.org",
    "example.net",
    "www.apache.org",
    "maven.apache.org",  # an XML name, never fetched
    "www.w3.org",
    "json-schema.org",
    "spec.openapis.org",
    "keepachangelog.com",
    "semver.org",
)
_LEFT_OUT = {".git", ".venv", "__pycache__", ".cache", "build", "dist", "node_modules"}
_READ = frozenset([*".py .md .toml .txt .sql .yml .yaml .xml .json .js .css .html .sh .cfg .properties".split(), ""])


@dataclass(frozen=True)
class Page:
    """One text file of the project; `path` is relative to its root, with slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> Sequence[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    @property
    def is_source(self) -> bool:
        return self.is_python and self.path.startswith("src/")


Rule = Callable[[Sequence[Page]], list[str]]


def project_pages(root: Path = ROOT) -> list[Page]:
    """Every text file that the project keeps; not what git ignores."""
    return [Page(path.relative_to(root).as_posix(), path.read_text("utf-8")) for path in sorted(_files(root))]


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in _LEFT_OUT or path.name.endswith((".egg-info", "_cache")) or path.name == ".hypothesis":
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.suffix in _READ:
            yield path


def files_are_short(pages: Sequence[Page], *, allowed: dict[str, str] = LONG_FILES) -> list[str]:
    """A file holds one idea. An exception that is no longer needed is a complaint, too."""
    lengths = {page.path: page.text.count("\n") for page in pages if page.is_source}
    return _too_long(lengths, FILE_LINES_MAX, allowed)


def functions_are_short(pages: Sequence[Page], *, allowed: dict[str, str] = LONG_FUNCTIONS) -> list[str]:
    lengths = {
        f"{page.path}::{function.name}": _length(function)
        for page in pages
        if page.is_source or page.path.startswith("bench/")
        for function in _functions(page)
    }
    return _too_long(lengths, FUNCTION_LINES_MAX, allowed)


def _too_long(lengths: dict[str, int], lines_max: int, allowed: dict[str, str]) -> list[str]:
    over = {name: lines for name, lines in lengths.items() if lines > lines_max}
    return [
        *(f"{name}: {lines} lines, at most {lines_max}" for name, lines in over.items() if name not in allowed),
        *(f"{name}: is listed as long, and is not" for name in allowed if name not in over),
    ]


def core_functions_are_mostly_tiny(pages: Sequence[Page]) -> list[str]:
    lengths = [_length(f) for page in pages if page.is_python and page.path.startswith(CORE) for f in _functions(page)]
    if not lengths or median(lengths) < CORE_FUNCTION_LINES_MEDIAN_BELOW:
        return []
    return [f"{CORE}: the median function has {median(lengths)} lines, not under {CORE_FUNCTION_LINES_MEDIAN_BELOW}"]


def _functions(page: Page) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in page.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def modules_are_named_for_their_job(pages: Sequence[Page]) -> list[str]:
    return [
        f"{page.path}: a module is named for its job, not {word!r}"
        for page in pages
        if page.is_python
        for part in Path(page.path).with_suffix("").parts
        for word in part.split("_")
        if word in REFUSED_NAMES
    ]


def modules_say_what_they_are(pages: Sequence[Page]) -> list[str]:
    return [
        f"{page.path}:1: no docstring that says the concept, the promise and what it does not promise"
        for page in pages
        if page.is_source and page.text.strip() and not ast.get_docstring(page.tree)
    ]


def waits_are_on_conditions(pages: Sequence[Page], *, allowed: dict[str, str] = WAITING_TESTS) -> list[str]:
    """A sleep is too short on a busy machine and too long on all others."""
    return [
        f"{page.path}:{node.lineno}: waits for time to pass; wait on a condition, with a bound"
        for page in pages
        if page.is_python and page.path.startswith("tests/") and page.path not in allowed
        for node in page.nodes
        if isinstance(node, ast.Call) and _name_of(node.func) == "sleep"
    ]


def pure_packages_read_nothing(pages: Sequence[Page]) -> list[str]:
    """Core, sagas and wire do no I/O, read no clock and draw no random number: what they may import is listed, and of
    `datetime` and `uuid` they use the types and what derives, never what reads the clock or draws.
    """
    return [
        complaint
        for page in pages
        if page.is_python and page.path.startswith(PURE)
        for node in page.nodes
        for complaint in _impurities(page.path, node)
    ]


def _impurities(path: str, node: ast.AST) -> Iterator[str]:
    for module in _imported_modules(node):
        if module.split(".")[0] not in PURE_MAY_IMPORT:
            yield f"{path}:{node.lineno}: imports {module}, which a pure package does not"  # type: ignore[attr-defined]
    if isinstance(node, ast.Attribute | ast.Name) and _name_of(node) in IMPURE_NAMES and _is_read(node):
        yield f"{path}:{node.lineno}: {ast.unparse(node)} reads or draws something; a pure package is told it"
    if isinstance(node, ast.ImportFrom):
        for name in node.names:
            if name.name in IMPURE_NAMES:
                yield f"{path}:{node.lineno}: imports {name.name}, which reads or draws something"


def _is_read(node: ast.Attribute | ast.Name) -> bool:
    """Whether it stands for the library's function; a plain `now` is a parameter's name, `datetime.now` is a clock."""
    if isinstance(node, ast.Name):
        return node.id not in {"now", "today", "utcnow"}
    return _name_of(node.value) in {"datetime", "date", "time", "uuid", "builtins", "Path"}


def _imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []


def _name_of(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


_SQL = re.compile(
    r"\s*(select\s.*\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s"
    r"|(create|alter|drop)\s+(table|index|type|schema)\s|truncate\s+\w)",
    re.IGNORECASE | re.DOTALL,
)


def sql_stands_in_sql_files(pages: Sequence[Page]) -> list[str]:
    return [
        f"{page.path}:{line}: SQL in Python; a named statement in a .sql file can be read, explained and counted"
        for page in pages
        if page.is_python and page.path.startswith(KEEPS_SQL_IN_FILES)
        for line, text in _strings(page)
        if _SQL.match(text)
    ]


def _strings(page: Page) -> Iterator[tuple[int, str]]:
    """Every string but those that stand alone, which are docstrings; what an f-string fills in reads as `x`."""
    alone = {id(node.value) for node in page.nodes if isinstance(node, ast.Expr)}
    for node in page.nodes:
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(n.value) if isinstance(n, ast.Constant) else "x" for n in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


_ADDRESS = re.compile(r"\b(?:https?|ftp|git\+\w+)://(?:[^\s/@\"'`]*@)?([A-Za-z0-9.-]+\.[A-Za-z]{2,}|localhost)")
_DOWNLOAD = re.compile(r"--(?:(?:extra-)?index-url|find-links|trusted-host|hash=)|\bregistry\s*=")


def nothing_is_fetched_from_a_named_host(pages: Sequence[Page]) -> list[str]:
    """Where packages come from is the machine's business: no address in the project but the few that are listed, none
    of which is a package registry.
    """
    return _matches(pages, _ADDRESS, "an address: {}", allowed=_is_allowed_host) + _matches(
        pages, _DOWNLOAD, "says where packages come from: {}"
    )


def _is_allowed_host(found: re.Match[str]) -> bool:
    host = found[1].rstrip(".")
    return host in HOSTS_ALLOWED or host.endswith((".example", ".test", ".invalid", ".localhost"))


_MACHINE = re.compile(r"(?<![\w.}\])])/(?:home|root|work|Users)/")


def no_path_belongs_to_one_machine(pages: Sequence[Page]) -> list[str]:
    return _matches(pages, _MACHINE, "a path of one machine: {}")


_LEFT_UNDONE = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b")


def nothing_is_left_for_later(pages: Sequence[Page]) -> list[str]:
    """What is not done is a known flaw, on the page of that name, or it is done."""
    return _matches(pages, _LEFT_UNDONE, "{}: do it, or say it on the page of known flaws")


def _matches(
    pages: Iterable[Page],
    pattern: re.Pattern[str],
    complaint: str,
    *,
    allowed: Callable[[re.Match[str]], bool] = lambda _: False,
) -> list[str]:
    return [
        f"{page.path}:{page.text.count(chr(10), 0, found.start()) + 1}: {complaint.format(found[0])}"
        for page in pages
        for found in pattern.finditer(page.text)
        if not allowed(found)
    ]
