"""The page that lists all studies of one command."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from dlntorch.report.page import page_html, picture_html
from dlntorch.report.study_page import verdict_words
from dlntorch.store.folder import atomic_write
from dlntorch.studies.base import Verdict
from dlntorch.studies.runner import StudyResult

__all__ = ["write_index"]

_CSS = """<style>
main > section.studies { max-width: none; display: grid; gap: 1.5rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.studies article { border: 1px solid #d8d8d8; padding: .75rem; break-inside: avoid; min-width: 0; }
.studies h2 { margin: 0 0 .35rem; border: 0; }
.studies img { display: block; width: 100%; height: 12rem; object-fit: contain; object-position: left top; }
@media print { .studies { display: grid; grid-template-columns: 1fr 1fr; } .studies img { height: 5cm; } }
</style>"""


def write_index(results: Sequence[StudyResult], folder: Path) -> Path:
    """Write ``index.html`` with a picture, the verdicts and a link for each study; returns its path."""
    bad = sum(result.count(Verdict.NOT_CONFIRMED) for result in results)
    claims = sum(len(result.claims) for result in results)
    confirmed = sum(result.count(Verdict.CONFIRMED) for result in results)
    words = f"{confirmed} of {claims} claims confirmed, {bad} not."
    sections = [
        _CSS,
        "<h1>dlntorch: the studies</h1>",
        f'<p class="status{" bad" if bad else ""}"><strong>{words}</strong> Each study has a page of its own.</p>',
        '<section class="studies">',
        *(_card(result, folder) for result in results),
        "</section>",
    ]
    path = folder / "index.html"
    atomic_write(path, page_html("dlntorch: the studies", sections).encode())
    return path


def _card(result: StudyResult, folder: Path) -> str:
    pictures = sorted((result.folder / "figures").glob("*.png"), key=lambda path: (path.stem != result.name, path.stem))
    picture = ""
    if pictures:
        picture = picture_html(pictures[0].read_bytes(), f"first figure of {result.name}")
    link = html.escape((result.folder / "report.html").relative_to(folder).as_posix(), quote=True)
    return (
        f'<article><h2><a href="{link}">{html.escape(result.name)}</a></h2>'
        f"<p>{html.escape(result.study.summary)}</p>{picture}"
        f"<p><strong>{html.escape(verdict_words(result))}</strong>.</p></article>"
    )
