"""The page of a run: one self-contained HTML file, without scripts and without anything fetched from elsewhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlntorch.report.data import RunData
from dlntorch.report.figures import RUN_FIGURES
from dlntorch.report.style import format_number
from dlntorch.run.quantities import Shown
from dlntorch.run.summary import Budget, EffectiveStart, NearestToTruth, Predicted, ReferenceValues, StepSizes, Summary

__all__ = [
    "figures_html",
    "one_line",
    "page_html",
    "picture_html",
    "render_page",
    "section_html",
    "table_html",
    "yaml_text",
]

Row = tuple[str, Any, str]

_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
       background: #fff; max-width: 76rem; margin: 0 auto; padding: 1rem; }
main > section { max-width: 50rem; }
main > section.figures, main > section.rows { max-width: none; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 2px solid #1a1a1a; padding-bottom: .15rem; }
p { margin: .5rem 0; overflow-wrap: anywhere; }
.status { border-left: .35rem solid #171446; padding: .35rem .75rem; background: #f4f4f7; }
.status.bad { border-left-color: #8a1c1c; background: #fbeeee; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); gap: 1.5rem 2rem;
           align-items: start; }
.figures h2 { grid-column: 1 / -1; margin-bottom: 0; }
figure { margin: 0; break-inside: avoid; }
figure img { display: block; width: 100%; max-width: 45rem; height: auto; }
figcaption { color: #444; font-size: .92rem; max-width: 42rem; margin-top: .3rem; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { border-bottom: 1px solid #d8d8d8; padding: .3rem .5rem; text-align: left; vertical-align: top; }
tbody th { font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
table.numbers { width: auto; font-size: .88rem; margin-bottom: 1rem; }
table.numbers tr > * { padding: .3rem .6rem; }
table.numbers thead th { vertical-align: bottom; }
table.numbers thead th + th { text-align: right; }
table.numbers tbody th { overflow-wrap: anywhere; min-width: 5rem; }
table.numbers td.words { text-align: right; }
td.words { text-align: left; white-space: normal; }
td.meaning { color: #333; overflow-wrap: anywhere; }
tr.largest th, tr.largest td { background: #fdf1e3; }
pre { background: #f6f6f6; padding: .75rem; overflow-x: auto; font-size: .85rem; line-height: 1.4; }
@media (max-width: 36rem) {
  body { padding: .75rem; }
  section > table, section > table > tbody { display: block; }
  section > table > thead { display: none; }
  section > table > tbody > tr { display: grid; grid-template-columns: 1fr auto; border-bottom: 1px solid #d8d8d8;
                                 padding: .25rem 0; }
  th, td { border: 0; padding: .05rem .25rem; overflow-wrap: anywhere; }
  td.number { white-space: normal; }
  td.meaning { grid-column: 1 / -1; font-size: .88rem; }
  figure img { width: calc(100% + 1.25rem); margin: 0 -.625rem; max-width: none; }
}
@media screen and (max-width: 56rem) {
  table.numbers, table.numbers > tbody { display: block; width: 100%; }
  table.numbers > thead { display: none; }
  table.numbers > tbody > tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr));
                               column-gap: 1rem; border-bottom: 1px solid #d8d8d8; padding: .35rem 0; }
  table.numbers > tbody > tr > * { display: flex; justify-content: space-between; gap: .5rem; border: 0;
                                   padding: .05rem .25rem; }
  table.numbers > tbody > tr > th { grid-column: 1 / -1; justify-content: start; }
  table.numbers > tbody > tr > *::before { content: attr(data-name); color: #444; font-weight: 400; text-align: left;
                                           white-space: normal; }
  table.numbers td.number { white-space: nowrap; overflow-wrap: normal; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  .figures { display: block; }
  figure { margin: 0 0 1rem; }
  figure img { max-width: 11.5cm; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; break-inside: avoid; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
  .status, tr.largest th, tr.largest td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def page_html(title: str, body: Iterable[str]) -> str:
    """A whole page around sections of HTML; ``title`` is escaped here, the sections by whoever made them."""
    name = html.escape(one_line(title))
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_CSS}</style>\n</head>\n"
    )
    return head + "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"


def table_html(head: Sequence[str], rows: Iterable[Row], largest: str | None = None) -> str:
    """A table of names, values and (where ``head`` names a third column) meanings, all escaped.

    Args:
        head: Titles of the two or three columns.
        rows: What to show.
        largest: The name of the row to mark.
    """
    lines = [
        "<table>",
        "<thead><tr>" + "".join(f'<th scope="col">{html.escape(h)}</th>' for h in head) + "</tr></thead>",
    ]
    lines.append("<tbody>")
    meanings = len(head) > 2
    for name, value, meaning in rows:
        words = isinstance(value, str)
        shown = value if words else format_number(value, 6)
        mark = ' class="largest"' if name == largest else ""
        lines.append(
            f'<tr{mark}><th scope="row">{html.escape(name)}</th>'
            f'<td class="number{" words" if words and len(shown) > 24 else ""}">{html.escape(one_line(shown))}</td>'
            + (f'<td class="meaning">{html.escape(one_line(meaning))}</td></tr>' if meanings else "</tr>")
        )
    return "\n".join([*lines, "</tbody>", "</table>"])


def render_page(data: RunData, images: Mapping[str, bytes]) -> str:
    """The page of a run.

    Args:
        data: The run.
        images: The PNG of each figure, by name.
    """
    summary = data.summary
    bad = data.result.status.ended_badly
    status = f"<strong>{html.escape(str(summary['status']))}</strong>: {html.escape(one_line(str(summary['reason'])))}."
    sections = [
        f"<h1>{html.escape(one_line(data.heading)).replace(' = ', '&nbsp;=&nbsp;')}</h1>",
        f'<p class="status{" bad" if bad else ""}">{status}</p>',
        "<section>" + "".join(f"<p>{html.escape(one_line(text))}</p>" for text in words(summary)) + "</section>",
        section_html("Result", table_html(("what", "value", "meaning"), result_rows(summary))),
        section_html("Error budget", table_html(("part", "norm", "meaning"), *budget_rows(summary))),
        section_html("What the steps did", table_html(("what", "value", "meaning"), effective_rows(summary))),
        figures_html(RUN_FIGURES, data.heading, images),
        section_html("Prediction and references", table_html(("what", "value", "meaning"), reference_rows(summary))),
        section_html("Step sizes", table_html(("what", "value", "meaning"), schedule_rows(summary))),
        section_html("Configuration", "<pre>" + html.escape(yaml_text(data.result.config)) + "</pre>"),
        section_html(
            "Versions",
            table_html(("package", "version"), [(k, str(v), "") for k, v in summary["versions"].items()]),
        ),
    ]
    return page_html(f"dlntorch: {data.heading}", sections)


def words(summary: Mapping[str, Any]) -> list[str]:
    """What a person should know first: which error dominates, what would help, which failure the run shows."""
    budget = summary["budget"]
    dominant = budget.get("dominant")
    lines: list[str] = []
    if dominant is not None:
        lines.append(
            f"The largest part of the error is {dominant.replace('_', ' ')}, {format_number(budget[dominant])}."
        )
    elif not summary.get("advice"):
        lines.append(f"The error budget is incomplete: {budget.get('dominant_reason', 'not computed')}.")
    if summary.get("advice"):
        lines.append(f"{_capital(str(summary['advice']))}.")
    cause = budget.get("cause")
    if cause and cause not in str(summary.get("advice")):
        lines.append(f"{_capital(str(cause))}.")
    lines += [f"{_capital(str(text))}." for text in summary.get("signatures", ())]
    return lines


def result_rows(summary: Mapping[str, Any]) -> list[Row]:
    """Steps, time, residual and distances."""
    rows: list[Row] = [
        ("steps", summary["steps"], f"SGD steps made, in {format_number(float(summary['wall_seconds']))} s")
    ]
    rows += _rows(Summary, summary)
    nearest = summary.get("nearest_to_truth")
    if nearest is not None:
        passed = ", which the run has passed" if nearest["passed"] else ""
        rows.append(("nearest to truth", nearest["distance"], f"at t = {format_number(nearest['time'])}{passed}"))
        rows += _rows(NearestToTruth, nearest)
    plan = summary.get("plan")
    if plan is not None:
        rows.append(
            ("asked accuracy", plan["accuracy"], f"of ‖ψ − W_p‖₂; {format_number(plan['error'])} was predicted")
        )
        met = plan["reached_reason"] if plan["met"] is None else "met" if plan["met"] else "missed"
        rows.append(("reached accuracy", plan["reached"], met))
    return rows


def budget_rows(summary: Mapping[str, Any]) -> tuple[list[Row], str | None]:
    """The three parts, and the displayed name of the largest."""
    budget = summary["budget"]
    dominant = budget.get("dominant")
    return _rows(Budget, budget), None if dominant is None else dominant.replace("_", " ")


def effective_rows(summary: Mapping[str, Any]) -> list[Row]:
    """The start that the steps amount to, and what it selects; none in a run folder of an earlier version."""
    effective = summary.get("effective", {})
    rows = _rows(EffectiveStart, effective)
    if "support_certified" in effective:
        certified = effective["support_certified"]
        word = "undecided" if certified is None else "yes" if certified else "no"
        why = effective.get("support_certified_reason") or "the run’s own dual vector proves the support"
        rows.append(("support certified", word, why))
    return rows


def reference_rows(summary: Mapping[str, Any]) -> list[Row]:
    """What the theory predicts, and what the run was compared with."""
    rows = _rows(Predicted, summary["predicted"]) + _rows(ReferenceValues, summary["references"])
    unique = summary["references"].get("unique")
    why = summary["references"].get("unique_reason", "")
    rows.append(("unique", "undecided" if unique is None else unique, why or "whether one vector alone attains it"))
    if "digits" in summary:
        why = summary.get("digits_reason") or summary["digits_warning"]
        why = why or f"decimal digits that the data must have; they have {summary['digits_of_data']}"
        rows.append(("digits", summary["digits"], why))
    notes = summary["references"].get("notes", {})
    return rows + [(f"note on {name}", "", str(text)) for name, text in notes.items()]


def schedule_rows(summary: Mapping[str, Any]) -> list[Row]:
    """The step sizes, the theorem's, and the certificate."""
    schedule = summary["schedule"]
    return [("schedule", str(schedule["name"]), ""), *_rows(StepSizes, schedule)]


