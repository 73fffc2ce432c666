"""Recovery: verdicts, the estimate of the contour, the lasso's path against its solver, early stopping by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from dlntorch.flow.integrate import integrate_flow
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.problem.synthetic import sparse
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.statistical_dimension import weak_threshold
from dlntorch.report.chart_static import draw_chart
from dlntorch.report.study_figures import study_charts
from dlntorch.studies.base import pick
from dlntorch.studies.early_stopping import best_of_lasso, best_of_path, best_of_saddles, oracle_error
from dlntorch.studies.recovery import BASIS_PURSUIT, expected_half_success, half_success


@pytest.fixture(scope="module")
def result(small):
    return small("recovery")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(result.claims) == 10


def test_counts_are_those_of_the_problems(result):
    """One cell again: basis pursuit recovers a signal exactly, or misses it by far."""
    row = pick(result.rows, method=BASIS_PURSUIT, m=18, k=7)
    errors = []
    for seed in range(row["tried"]):
        problem = sparse(18, 60, 7, 0.0, seed)
        errors.append(float(np.linalg.norm(basis_pursuit(problem.A, problem.y).x - problem.truth)))
    assert sum(error < 1e-9 for error in errors) == row["successes"]
    assert not any(1e-9 < error < 1e-2 for error in errors)


@given(st.floats(4, 16), st.floats(0.2, 3), st.integers(1, 3))
def test_half_success_finds_the_middle_of_a_transition(middle, width, step):
    """Exact shares of a normal transition; the trapezoidal rule is spectrally accurate on it once steps are ≤ its width."""
    width = max(width, step / 1.5)
    if middle < 4 * width:
        middle = 4 * width
    k = np.arange(0, 60, step)[1:]
    rows = [{"k": int(i), "tried": 1.0, "successes": float(ndtr((middle - i) / width))} for i in k]
    found, error = half_success(rows)
    assert found == pytest.approx(middle, abs=0.02 * width)
    assert error > 0


def test_the_error_of_half_success_is_that_of_repeated_experiments():
    rng, k = np.random.default_rng(0), np.arange(1, 20)
    share = ndtr((9 - k) / 2.0)

    def once() -> tuple[float, float]:
        drawn = rng.binomial(24, share)
        return half_success([{"k": int(i), "tried": 24, "successes": int(s)} for i, s in zip(k, drawn, strict=True)])

    found = np.array([once() for _ in range(400)])
    assert found[:, 0].mean() == pytest.approx(9, abs=0.05)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)


def test_expected_half_success_goes_to_the_curve():
    near = [expected_half_success(n, n // 2)[0] / (n // 2) - weak_threshold(0.5) for n in (60, 240)]
    assert 0 < near[1] < near[0] < 0.02


def test_the_best_of_the_lasso_against_its_solver_on_a_grid():
    sklearn = pytest.importorskip("sklearn.linear_model")
    problem = sparse(20, 40, 3, 0.1, 2)
    A, y, truth = problem.A.numpy(), problem.y.numpy(), problem.truth.numpy()
    errors = []
    for weight in np.geomspace(1e-3, 1.0, 300) * np.abs(A.T @ y).max() / 20:
        fit = sklearn.Lasso(alpha=weight, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(A, y)
        errors.append(np.linalg.norm(fit.coef_ - truth))
    best = best_of_lasso(problem, truth)
    assert best <= min(errors) + 1e-6
    assert best == pytest.approx(min(errors), rel=1e-3)


def test_orthogonal_columns_stop_at_the_oracle():
    """A = (I 0): the saddle with the signal's coordinates on and the noise's off is the oracle's answer; the lasso shrinks."""
    truth = np.array([3.0, -2.0, 0.0, 0.0, 0.0])
    problem = Problem(np.eye(4, 5), truth[:4] + np.array([-0.1, 0.2, 0.3, 0.1]), truth=truth)
    target = best_of_saddles(problem, truth)
    assert target.error == pytest.approx(np.hypot(0.1, 0.2))
    assert target.error == pytest.approx(oracle_error(problem, truth))
    assert target.middle == pytest.approx((1 / 1.8 + 1 / 0.3) / 2)
    assert target.until == pytest.approx(1.5 / 0.3)
    for kappa, accuracy in ((None, 1e-3), (0.01, 1e-2)):
        best, stopped = best_of_path(problem, truth, 3.0, 1e-3, target, kappa)
        assert best == pytest.approx(target.error, rel=accuracy)
        assert stopped == pytest.approx(target.error, rel=accuracy)
    assert best_of_lasso(problem, truth) > 1.1 * target.error


def test_the_flow_is_stopped_where_it_is_best(result):
    """Four times as many times find nothing better; the end of the flow is worse."""
    row = pick(result.rows, method="flow, p = 3", seed=0)
    problem = sparse(row["m"], row["n"], row["k"], row["noise"], 0)
    truth, alpha = problem.truth.numpy(), 1e-6 ** (1 / 3)
    times = np.linspace(0, best_of_saddles(problem, truth).until / (3 * alpha), 4001)[1:]
    errors = np.linalg.norm(integrate_flow(problem, 3, alpha, times, rtol=1e-7).psi.numpy() - truth, axis=1)
    assert row["error"] == pytest.approx(errors.min(), rel=0.03)
    assert errors[-1] > 1.05 * errors.min()


def test_maps_keep_their_scales_inside_the_figure(result):
    maps, contours, noise = study_charts("recovery", result.rows, result.settings)
    figure = draw_chart(maps)
    figure.canvas.draw()
    assert len(maps.panels) == 3
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x1 <= figure.bbox.x1
        assert box.x0 >= 0
    assert len(contours.panels[0].series) == 4
    assert len(noise.panels[0].series) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"powers": [1e-8]}, "study.powers must have one entry for each of the 2 depths, got 1"),
        ({"undersampling": [0.01]}, "study.undersampling must give 2 <= m < n = 60, got m = 1"),
        ({"noise_k": 40}, "study.noise_k must be < study.noise_m < study.noise_n"),
    ],
)
def test_mistakes_are_named(small, changes, message):
    with pytest.raises(InputError, match=message):
        small("recovery", **changes)
