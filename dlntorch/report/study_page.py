"""The figures and the page of a study: one HTML file with everything inside, which works without a network.

On screen the plots are interactive; in print, without scripts, and where plotly is not installed, the page shows the
same figures as pictures.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from dlntorch.report.chart import Chart
from dlntorch.report.chart_interactive import interactive_html, plotly_available, plotly_script
from dlntorch.report.chart_static import draw_chart
from dlntorch.report.page import page_html, picture_html
from dlntorch.report.study_figures import study_charts
from dlntorch.report.style import save_figure
from dlntorch.store.folder import atomic_write
from dlntorch.studies.base import Claim, Verdict
from dlntorch.studies.runner import StudyResult, shown_side

__all__ = ["STUDY_CSS", "verdict_words", "write_study_report"]

STUDY_CSS = """<style>
main > section.figures { display: block; }
.figures figure { margin: 1.5rem 0 2.5rem; }
.figures h3 { font-size: 1.02rem; margin: 0 0 .35rem; }
.figures h4 { font-size: .95rem; font-weight: 600; margin: 0; }
.plots { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem; max-width: 48rem; }
@media (min-width: 48rem) { .plots.several { grid-template-columns: repeat(2, minmax(0, 1fr)); max-width: none; } }
@media (min-width: 72rem) { .plots.three { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
figure img.static { max-width: 60rem; }
.js img.static { display: none; }
main > section.verdicts { max-width: none; }
.verdicts .verdict { white-space: nowrap; font-weight: 600; }
.verdicts tr.bad .verdict { background: #fbeeee; color: #8a1c1c; }
.verdicts tr.open .verdict { background: #f4f4f7; }
.verdicts td.rule { color: #555; font-size: .88rem; }
@media (max-width: 36rem) {
  .verdicts tr { grid-template-columns: 1fr 1fr; }
  .verdicts th[scope=row], .verdicts td.rule { grid-column: 1 / -1; }
  .verdicts td.number, .verdicts td.verdict { text-align: left; }
  .verdicts td[data-name]::before { content: attr(data-name) ": "; color: #555; font-weight: 400; }
  .verdicts td.verdict { grid-column: 1 / -1; }
}
@media print {
  .plots, .figures h3 { display: none; } /* the pictures have titles */
  .js img.static { display: block; }
  figure img.static { max-width: 100%; max-height: 21cm; }
  .verdicts table { font-size: .85rem; }
  .verdicts tr.bad .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
</style>"""

_MARK_SCRIPTS = "<script>document.documentElement.classList.add('js')</script>"


def write_study_report(result: StudyResult) -> Path:
    """Write ``figures/*.png``, ``figures/*.pdf`` and ``report.html`` into the study's folder; returns the page."""
    charts = study_charts(result.name, result.rows, result.settings)
    images: dict[str, bytes] = {}
    for chart in charts:
        images[chart.name] = save_figure(draw_chart(chart), result.folder / "figures" / f"{chart.name}.png", pdf=True)
    path = result.folder / "report.html"
    atomic_write(path, _page(result, charts, images).encode())
    return path


def verdict_words(result: StudyResult) -> str:
    """The verdicts in one sentence."""
    total = len(result.claims)
    parts = [f"{result.count(Verdict.CONFIRMED)} of {total} claims confirmed"]
    for verdict in (Verdict.NOT_CONFIRMED, Verdict.UNDECIDED):
        if result.count(verdict):
            parts.append(f"{result.count(verdict)} {verdict}")
    return ", ".join(parts)


def _page(result: StudyResult, charts: Sequence[Chart], images: Mapping[str, bytes]) -> str:
    interactive = plotly_available()
    bad = result.count(Verdict.NOT_CONFIRMED) > 0
    version = " Small version." if result.settings["small"] else ""
    note = (
        ""
        if interactive
        else "<p>The plots are pictures; <code>pip install 'dlntorch[studies]'</code> makes them interactive.</p>"
    )
    sections = [
        STUDY_CSS,
        _MARK_SCRIPTS + plotly_script() if interactive else "",
        f"<h1>{html.escape(result.name)}: {html.escape(result.study.summary)}</h1>",
        f'<p class="status{" bad" if bad else ""}"><strong>{html.escape(verdict_words(result))}.</strong>{version}</p>',
        "<section>" + "".join(f"<p>{html.escape(text)}</p>" for text in result.study.about) + note + "</section>",
        '<section class="figures"><h2>Figures</h2>',
        *(_figure_html(chart, images[chart.name], interactive) for chart in charts),
        "</section>",
        f'<section class="verdicts"><h2>Claims</h2>{claims_html(result.claims)}</section>',
        f"<section><h2>Settings</h2><pre>{html.escape(_yaml(result.settings))}</pre>"
        f"<p>{result.points} points, {len(result.rows)} rows in <code>data.csv</code>.</p></section>",
    ]
    return page_html(f"dlntorch study: {result.name}", sections)


def _yaml(settings: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, default_flow_style=None)


def _figure_html(chart: Chart, image: bytes, interactive: bool) -> str:
    return (
        f'<figure id="{chart.name}"><h3>{html.escape(chart.title)}</h3>'
        + (interactive_html(chart) if interactive else "")
        + picture_html(image, f"{chart.title}. {chart.caption}", "static")
        + f"<figcaption>{html.escape(chart.caption)}</figcaption></figure>"
    )


def claims_html(claims: Sequence[Claim]) -> str:
    """The table of verdicts."""
    lines = ["<table><thead><tr>"]
    lines += [f'<th scope="col">{name}</th>' for name in ("claim", "predicted", "measured", "verdict", "rule")]
    lines.append("</tr></thead><tbody>")
    classes = {Verdict.CONFIRMED: "", Verdict.NOT_CONFIRMED: ' class="bad"', Verdict.UNDECIDED: ' class="open"'}
    for claim in claims:
        lines.append(
            f'<tr{classes[claim.verdict]}><th scope="row">{html.escape(claim.claim)}</th>'
            f"{_side('predicted', claim.predicted)}{_side('measured', claim.measured)}"
            f'<td class="verdict">{html.escape(claim.verdict)}</td><td class="rule">{html.escape(claim.rule)}</td></tr>'
        )
    return "\n".join([*lines, "</tbody></table>"])


def _side(name: str, value: float | str | None) -> str:
    words = " words" if isinstance(value, str) else ""
    return f'<td class="number{words}" data-name="{name}">{html.escape(shown_side(value))}</td>'
