"""The figures and the page of a run: what they show, that they are whole, and every way a run may be incomplete."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.report import write_run_report
from dlntorch.report.data import RunData, coincide
from dlntorch.report.figures import RUN_FIGURES
from dlntorch.run.from_python import train
from dlntorch.run.result import RunResult, load_run
from dlntorch.store.folder import RunFolder
from tests.problems import paper_random
from tests.report.cases import REFERENCE_COLUMNS, made_up_run

NAMES = ["distances", "residual", "coefficients", "steps", "budget"]
VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """The elements and the text of a page; notes every tag that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def draw(result: RunResult, name: str) -> Any:
    return RUN_FIGURES[name].draw(RUN_FIGURES[name].title, RunData(result))


def lines(figure: Any) -> dict[str, Any]:
    return {line.get_label(): line for axes in figure.axes for line in axes.lines if line.get_label()[:1] != "_"}


def texts(figure: Any) -> str:
    inside = [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title, axes._right_title)]
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return " ".join([*inside, *legend, *(text.get_text() for text in figure.texts)]).replace("\n", " ")


# -- the files --------------------------------------------------------------------------------------------------------


def test_a_run_gets_five_figures_and_one_self_contained_page(tmp_path: Path) -> None:
    paths = write_run_report(made_up_run(tmp_path, truth=True))
    assert list(paths) == NAMES
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [*sorted(f"figures/{name}.png" for name in NAMES), "report.html"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.wrong == []
    tags = [tag for tag, _ in page.elements]
    assert tags.count("title") == tags.count("h1") == tags.count("main") == 1
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(tags)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 5
    for attributes in images:
        assert (attributes["src"] or "").startswith("data:image/png;base64,")
        assert len(attributes["alt"] or "") > 40
        assert int(attributes["width"] or 0) > 600


def test_the_page_says_every_number_of_the_summary_and_every_reason(tmp_path: Path) -> None:
    result = made_up_run(tmp_path)
    result.summary["signatures"] = ["rank(A) = 3 < m = 4: the flow tends to another minimiser"]
    write_run_report(result)
    shown = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for part in (result.summary, *(result.summary[key] for key in ("budget", "predicted", "schedule"))):
        for key, value in part.items():
            if isinstance(value, float) and key not in ("p", "alpha", "tol", "wall_seconds"):
                assert f"{value:.6g}" in shown, key
    assert "The largest part of the error is initialization, 0.0001." in shown
    assert "The initialization: the flow's limit is 0.0001 from W_p." in shown
    assert "rank(A) = 3 < m = 4" in shown
    assert "converged : the residual reached the tolerance" in shown
    assert "to the planted signal (not available: references=false)" in shown


def test_what_is_drawn_comes_from_saved_results_alone(tmp_path: Path) -> None:
    """Loaded from its folder a run gives the same bytes; a matrix of nonsense changes nothing."""
    problem = paper_random()
    run = train(problem, 3, 0.1, engine="eager", max_steps=2_000)
    place = RunFolder(tmp_path / "run")
    place.write_config({"p": 3, "alpha": 0.1})
    place.write_problem(problem)
    place.write_arrays("result.npz", run.arrays())
    place.write_trajectory(run.history)
    place.write_summary(run.summary)
    first = replace(run, config={"p": 3, "alpha": 0.1}, folder=tmp_path / "memory")
    nonsense = replace(first, problem=Problem(torch.ones(1, problem.n), [1.0]), folder=tmp_path / "nonsense")
    write_run_report(first)
    write_run_report(load_run(place.path))
    write_run_report(nonsense)
    for name in (*(f"figures/{name}.png" for name in NAMES), "report.html"):
        expected = (tmp_path / "memory" / name).read_bytes()
        assert (place.path / name).read_bytes() == expected
        assert (tmp_path / "nonsense" / name).read_bytes() == expected


def test_a_run_without_a_folder_is_a_mistake() -> None:
    with pytest.raises(InputError, match="^result must be of a run that has a folder"):
        write_run_report(made_up_run(None))


def test_threads_draw_at_the_same_time(tmp_path: Path) -> None:
    write_run_report(made_up_run(tmp_path / "alone"))
    runs = [made_up_run(tmp_path / str(k)) for k in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write_run_report, runs))
    expected = (tmp_path / "alone" / "report.html").read_bytes()
    assert all((tmp_path / str(k) / "report.html").read_bytes() == expected for k in range(3))


# -- runs that are incomplete, hostile or extreme ---------------------------------------------------------------------


def _spoilt(result: RunResult, **columns: Any) -> RunResult:
    return replace(result, history={**result.history, **columns})


def _infinite(folder: Path) -> RunResult:
    result = made_up_run(folder)
    values = result.history["distance_to_l1"].copy()
    values[::3] = np.inf
    return _spoilt(result, distance_to_l1=values, sharpness=np.full(len(values), np.inf))


def _zeros(folder: Path) -> RunResult:
    result = made_up_run(folder)
    return _spoilt(result, **dict.fromkeys(result.history.keys() - {"t", "step"}, np.zeros(len(result.history["t"]))))


