"""How many digits the data need, in every summary, console table and page, with a warning where they have fewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.reference.ill_posedness import needed_digits
from dlntorch.report.page import reference_rows
from dlntorch.run.digits import data_digits, digits_report
from dlntorch.run.references import References, compute_references
from tests.problems import gaussian


def report(problem: dln.Problem) -> dict:
    return digits_report(problem, compute_references(problem, 3, 1e-2))


@pytest.mark.parametrize("delta", [1e-1, 1e-4, 1e-9])
def test_the_papers_line_needs_as_many_digits_as_delta_has_zeros(delta: float) -> None:
    problem = dln.Problem([[1, 1 - delta]], [1])
    assert needed_digits(problem)[0] == round(-np.log10(delta)) == dln.ill_posedness(problem).digits
    assert report(problem)["digits_warning"] == ""


def test_float32_data_are_warned_of() -> None:
    problem = dln.Problem(np.array([[1, 1 - 1e-7]], dtype=np.float32), [1])
    found = report(problem)
    assert (found["digits"], found["digits_of_data"]) == (7, 6)
    assert "depends on digit 7 of the data, which have 6 (float32)" in found["digits_warning"]


def test_a_table_of_four_digits_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("1.234,1.233,0.3,1.1\n0.0001,0.0002,0.3111,0.02\n")
    problem = dln.load_problem(str(file))
    assert data_digits(problem) == (4, "the file's numbers have 4 significant digits")
    file.write_text("0.99,1.0,1.0,2.0\n")
    problem = dln.load_problem(str(file))
    assert data_digits(problem)[0] == 2
    file.write_text("1.1,1.099999,1.5,2.5\n")
    assert data_digits(dln.load_problem(str(file)))[0] == 7
    file.write_text("3,2,1,5\n1,2,4,5\n")
    assert data_digits(dln.load_problem(str(file))) == (15, "float64")  # whole numbers are exact


def test_a_table_read_to_fewer_digits_than_it_needs() -> None:
    problem = dln.Problem([[1.0, 0.999]], [1.5])
    problem.source = "read data.csv"
    found = report(problem)
    assert (found["digits"], found["digits_of_data"], found["digits_warning"]) == (3, 3, "")
    other = dln.Problem([[1.1, 1.0999, 0.5]], [1.5])
    other.source = "read data.csv"
    assert report(other)["digits_warning"] == ""  # digit 5 of 5


def test_what_is_not_known_has_a_reason() -> None:
    twice = report(dln.Problem([[1.0, 1.0]], [1.0]))
    assert twice["digits"] is None
    assert "not unique" in twice["digits_reason"]
    assert digits_report(gaussian(2, 5, 0), References(reasons={"l1": "references=false"}))["digits_reason"]
    assert "more than the 2000" in report(gaussian(30, 80, 0))["digits_reason"]


def test_every_run_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    problem = dln.Problem(np.array([[1, 1 - 1e-7]], dtype=np.float32), [1])
    run = dln.train(problem, 3, 0.1, max_steps=50)
    assert run.summary["digits"] == 7
    rows = {row[0]: row for row in reference_rows(run.summary)}
    assert rows["digits"][1] == 7
    assert "float32" in rows["digits"][2]
