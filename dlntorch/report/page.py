"""The page of a run: one self-contained HTML file, without scripts and without anything fetched from elsewhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlntorch.report.data import RunData
from dlntorch.report.figures import RUN_FIGURES
from dlntorch.report.style import format_number

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

_PARTS = {
    "discretization": "gradient descent against the flow at the same time: ‖ψ_k − ψ(t)‖₂",
    "finite_time": "the flow at that time against its limit: ‖ψ(t) − ψ_α(∞)‖₂",
    "initialization": "the limit against the selected minimiser: ‖ψ_α(∞) − W_p‖₂",
}


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
        section_html(
            "What the steps did",
            table_html(("what", "value", "meaning"), effective_rows(summary) + update_rows(summary)),
        ),
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
        ("steps", summary["steps"], f"plain SGD steps, in {format_number(float(summary['wall_seconds']))} s"),
        ("time t", summary["time"], "Σ η, in the units of the flow θ̇ = −∇L(θ)"),
    ]
    rows += _known(
        summary,
        {
            "residual": "‖Aψ − y‖₂ / ‖y‖₂",
            "inconsistency": "distance of y from range(A): 0 where some vector interpolates",
            "l1_gap": "‖ψ‖₁ − min‖ψ‖₁",
            "distance_to_l1": "to the linear programme's vertex",
            "distance_to_selected": "to W_p, the minimiser that depth p selects",
            "distance_to_limit": "to the flow's limit ψ_α(∞) for this α",
            "distance_to_flow": "to the flow at the same time t",
            "distance_to_truth": "to the planted signal",
        },
    )
    nearest = summary.get("nearest_to_truth")
    if nearest is not None:
        passed = ", which the run has passed" if nearest["passed"] else ""
        rows.append(("nearest to truth", nearest["distance"], f"at t = {format_number(nearest['time'])}{passed}"))
        strength = nearest.get("lasso_strength")
        where = "" if strength is None else f", at λ = {format_number(strength)}"
        rows += _known(
            nearest, {"lasso_distance": f"smallest distance of the lasso’s path to the planted signal{where}"}
        )
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
    rows = _known(budget, _PARTS)
    dominant = budget.get("dominant")
    return rows, None if dominant is None else dominant.replace("_", " ")


#: The numbers of ``summary["update"]``, in words.
UPDATE_MEANINGS = {
    "predicted_gain_mean": "mean −ln(α_eff²/α²) that is predicted",
    "predicted_tilt": "largest tilt that is predicted",
    "distance_to_predicted": "of the run to the predicted end",
    "optimality_violation": "by how much the predicted end’s optimality conditions are missed, relative",
    "mean_distance_to_predicted": "of the mean of ψ over the second half of the run to the predicted end",
    "mean_standard_error": "norm of that mean’s standard errors",
    "mean_in_standard_errors": "largest deviation of that mean on the support, in its standard errors",
    "critical_eta": "2/max_t λ_max(∇²L) along the flow: the step size beyond which descent leaves it",
}


def effective_rows(summary: Mapping[str, Any]) -> list[Row]:
    """The start that the steps amount to, and what it selects; none in a run folder of an earlier version."""
    effective = summary.get("effective", {})
    rows = _known(
        effective,
        {
            "gain_min": "smallest −ln(α_eff²/α²) over the coordinates: what the steps took from α",
            "gain_max": "largest −ln(α_eff²/α²)",
            "gain_mean": "mean −ln(α_eff²/α²)",
            "tilt": "largest part of ν that the steps moved outside range(Aᵀ)",
            "weight_min": "smallest weight that the steps gave the ℓ1 norm (1: none)",
            "weight_max": "largest weight",
            "weight_spread": "largest over smallest weight",
            "distance_to_limit": "to the limit of the flow from the effective start",
            "distance_to_weighted": "to the minimiser of the ℓ1 norm with these weights",
            "kappa_threshold": "κ up to which the steps provably select the ℓ1-minimiser",
        },
    )
    if "support_certified" in effective:
        certified = effective["support_certified"]
        word = "undecided" if certified is None else "yes" if certified else "no"
        why = effective.get("support_certified_reason") or "the run’s own dual vector proves the support"
        rows.append(("support certified", word, why))
    return rows


def update_rows(summary: Mapping[str, Any]) -> list[Row]:
    """What the theory of the optimizer predicts, or why nothing; none of plain SGD, and of a folder of an earlier version."""
    update = summary.get("update", {})
    known = {key: text for key, text in UPDATE_MEANINGS.items() if update.get(key) is not None}
    rows = _known(update, known)
    if update and (rows or summary["optimizer"]["name"] != "SGD"):
        text = update["prediction"] or update["prediction_reason"]
        rows.insert(0, ("prediction", "" if update["prediction"] else "none", str(text)))
    return rows


def reference_rows(summary: Mapping[str, Any]) -> list[Row]:
    """What the theory predicts, and what the run was compared with."""
    rows = _known(
        summary["predicted"],
        {
            "exponent": "the initialization error falls like α to this power",
            "constant": "C of C·α^p",
            "initialization": "C·α^p, the predicted initialization error",
            "rho": "ϱ of the p = 2 exponent 2(1 − ϱ)",
        },
    )
    rows += _known(summary["references"], {"l1_value": "min ‖ψ‖₁ subject to Aψ = y"})
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
    rows: list[Row] = [("schedule", str(schedule["name"]), "")]
    return rows + _known(
        schedule,
        {
            "eta_min": "smallest η used",
            "eta_max": "largest η used",
            "kappa": "largest relative change of a parameter in a step",
            "c": "fraction of the stability limit",
            "theorem_log10_eta": "log10 of the step size that the paper's theorem asks for",
            "theorem_log10_steps": "log10 of the steps that it would take",
            "certificate": "E: proved bound on the distance of the mirror path from the flow, in dual coordinates",
            "certified_theta_error": "proved bound on ‖θ_k − θ(t_k)‖₂ at the end",
            "certified_theta_error_sup": "proved bound over the whole run",
        },
    )


def _known(source: Mapping[str, Any], meanings: Mapping[str, str]) -> list[Row]:
    """Rows of a part of the summary; where there is no value, its reason instead of its meaning."""
    rows: list[Row] = []
    for key, meaning in meanings.items():
        if key not in source:
            continue
        value = source[key]
        text = (
            meaning
            if value is not None
            else f"{meaning} (not available: {source.get(f'{key}_reason', 'not computed')})"
        )
        rows.append((key.replace("_", " "), value, text))
    return rows


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