def _diverged(folder: Path) -> RunResult:
    result = made_up_run(folder)
    psi = result.trajectory.psi.clone()
    psi[-1, 0], psi[-2, 1], psi[-3, 2] = 1e300, -1e290, torch.inf
    return replace(result, trajectory=replace(result.trajectory, psi=psi))


def _many_sizes(folder: Path) -> RunResult:
    result = made_up_run(folder)
    sizes = torch.logspace(0, -9, result.problem.n, dtype=torch.float64)
    return replace(result, trajectory=replace(result.trajectory, psi=result.trajectory.psi * sizes))


def _history(folder: Path, *kept: str) -> RunResult:
    result = made_up_run(folder)
    return replace(result, history={key: result.history[key] for key in kept})


HOSTILE = "<script>alert('$x_{$')</script>\x00漢\"&" + "n" * 300
INCOMPLETE: dict[str, Callable[[Path], RunResult]] = {
    "one snapshot": lambda at: made_up_run(at, snapshots=1),
    "two snapshots": lambda at: made_up_run(at, snapshots=2),
    "left the orthant": lambda at: made_up_run(at, status=Status.LEFT_POSITIVE_ORTHANT),
    "interrupted, no references": lambda at: made_up_run(at, status=Status.INTERRUPTED, references=False),
    "one snapshot, no references": lambda at: made_up_run(at, snapshots=1, references=False),
    "mini-batches": lambda at: made_up_run(at, batch_size=2),
    "huge": lambda at: made_up_run(at, scale=1e200),
    "small": lambda at: made_up_run(at, scale=1e-200),
    "n = 1": lambda at: made_up_run(at, m=1, n=1),
    "n = 5000": lambda at: made_up_run(at, m=40, n=5_000, truth=True),
    "infinite column": _infinite,
    "zero columns": _zeros,
    "no history": _history,
    "only time": lambda at: _history(at, "t"),
    "a column too short": lambda at: _spoilt(made_up_run(at), distance_to_flow=np.ones(2)),
    "coefficients that diverge": _diverged,
    "coefficients of many sizes": _many_sizes,
    "subnormal budget": lambda at: made_up_run(at, initialization=5e-324),
    "hostile name": lambda at: made_up_run(at, name=HOSTILE),
}


@pytest.mark.parametrize("case", list(INCOMPLETE))
def test_every_kind_of_run_is_reported_without_a_warning(case: str, tmp_path: Path) -> None:
    paths = write_run_report(INCOMPLETE[case](tmp_path))
    assert [path.read_bytes()[:4] for path in paths.values()] == [b"\x89PNG"] * 5
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.wrong == []
    assert "script" not in [tag for tag, _ in page.elements]
    assert "nan" not in page.text.lower().split()


def test_a_missing_reference_leaves_its_reason_in_the_figure() -> None:
    result = made_up_run(None, references=False)
    assert not set(REFERENCE_COLUMNS) & set(result.history)
    for name in ("distances", "budget"):
        assert "references=false" in texts(draw(result, name))
    full = made_up_run(None)
    full.history.pop("distance_to_flow")
    full.summary["budget"]["discretization"] = None
    full.summary["budget"]["discretization_reason"] = "the flow took too long"
    assert "no discretization: the flow took too long" in texts(draw(full, "budget"))
    assert "ended at step 0" in texts(draw(made_up_run(None, snapshots=1), "distances"))


def test_hostile_names_are_escaped_everywhere(tmp_path: Path) -> None:
    result = made_up_run(tmp_path, name="<img src=x onerror=alert(1)>")
    result.summary["reason"] = "</style><script>"
    result.summary["advice"] = '"><b>'
    result.summary["references"]["notes"] = {"<i>": "<u>"}
    result.config["problem"] = {"path": "</pre><script>"}
    result.summary["versions"]["<a>"] = "<q>"
    write_run_report(result)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    tags = [tag for tag, _ in page.elements]
    assert page.wrong == []
    assert tags.count("img") == 5
    assert not {"script", "b", "i", "u", "a", "q"} & set(tags)
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)


# -- what the figures show --------------------------------------------------------------------------------------------


def test_distances_are_the_columns_with_the_floor_and_the_prediction_beside_them() -> None:
    result = made_up_run(None, truth=True)
    found = lines(draw(result, "distances"))
    history = result.history
    shown = history["t"] > 0
    assert set(found) == {
        "to the ℓ₁ vertex = W_p",
        "to the limit ψ_α(∞)",
        "to the planted signal",
        "floor ‖ψ_α(∞) − W_p‖ = 0.0001",
        "predicted C·α^p = 9e-05",
    }
    for label, column in (("to the ℓ₁ vertex = W_p", "l1"), ("to the limit ψ_α(∞)", "limit")):
        np.testing.assert_array_equal(found[label].get_xdata(), history["t"][shown])
        np.testing.assert_array_equal(found[label].get_ydata(), history[f"distance_to_{column}"][shown])
    assert set(found["floor ‖ψ_α(∞) − W_p‖ = 0.0001"].get_ydata()) == {1e-4}
    assert set(found["predicted C·α^p = 9e-05"].get_ydata()) == {9e-5}


