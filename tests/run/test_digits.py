"""How many digits the data need, in every summary, console table and page, with a warning where they have fewer."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

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


def single(folder: Path, kind: str) -> Path:
    """(1, 1 − 1e-7) and y = 1 in single precision, as a file of that kind."""
    A, y = np.array([[1, 1 - 1e-7]], dtype=np.float32), np.ones(1, dtype=np.float32)
    file = folder / f"data.{kind}"
    if kind == "npz":
        np.savez(file, A=A, y=y)
    elif kind == "npy":
        np.save(folder / "data_A.npy", A)
        np.save(folder / "data_y.npy", y)
    elif kind == "mat":
        scipy.io.savemat(file, {"A": A, "y": y})
    else:
        torch.save({"A": torch.from_numpy(A), "y": torch.from_numpy(y)}, file)
    return file


@pytest.mark.parametrize("kind", ["npz", "npy", "mat", "pt"])
def test_float32_files_are_float32_data(tmp_path: Path, kind: str) -> None:
    problem = dln.load_problem(str(single(tmp_path, kind)))
    assert problem.A.dtype == torch.float64
    assert data_digits(problem) == (6, "float32")
    assert "which have 6 (float32)" in report(problem)["digits_warning"]


#: Three nearly collinear columns, to four digits: the minimiser hangs on the fifth.
FOUR_DIGITS = "1.234,0.0012,0.8999,0.9\n0.0011,1.234,0.3352,0.7\n"


@pytest.mark.parametrize(("kind", "needed", "has"), [("npz", 7, "6 (float32)"), ("csv", 5, "4 (the file's numbers")])
def test_the_command_line_warns(command, tmp_path: Path, kind: str, needed: int, has: str) -> None:
    file = tmp_path / "data.csv"
    if kind == "csv":
        file.write_text(FOUR_DIGITS)
    else:
        file = single(tmp_path, kind)
    done = command(f"problem.path={file}", "p=3", "alpha=0.1", "max_steps=50")
    assert done.status == 0, done.err
    summary = json.loads((done.folder / "summary.json").read_text())
    words = f"depends on digit {needed} of the data, which have {has}"
    assert summary["digits"] == needed == dln.ill_posedness(dln.load_problem(str(file))).digits
    assert words in summary["digits_warning"]
    assert f"note: the l1-minimiser {words}" in " ".join(done.out.split())
    assert words in html.unescape((done.folder / "report.html").read_text())
    assert data_digits(dln.load_run(done.folder).problem)[0] == summary["digits_of_data"]


def test_the_command_line_has_the_digits_or_the_reason(command, tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    quick = ("p=3", "alpha=0.1", "max_steps=50", "callbacks.figures=false")
    for line, digits, words in (
        ("1.5,1.4995,1.25", 4, "that the data must have; they have 5"),
        ("1.5,1.5,1.25", None, "no number of digits is enough"),
    ):
        file.write_text(line)
        done = command(f"problem.path={file}", *quick, folder=tmp_path / f"run{digits}")
        assert done.status == 0, done.err
        summary = json.loads((done.folder / "summary.json").read_text())
        assert summary["digits"] == digits
        assert summary["digits_warning"] == ""
        assert words in " ".join(done.out.split())
