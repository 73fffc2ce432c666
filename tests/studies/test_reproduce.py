"""Reproduced papers: every claim has a verdict, the exact identities hold, and loops agree with the engines."""

from __future__ import annotations

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.model.conventions import Convention
from dlntorch.report.study_figures import study_charts
from dlntorch.studies import Verdict, run_study, study_settings
from dlntorch.studies.base import pick, select
from dlntorch.studies.papers import PAPERS, paper_module
from dlntorch.studies.papers.even2023 import start_of
from dlntorch.studies.papers.haochen2021 import gaussian_noise
from dlntorch.studies.papers.planted import planted
from dlntorch.studies.reproduce import STUDY


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_has_points_and_says_what_it_does_not_know(paper):
    settings = study_settings("reproduce", small=True, changes={"paper": paper})
    points = STUDY.points(settings)
    assert points
    assert all(point["paper"] == paper for point in points)
    assert "known" in paper_module(paper).ABOUT
    assert paper_module(paper).claims([], settings)[0].verdict is not Verdict.CONFIRMED  # nothing is claimed of nothing


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"paper": "even"}, "study.paper must be one of"),
        ({"paper": "even2023", "even2023": 3}, "study.even2023 must be a block of settings, got 3"),
    ],
)
def test_a_mistake_is_one_line(changes, said):
    with pytest.raises(dln.InputError, match=said):
        STUDY.points(study_settings("reproduce", small=True, changes=changes))


def test_the_start_is_the_papers():
    u, v = Convention(layers=True).parameters(start_of(0.1), start_of(0.1))
    assert (u, v) == (pytest.approx(2**0.5 * 0.1), 0)


def test_gaussian_noise_of_size_zero_is_gradient_descent():
    problem, theta = planted(4, 9, 2, 0), np.full((2, 9), 0.3)
    gaussian_noise(problem.A.numpy(), problem.y.numpy(), theta, 1e-4, 0.0, 50, 0)
    run = dln.train(problem, 2, 0.3, "constant", eta=1e-4, max_steps=50, tol=0, references=False)
    np.testing.assert_allclose(theta, np.stack([run.theta_plus.numpy(), run.theta_minus.numpy()]), rtol=1e-12)


@pytest.fixture(scope="module")
def result(small):
    return small("reproduce")


@pytest.mark.slow
def test_small_version_decides_and_draws(result):
    assert {row["paper"] for row in result.rows} == set(PAPERS)
    exact = [claim for claim in result.claims if "limit(α_eff)‖, largest" in claim.claim]
    assert len(exact) >= 2
    assert all(claim.verdict is Verdict.CONFIRMED for claim in exact)
    named = {claim.claim: claim.verdict for claim in result.claims}
    assert all(v is Verdict.CONFIRMED for text, v in named.items() if text.startswith("Even 2023"))
    drawn = study_charts("reproduce", result.rows, result.settings)
    assert len({chart.name for chart in drawn}) == len(PAPERS)


@pytest.mark.slow
def test_two_papers_rows_are_the_engines(result):
    """One run of Papazov's again: momentum by its textbook loop, from the row alone."""
    row = pick(select(result.rows, paper="papazov2024", seed=0), **{"lambda": 1e-3, "beta": 0.5})
    problem = planted(row["m"], row["n"], row["nonzeros"], 0)
    A, y, theta, buffer = problem.A.numpy(), problem.y.numpy(), np.full((2, row["n"]), row["alpha"]), 0.0
    sign = np.array([[1.0], [-1.0]])
    for _ in range(row["max_steps"]):
        residual = y - A @ (theta[0] ** 2 - theta[1] ** 2)
        if np.linalg.norm(residual) <= 1e-9 * np.linalg.norm(y):
            break
        buffer = row["beta"] * buffer - sign * 2 * theta * (A.T @ residual)
        theta = theta - row["eta"] * buffer
    assert np.linalg.norm(theta[0] ** 2 - theta[1] ** 2 - problem.truth.numpy()) == pytest.approx(
        row["distance"], rel=1e-6
    )


@pytest.mark.slow
def test_one_paper_alone(tmp_path):
    alone = run_study("reproduce", tmp_path, small=True, changes={"paper": "woodworth2020"})
    assert {row["paper"] for row in alone.rows} == {"woodworth2020"}