def test_a_level_far_from_the_data_is_named_but_does_not_squeeze_it() -> None:
    result = made_up_run(None)
    result.summary["predicted"]["initialization"] = 1e30
    figure = draw(result, "distances")
    assert "predicted C·α^p = 1e+30  (off the scale)" in texts(figure)
    assert figure.axes[0].get_ylim()[1] < 1e3


def test_the_gap_is_drawn_with_its_sign() -> None:
    result = made_up_run(None)
    found = lines(draw(result, "residual"))
    gap = result.history["l1_gap"][1:]
    assert np.any(gap > 0)
    np.testing.assert_array_equal(found["‖ψ‖₁ above its minimum"].get_ydata(), gap[gap > 0])
    np.testing.assert_array_equal(found["‖ψ‖₁ below its minimum"].get_ydata(), -gap[gap < 0])
    relative = lines(draw(made_up_run(None, truth=True), "residual"))["‖ψ‖₁ above its minimum, relative"]
    value = made_up_run(None, truth=True).summary["references"]["l1_value"]
    np.testing.assert_allclose(relative.get_ydata() * value, gap[gap > 0], rtol=1e-14)


def test_coefficients_name_the_support_and_show_where_it_should_end() -> None:
    result = made_up_run(None, m=3, n=8, truth=True)
    figure = draw(result, "coefficients")
    assert result.problem.truth is not None
    truth = result.problem.truth.numpy()
    support = np.flatnonzero(truth)
    found = lines(figure)
    assert "support of the planted signal (3), numbered from 0" in found
    assert "the other 5 coordinates" in found
    ends = found["its values in the planted signal"].get_ydata()
    np.testing.assert_array_equal(np.sort(ends), np.sort(truth[support]))
    for i in support:
        assert f"i={i}" in texts(figure)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 3e4, 1e200])
def test_coefficients_of_any_size_leave_room_for_their_label(scale: float) -> None:
    figure = draw(made_up_run(None, scale=scale, truth=True), "coefficients")
    figure.canvas.draw()
    (axes,) = figure.axes
    label = axes.yaxis.label.get_window_extent()
    assert axes.get_yscale() == "linear"
    assert all(not label.overlaps(tick.get_window_extent()) for tick in axes.get_yticklabels())
    unit = {1e-200: "(10⁻²⁰⁰)", 3e4: "(10⁴)", 1e200: "(10²⁰⁰)", 1e-3: "(10⁻³)"}.get(scale, "ψ_i(t)")
    assert axes.get_ylabel().endswith(unit)


def test_coefficients_that_diverge_keep_the_rest_visible() -> None:
    result = _diverged(Path("unused"))
    result.summary["references"]["l1_value"] = 4.0
    figure = draw(result, "coefficients")
    assert figure.axes[0].get_yscale() == "symlog"
    assert figure.axes[0].get_ylim()[1] >= 1e300


def test_of_thousands_of_coefficients_few_are_lines_and_the_rest_a_band() -> None:
    figure = draw(made_up_run(None, m=40, n=5_000, truth=True), "coefficients")
    assert len(figure.axes[0].lines) < 250
    assert "support of the planted signal (30 of 40), numbered from 0" in texts(figure)
    assert "the other 4,970 coordinates (band: 4,820 smallest)" in texts(figure)


def test_the_stability_limit_is_two_over_the_sharpness() -> None:
    result = made_up_run(None)
    found = lines(draw(result, "steps"))
    shown = result.history["step"] > 0
    np.testing.assert_allclose(
        found["stability limit 2/‖∇²L‖₂"].get_ydata(), 2 / result.history["sharpness"][shown], rtol=1e-15
    )
    np.testing.assert_array_equal(found["step size η"].get_xdata(), result.history["step"][shown])
    np.testing.assert_array_equal(
        found["smallest parameter min θ"].get_ydata(), result.history["smallest_parameter"][shown]
    )


def test_the_budget_shades_whichever_part_is_largest_and_names_the_last() -> None:
    result = made_up_run(None)
    figure = draw(result, "budget")
    (axes,) = figure.axes
    shaded = [(p.get_paths()[0].get_extents().x0, p.get_hatch()) for p in axes.collections]
    history = result.history
    crossing = history["t"][(history["flow_to_limit"] < 1e-4) & (history["t"] > 0)][0]
    assert [hatch for _, hatch in shaded] == ["////", "...."]  # finite time, then initialization
    assert shaded[1][0] == pytest.approx(crossing)
    assert "largest at the end: initialization, 0.0001" in texts(figure)
    total = [line for line in axes.lines if line.get_linewidth() == 4.5 and len(line.get_ydata())]
    expected = history["distance_to_flow"] + history["flow_to_limit"] + 1e-4
    np.testing.assert_allclose(total[0].get_ydata(), expected[1:], rtol=1e-15)


def test_curves_coincide_only_within_a_percent() -> None:
    curve = np.array([1.0, 1e-3, np.nan])
    assert coincide(curve, curve * 1.009)
    assert not coincide(curve, curve * 1.02)
    assert not coincide(curve, curve[:2])
    assert not coincide(np.full(3, np.nan), curve)
