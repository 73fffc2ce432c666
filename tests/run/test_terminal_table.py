"""What a terminal shows: numbers whole at every width."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from dlntorch.run import console, ensemble_console
from dlntorch.run import terminal_table as tables
from dlntorch.run.ensemble_result import EnsembleResult, ensemble_summary
from tests.report.cases import made_up_run


def made_up_ensemble(tmp_path) -> EnsembleResult:
    networks = []
    for i in range(6):
        run = made_up_run(None)
        run.summary.update(p=2 + i // 3, alpha=10.0 ** -(1 + i % 3), seed=i, steps=10_000_000 + i, residual=2.44e-11)
        run.summary["budget"].update(discretization=-1.23e-101, finite_time=4.56e-102, initialization=7.89e-103)
        run.summary["predicted"]["initialization"] = 1.11e-104
        networks.append(run)
    return EnsembleResult(tuple(networks), ensemble_summary(networks, 3.2, 2), {}, tmp_path)


@pytest.fixture(params=[20, 40, 60, 80, 110, 200])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, io.StringIO]:
    """A terminal of that many columns, and what it shows."""
    shown = io.StringIO()
    made = Console(file=shown, width=request.param, force_terminal=True, color_system=None, highlight=False)
    for module in (tables, console, ensemble_console):
        monkeypatch.setattr(module, "terminal", lambda: made)
    return request.param, shown


def cells(text: str) -> list[str]:
    return [cell.strip() for line in text.splitlines() for cell in re.split("[│┃]", line)]


def test_an_ensembles_numbers_are_whole_at_every_width(screen, tmp_path) -> None:
    width, shown = screen
    ensemble_console.conclude_ensemble(made_up_ensemble(tmp_path))
    found = cells(shown.getvalue())
    assert "…" not in shown.getvalue()
    for i in range(6):
        for number in (f"{10_000_000 + i:,}", f"{10.0 ** -(1 + i % 3):.3g}"):
            assert number in found
    for number in ("2.44e-11", "-1.23e-101", "4.56e-102", "7.89e-103", "1.11e-104"):
        assert found.count(number) == 6
    table = [line for line in shown.getvalue().splitlines() if line.startswith(("│", "┃"))]
    if width >= 40:
        assert max(map(len, table)) <= width
    for head in ("network", "steps", "residual", "discretization", "initialization"):
        assert head in found


def test_a_runs_closing_table_has_whole_numbers_at_every_width(screen, tmp_path) -> None:
    width, shown = screen
    run = made_up_run(tmp_path)
    run.summary.update(steps=123_456_789, residual=-1.23456e-101)
    console.conclude(run)
    if width >= 40:  # a number and a word do not fit into less
        assert "123,456,789" in cells(shown.getvalue())
        assert "-1.23456e-101" in cells(shown.getvalue())
    assert "…" not in shown.getvalue()


def test_brackets_in_a_table_are_not_taken_for_markup(screen) -> None:
    _, shown = screen
    tables.print_numbers("title [bold]", ["network", "[red]"], [["0", "[b]1[/b]"]])
    assert "[b]1[/b]" in shown.getvalue()
