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
from dlntorch.studies.papers.andriushchenko2022 import data, sam_steps
from dlntorch.studies.papers.azulay2021 import UnbalancedLayers, k_of, slope_of_q
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
        ({"paper": "azulay2021", "azulay2021": {**study_settings("reproduce")["azulay2021"], "gaps": [0]}}, "gaps"),
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


@pytest.mark.parametrize(
    ("alpha", "gap"), [(1e-2, 1.0), (1e-3, 0.01), (0.3, [0.5, 1e-3, 1.0, 0.2, 0.03, 0.9, 1e-2, 0.7, 1.0])]
)
def test_unbalanced_layers_are_the_depth_two_of_the_same_k(alpha, gap):
    """Two routes to the end: the curve of four parameters, and the closed form of depth 2; and the paper's k from its start."""
    law, problem = UnbalancedLayers(gap), planted(4, 9, 2, 0)
    theta = law.start(alpha, 9)
    u, v = theta[0].numpy(), theta[1].numpy()
    np.testing.assert_allclose(u * v, alpha, rtol=1e-14)
    np.testing.assert_allclose((u - v) / (u + v), np.broadcast_to(1 - np.asarray(gap), 9), atol=1e-12)
    np.testing.assert_allclose(k_of(alpha, gap), np.broadcast_to(4 * (u * u + v * v) ** 2, 9), rtol=1e-11)
    ours = dln.flow_limit(problem, law, alpha).psi
    same = dln.flow_limit(problem, 2, law.balanced(alpha, 9), per_coordinate=True).psi
    np.testing.assert_allclose(ours, same, rtol=0, atol=1e-10)
    slope = slope_of_q(same.numpy(), np.broadcast_to(k_of(alpha, gap), 9))
    A = problem.A.numpy()
    assert np.linalg.norm(slope - A.T @ np.linalg.lstsq(A.T, slope, rcond=None)[0]) < 1e-9 * np.linalg.norm(slope)


def sam_by_layers(A, y, u, v, gamma, rho, by_rows, steps):
    """SAM in u and v on Σr²/(2m), as the paper writes it; rows are moved along the gradients of r²."""
    m = len(y)
    for _ in range(steps):
        r = A @ (u * v) - y
        du, dv = np.zeros_like(u), np.zeros_like(v)
        for k in range(m if by_rows else 1):
            rows = A[k : k + 1] if by_rows else A
            own = rows.T @ (2 * r[k : k + 1] if by_rows else r / m)
            a, b = u + rho * own * v, v + rho * own * u
            shifted = rows.T @ (rows @ (a * b) - (y[k : k + 1] if by_rows else y)) / m
            du, dv = du + shifted * b, dv + shifted * a
        u, v = u - gamma * du, v - gamma * dv
    return u, v


@pytest.mark.parametrize(("by_rows", "rho"), [(True, 0.05), (False, 0.5), (True, 0.0)])
def test_sam_by_rows_and_by_batch_is_the_paper_s_loop_in_its_own_notation(by_rows, rho):
    problem, _ = data(5, 8, 2, 3)
    A, y, paper = problem.A.numpy(), problem.y.numpy(), Convention(layers=True, loss=1 / 5)
    u, v = sam_by_layers(A, y, np.full(8, 0.1), np.zeros(8), 0.2, rho, by_rows, 300)
    theta = np.full((2, 8), 0.05)
    ours = rho if by_rows else paper.rho(rho)
    sam_steps(A, y, theta, paper.eta(0.2), ours, by_rows, 300)
    np.testing.assert_allclose(theta, [0.5 * (u + v), 0.5 * (u - v)], rtol=1e-11, atol=1e-15)  # u − v loses digits
    if not by_rows:  # the package's own optimizer
        options = {"optimizer": "sam", "optimizer_options": {"rho": ours}}
        run = dln.train(
            problem, 2, 0.05, "constant", eta=paper.eta(0.2), max_steps=300, tol=0, references=False, **options
        )
        np.testing.assert_allclose(theta, np.stack([run.theta_plus.numpy(), run.theta_minus.numpy()]), rtol=1e-11)


def test_one_row_of_one_sam_is_n_sam():
    problem, _ = data(1, 4, 1, 0)
    both = [np.full((2, 4), 0.05) for _ in range(2)]
    for theta, by_rows in zip(both, (True, False), strict=True):
        sam_steps(problem.A.numpy(), problem.y.numpy(), theta, 1e-2, 0.1, by_rows, 100)
    np.testing.assert_array_equal(*both)


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
    assert named[next(text for text in named if text.startswith("Andriushchenko 2022, seed 0"))] is Verdict.CONFIRMED
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