def _rows(part: type, values: Mapping[str, Any]) -> list[Row]:
    """What a part of the summary has for the page."""
    return [(key.replace("_", " "), value, text) for key, value, text in Shown.all(part, values, "page")]


def section_html(title: str, body: str, kind: str = "") -> str:
    """A section with its title (escaped here) around HTML; ``kind`` is its class."""
    return f"<section{f' class={kind}' if kind else ''}>\n<h2>{html.escape(title)}</h2>\n{body}\n</section>"


def picture_html(image: bytes, alt: str, kind: str = "") -> str:
    """A PNG inside the page, with its size, so that nothing moves while it is decoded.

    Args:
        image: The PNG.
        alt: What it shows, for those who do not see it (escaped here).
        kind: Its class in the style sheet.
    """
    width, height = int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")  # PNG header
    style = f' class="{kind}"' if kind else ""
    return (
        f'<img{style} width="{width}" height="{height}" alt="{html.escape(one_line(alt), quote=True)}" '
        f'src="data:image/png;base64,{base64.b64encode(image).decode()}">'
    )


def figures_html(figures: Mapping[str, Any], heading: str, images: Mapping[str, bytes]) -> str:
    """The section of figures, each with its caption; ``figures`` has a title and a caption for every name."""
    parts = ['<section class="figures">', "<h2>Figures</h2>"]
    for name, image in images.items():
        figure = figures[name]
        picture = picture_html(image, f"{figure.title}. {heading}. {figure.caption}")
        parts.append(f'<figure id="{name}">{picture}<figcaption>{html.escape(figure.caption)}</figcaption></figure>')
    return "\n".join([*parts, "</section>"])


def _capital(text: str) -> str:
    word = text.split(" ", 1)[0]
    start = text[:1].upper() if word.isalpha() else text[:1]  # rank(A) keeps its small letter
    return start + text[1:].rstrip(".")


def one_line(text: str) -> str:
    """One line without control characters, which HTML does not allow even when escaped."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def yaml_text(config: Mapping[str, Any]) -> str:
    """A configuration as YAML, without characters that a page cannot show."""
    import yaml

    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True) if config else "(none saved)"
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
