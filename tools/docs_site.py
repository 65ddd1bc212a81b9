"""What mkdocs does not know about our documentation: the order of the pages, links into the sources, and pictures.

The order stands in docs/index.md and nowhere else: a heading is a group, a listed link a page of it. A link that leaves
docs/ leads to a page that shows the file. Pictures are drawn while the site is built, so that it needs no script of
somebody else's. `mkdocs.yml` names this file; `make docs` builds the site.
"""

import posixpath
import re
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import mmdr
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
SHOWN = {".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".sql": "sql"}
"""How a file outside of docs/ is coloured."""

_ENTRY = re.compile(r"^(?:\*|\d+\.) \[([^\]]+)\]\(([^)#]+)\)", re.MULTILINE)
_SECTION = re.compile(r"^## +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
_FENCED = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = order((ROOT / "docs/index.md").read_text("utf-8"))
    fence = {"name": "mermaid", "class": "picture", "format": picture}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def order(index: str) -> list[dict[str, Any]]:
    """The navigation: what stands before the first heading is on top, each heading is a group."""
    first, *rest = _SECTION.split(index)
    nav: list[dict[str, Any]] = [{"Documentation": "index.md"}, *_entries(first)]
    for title, text in zip(rest[::2], rest[1::2], strict=True):
        nav.append({title: _entries(text)})
    return nav


def _entries(text: str) -> list[dict[str, Any]]:
    return [{title: _site_path(link, "docs")} for title, link in _ENTRY.findall(text)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files that pages link to beside docs/ become pages of their own, and those that these link to."""
    waiting = list(_linked_from(files))
    while waiting:
        path = waiting.pop()
        if files.get_file_from_path(_page_of(path)) is None:
            text = (ROOT / path).read_text("utf-8")
            files.append(_generated(config, path, text))
            if path.endswith(".md"):
                waiting += _outside(text, posixpath.dirname(path))
    return files


def _linked_from(files: Files) -> Iterator[str]:
    for file in files.documentation_pages():
        yield from _outside(file.content_string, posixpath.dirname(f"docs/{file.src_uri}"))


def _outside(text: str, folder: str) -> Iterator[str]:
    """The files beside docs/ that a text in this folder links to."""
    for part in _FENCED.split(text)[::2]:
        for found in _LINK.finditer(part):
            path = _resolved(folder, found[1])
            if not path.startswith("docs/") and (ROOT / path).is_file():
                yield path


def _generated(config: MkDocsConfig, path: str, text: str) -> File:
    if not path.endswith(".md"):
        fence = "`" * 4
        text = f"# {path}\n\n{fence}{SHOWN.get(PurePosixPath(path).suffix, 'text')}\n{text}\n{fence}\n"
    return File.generated(config, _page_of(path), content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    del config, files
    place = page.file.src_uri
    folder = posixpath.dirname(_path_of(place))
    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(lambda found: _turned(found, folder, place), part) for part in parts[::2]]
    return "".join(parts)


def _turned(found: re.Match[str], folder: str, place: str) -> str:
    """The link as it has to be on the page at `place`, whose source stands in `folder`."""
    target = _site_path(found[1], folder)
    return f"{posixpath.relpath(target, posixpath.dirname(place) or '.')}{found[2] or ''}"


def _site_path(link: str, folder: str) -> str:
    """Where on the site that is to which a text in this folder links."""
    path = _resolved(folder, link)
    return path.removeprefix("docs/") if path.startswith("docs/") else _page_of(path)


def _resolved(folder: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(folder, link))


def _page_of(path: str) -> str:
    """Of a file beside docs/."""
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def _path_of(place: str) -> str:
    """The file that a page shows: the inverse of `_page_of`, and docs/ for all others."""
    if not place.startswith("source/"):
        return f"docs/{place}"
    path = place.removeprefix("source/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def picture(source: str, *_: Any, **__: Any) -> str:
    """A diagram as an image of its own, whose style sheet is nobody else's, and its text for whoever cannot see it."""
    svg = mmdr.render(source, backend="merman").svg()
    image = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
    text = f"<details><summary>The same as text</summary><pre>{escape(source)}</pre></details>"
    return f'<div class="picture"><img alt="A diagram; its text is below." src="{image}">{text}</div>'
