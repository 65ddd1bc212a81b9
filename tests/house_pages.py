"""The rules of the house about its documents: links lead somewhere, decisions are numbered, every page is listed."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from tests.house_rules import Page

DECISION_SECTIONS = ("## Context", "## Decision", "## What we gave up")

_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_PAGE_NAME = re.compile(r"(?<![\w./<*-])(?:[\w-]+/)*[\w-]+\.md\b")
_DECISION = re.compile(r"docs/decisions/(\d{4})-[a-z0-9-]+\.md$")


def links_lead_somewhere(pages: Sequence[Page], *, existing: frozenset[str] = frozenset()) -> list[str]:
    """Each relative link names a file or folder of the project, and its anchor a heading. `existing` adds paths that
    are no pages (pictures, folders).
    """
    texts = {page.path: page.text for page in pages}
    known = {*texts, *existing, *(str(parent) for path in texts for parent in PurePosixPath(path).parents)}
    return [
        f"{page.path}: the link to {link} leads nowhere"
        for page in pages
        if page.path.endswith(".md")
        for link in _links(page.text)
        if not _leads_somewhere(page.path, link, known, texts)
    ]


def _links(text: str) -> Iterator[str]:
    return (found[1] or found[2] for found in _LINK.finditer(_CODE.sub("", text)))


def _leads_somewhere(path: str, link: str, known: set[str], texts: dict[str, str]) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    target, _, anchor = link.partition("#")
    file = _resolved(PurePosixPath(path).parent, target) if target else path
    return file in known and (not anchor or anchor in {_anchor(h) for h in _HEADING.findall(texts.get(file, ""))})


def _resolved(folder: PurePosixPath, target: str) -> str:
    parts: list[str] = []
    for part in (folder / target).parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts) or "."


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def pages_that_are_mentioned_exist(pages: Sequence[Page]) -> list[str]:
    """A document that is named in a comment or a text can be opened by whoever reads it. This rule's own test names
    some that cannot.
    """
    names = {PurePosixPath(page.path).name for page in pages}
    return [
        f"{page.path}: mentions {found[0]}, which is no page of the project"
        for page in pages
        if page.path != "tests/test_house_style.py"
        for found in _PAGE_NAME.finditer(page.text)
        if PurePosixPath(found[0]).name not in names
    ]


def decisions_are_numbered_and_complete(pages: Sequence[Page]) -> list[str]:
    decisions = sorted((int(found[1]), page) for page in pages if (found := _DECISION.search(page.path)))
    numbers = [number for number, _ in decisions]
    return [
        *([] if numbers == list(range(1, len(numbers) + 1)) else [f"docs/decisions: numbered {numbers}"]),
        *(
            f"{page.path}: has no section {section!r}"
            for _, page in decisions
            for section in DECISION_SECTIONS
            if section not in page.text
        ),
    ]


def every_page_is_listed(pages: Sequence[Page]) -> list[str]:
    """`docs/index.md` links to every page of the documentation."""
    index = next((page for page in pages if page.path == "docs/index.md"), Page("docs/index.md", ""))
    listed = {_resolved(PurePosixPath("docs"), link.partition("#")[0]) for link in _links(index.text)}
    return [
        f"{page.path}: is not listed in docs/index.md"
        for page in pages
        if page.path.startswith("docs/") and page.path.endswith(".md") and page.path not in {*listed, index.path}
    ]
