"""The parts of the central path: its curve, one step, the linear equations, and what an answer is judged by."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from dlntorch.limit import central_path_engines as engines
from dlntorch.limit import central_path_judging as judging
from dlntorch.limit import central_path_kernels as kernels
from dlntorch.limit import curve
from dlntorch.limit.answer import judge
from dlntorch.limit.central_path import CentralPath, PathPoint
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.trajectory import Status
from tests import problems

K_INVERSES = [0.0, 0.2, 1 / 3, 0.8]  # (p − 2)/p


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch):
    """No test here is worth compiling for."""
    monkeypatch.setattr(engines, "INTERPRETED_LOOPS", math.inf)
    monkeypatch.setattr(engines, "_spent", 0.0)  # other tests have their own budget
    with engines.spare_compilation():
        yield


@pytest.mark.parametrize("k_inverse", K_INVERSES)
@pytest.mark.parametrize("b", [-3.0, -0.4, 0.0, 0.7, 5.0])
def test_the_changes_of_b_and_t_are_each_other_s_inverse_and_exact(b: float, k_inverse: float) -> None:
    """t = k tanh(b/k), in 40 digits; a step downwards is as good as one upwards."""
    for db in (-2.0, -1e-9, 1e-9, 1.5):
        with mp.workdps(40):
            exact = db if k_inverse == 0 else (mp.tanh((mp.mpf(b) + db) * k_inverse) - mp.tanh(b * mp.mpf(k_inverse)))
            dt = float(exact if k_inverse == 0 else exact / k_inverse)
        assert curve.change_of_t(b, db, k_inverse) == pytest.approx(dt, rel=1e-12)
        assert curve.change_of_b(b, dt, k_inverse) == pytest.approx(db, rel=1e-11)
    if k_inverse > 0:
        to_the_pole = (1 - math.tanh(b * k_inverse)) / k_inverse
        assert math.isnan(curve.change_of_b(b, 1.01 * to_the_pole, k_inverse))
        assert not math.isnan(curve.change_of_b(b, 0.99 * to_the_pole, k_inverse))


def advanced(b, dt, dl: float, k_inverse: float):
    """(ψ before, ψ, b, e, change) of one step from b at log a = 0, with nothing in e."""
    b, dt = np.array(b), np.array(dt)
    start = curve.curve_values(b, np.zeros_like(b), k_inverse)
    psi, e = start.copy(), np.zeros_like(b)
    change = kernels.advance(psi, b, e, dt, np.full_like(b, dl), dl, k_inverse, 1e300)
    return start, psi, b, e, change


@pytest.mark.parametrize("k_inverse", K_INVERSES)
def test_coordinates_that_do_not_move_in_t_fall_with_a_along_the_curve(k_inverse: float) -> None:
    """ψ = a h_p(τ): at the same τ it is exactly proportional to a, however long the step in log a."""
    for dl in (-0.5, -3.0, -20.0):
        b = [-6.0, -1.5, -0.3, 0.0, 0.8, 2.0, 4.0]
        start, psi, moved, e, change = advanced(b, np.zeros(7), dl, k_inverse)
        assert psi == pytest.approx(math.exp(dl) * start, rel=1e-13)
        assert np.array_equal(moved, b)
        assert change == 0.0
        assert not np.any(e)


@pytest.mark.parametrize("k_inverse", K_INVERSES)
def test_a_fall_that_stays_on_its_side_of_zero_is_taken_in_t_to_the_end(k_inverse: float) -> None:
    """Where |ψ| falls the step in t does not overshoot: t moves by the linear step, nothing of it is left in e."""
    ends = np.array([0.05, 0.5, -0.4, 1.2, -1.5])
    b = np.array([1.5, 2.5, -1.4, 3.0, -4.0])
    t = judging.dual(b, k_inverse)
    _, psi, moved, e, _ = advanced(b, judging.dual(ends, k_inverse) - t, 0.0, k_inverse)
    assert moved == pytest.approx(ends, rel=1e-10)
    assert psi == pytest.approx(curve.curve_values(ends, np.zeros(5), k_inverse), rel=1e-10)
    assert not np.any(e)


def test_a_step_beyond_the_range_of_floats_is_an_infinite_change() -> None:
    psi, b, e = np.array([1e308]), np.array([700.0]), np.zeros(1)
    with np.errstate(over="ignore", invalid="ignore"):
        for dt in (90.0, math.inf, math.nan):
            change = kernels.advance(psi.copy(), b.copy(), e, np.array([dt]), np.zeros(1), 0.0, 0.0, math.inf)
            assert change == math.inf


@pytest.mark.parametrize(
    "A",
    [
        [[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]],  # the factors' diagonal is 1 …
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],  # … −1 …
        [[0.6, -0.8, 0.0], [0.0, 0.0, 2.0]],
        [[0.3, 1.0, -0.7], [1.1, 0.2, 0.5]],
    ],
)
def test_a_step_of_the_small_equations_satisfies_them(A) -> None:
    """A D (dt + e) = r + A D e with dt + e in range(W Aᵀ), by the normal equations."""
    A, root, share = np.array(A), np.array([1.0, 0.7, 1.0]), np.ones(3)
    r, e = np.array([0.4, -2.0]), np.array([0.1, 0.0, -0.3])
    dt = kernels.qr_step(np.ascontiguousarray(A.T), root, share, r, e)
    lam = np.linalg.solve(A * root**2 @ A.T, r + A @ (root**2 * e))
    assert dt == pytest.approx(A.T @ lam - e, rel=1e-13, abs=1e-15)


def test_an_equation_whose_weights_underflow_moves_nothing() -> None:
    """(DW)^{1/2} is 0 in float64 in the second coordinate: it stays where it is."""
    weights = np.array([1.0, 1e-200])
    dt = kernels.qr_step(np.eye(2), weights, weights, np.array([2.0, 3.0]), np.array([0.0, 0.5]))
    assert dt.tolist() == [2.0, 0.0]


def test_kernels_are_interpreted_only_where_compilation_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str):
        raise AssertionError(f"{name} would be compiled")

    monkeypatch.setattr(engines, "compiled", none)
    few = engines.Kernels(loops=1)
    token = engines._sparing.set(False)
    with engines.spare_compilation():
        assert few.dual(np.array([0.5]), 0.0).tolist() == [0.5]
    with pytest.raises(AssertionError, match="dual would be compiled"):
        few.dual(np.array([0.5]), 0.0)
    engines._sparing.reset(token)


def path_of(problem, p: float) -> CentralPath:
    A, y = problem.A.numpy(), problem.y.numpy()
    return CentralPath(A, y, p)


@pytest.mark.parametrize("p", [2.0, 3.0, 10.0])
def test_where_the_curve_is_straight_one_linear_system_is_enough(p: float) -> None:
    """For a far above ‖A⁺y‖ the minimum-norm solution is the answer: it has to be looked at, and nothing is to be mended."""
    limit = flow_limit(problems.gaussian(4, 9, 1), p, 1e12 ** (1 / p))
    assert limit.status is Status.CONVERGED
    assert limit.steps == 1


def test_every_alpha_below_the_range_of_float64_is_said_to_be() -> None:
    """The second and third have the same last point: the third, which costs nothing, is not a failure."""
    limit = flow_limit(problems.paper_random(), 4, [1e-1, 1e-80, 1e-100])
    assert limit.status[1:] == (Status.BELOW_INPUT_PRECISION,) * 2
    assert all("out of the range of float64" in reason for reason in limit.reason[1:])


def test_a_level_at_which_nothing_moves_any_more_is_reached() -> None:
    """Rounding may keep the checks from passing: a step that changes nothing, at the floor, is as near as float64 gets."""
    path = path_of(problems.paper_random(), 3.0)
    path._start(0.0)
    path._steps = lambda old, new, dl, tolerance, progress: (0.0, True, (*progress[:2], progress[2] + 1))
    path._settled = lambda: False
    converged, change, used = path._solve_at(0.0, 1e-9)
    assert converged
    assert change == 0.0
    assert used <= 3


def test_a_dual_point_that_has_drifted_from_the_range_is_brought_back() -> None:
    """τ moved off range(Aᵀ) where D is small, unknown to e: the answer is the one that was there before."""
    path = path_of(problems.gaussian(5, 14, 0, nonzeros=2), 3.0)
    before = next(path.points([3 * math.log(1e-3)]))
    assert before.converged
    small = int(np.argmin(np.abs(before.psi)))
    path.b[small] += 1e-7
    path.psi[small] = curve.curve_value(path.b[small], path.log_a, path.k_inverse)
    assert path._checks()[3] > 1e-9
    assert path._solve_at(path.log_a, 1e-9)[0]
    after = path._point(0, True, 0.0)
    assert after.dual_residual <= 1e-12
    error = np.abs(after.psi - before.psi) / np.maximum(np.abs(before.psi), 2e-9)
    assert error.max() <= 10 * before.uncertainty


def test_an_answer_whose_dual_equations_do_not_hold_is_not_converged() -> None:
    """The worse of the two residuals decides."""
    one, none = np.ones(1), np.zeros(1)
    for residual, dual_residual in ((1e-16, 1e-6), (1e-6, 1e-16)):
        point = PathPoint(one, none, one, -5.0, residual, dual_residual, 1e-15, 3, True)
        status, reason = judge(point, -5.0)
        assert status is Status.BELOW_INPUT_PRECISION
        assert "the equations hold to 1.0e-06 only" in reason
    assert judge(PathPoint(one, none, one, -5.0, 1e-16, 1e-16, 1e-15, 3, True), -5.0) == (Status.CONVERGED, "")


def test_where_newton_is_stuck_the_point_before_is_given_as_a_failure() -> None:
    """The change of the solve that failed says nothing about the point that is returned to."""
    path = path_of(problems.paper_random(), 3.0)
    good = path._steps

    def steps(old, new, dl, tolerance, progress):
        if path.log_a > math.log(1e-3):
            return good(old, new, dl, tolerance, progress)
        path.psi[:] = np.nan
        return math.nan, False, progress

    path._steps = steps
    points = list(path.points([math.log(0.1), math.log(1e-4), math.log(1e-5)]))
    assert [point.converged for point in points] == [True, False, False]
    for point in points[1:]:
        assert np.isfinite(point.psi).all()
        assert point.log_a > math.log(1e-3)
        assert judge(point, math.log(1e-4)) == (Status.FAILED, judge(points[2], math.log(1e-4))[1])
    assert 0 < points[1].steps < 100  # what was solved, not the budget of every failure
    assert points[2].steps == 0


def test_a_start_that_fails_is_what_is_returned() -> None:
    path = path_of(problems.paper_random(), 3.0)

    def steps(*arguments):
        path.psi[:] = np.nan
        return math.nan, False, arguments[-1]

    path._steps = steps
    for point in path.points([12.0, 11.0]):
        assert not point.converged
        assert point.log_a == 12.0
        assert np.isfinite(point.psi).all()
        assert judge(point, 12.0)[0] is Status.FAILED
