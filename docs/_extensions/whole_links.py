"""The site is whole: every link within it leads somewhere, and nothing is loaded from elsewhere; else the build fails.

A screen reader finds its way: headings have a level, sidebars a name, columns a title, and what scrolls sideways can be
reached with the keyboard.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

#: What a browser loads by itself, and the attribute that says from where.
_LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "object": "data"}


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names.update(value for key in ("id", "name") if (value := found.get(key)))
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in _LOADED and found.get(_LOADED[tag]):
            self.loaded.append(str(found[_LOADED[tag]]))


def unspoken(text: str) -> list[str]:
    """What of a page a screen reader could not say, one line each."""
    rules = {
        "a heading without its level": r'role="heading"(?![^>]*aria-level)',
        "a sidebar without a name": r"<aside(?![^>]*aria-label)",
        "a column without a title": r"<th[^>]*>\s*(<p>\s*</p>)?\s*</th>",
    }
    found = [wrong for wrong, pattern in rules.items() if re.search(pattern, text)]
    return found if "<h1" in text else [*found, "no first heading"]


def faults(site: Path) -> list[str]:
    """What is wrong with the pages below ``site``, one line each."""
    pages = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        here = file.relative_to(site)
        found += [
            f"{here} loads {url}" for url in page.loaded if urlsplit(url).scheme in ("http", "https") or url[:2] == "//"
        ]
        for url in [*page.links, *page.loaded]:
            parts = urlsplit(url)
            if parts.scheme or url.startswith("//"):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.exists():
                found.append(f"{here} refers to {url}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names:
                found.append(f"{here} refers to {url}, which has no such place")
    for style in site.rglob("*.css"):
        if re.search(r"url\(\s*['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")):
            found.append(f"{style.relative_to(site)} loads from elsewhere")
    return found


def _check(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        site = Path(app.outdir).resolve()
        wrong = faults(site)
        for file in sorted(site.rglob("*.html")):
            wrong += [f"{file.relative_to(site)} has {fault}" for fault in unspoken(file.read_text(encoding="utf-8"))]
        if wrong:
            raise ExtensionError("\n".join(wrong))


def _reach(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Let the keyboard reach code and tables, which scroll where they are wider than the window."""
    body = context.get("body")
    if body:
        body = body.replace("<pre>", '<pre tabindex="0">')
        context["body"] = body.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", _check)
    app.connect("html-page-context", _reach, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
