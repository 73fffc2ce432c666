"""The multiprecision limit: the equations to all digits, closed forms, and float64 against it."""

from __future__ import annotations

import warnings

import mpmath as mp
import numpy as np
import pytest
import torch

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.limit.multiprecision import _Path, _solve, limit_mp, limits_mp
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from tests import problems


def exact(values):
    return mp.matrix([[mp.mpf(value) for value in row] for row in np.atleast_2d(values).tolist()])


@pytest.mark.parametrize("p", [2, 2.2, 3, 50])
@pytest.mark.parametrize("make", [problems.line, problems.plane, problems.paper_random])
def test_the_equations_to_all_digits(make, p):
    """Aψ = y, ψ = α^p h_p(τ), and τ orthogonal to the null space of A, by mpmath's own linear algebra."""
    problem = make()
    limit = limit_mp(problem.A, problem.y, p, "1e-3", dps=40)
    assert limit.status is Status.CONVERGED
    with mp.workdps(400):
        A, y = exact(problem.A), exact(problem.y).T
        psi, tau = mp.matrix(limit.psi), mp.matrix(limit.tau)
        assert mp.norm(A * psi - y, mp.inf) <= mp.mpf(10) ** -40
        a = mp.mpf("1e-3") ** mp.mpf(p)
        for value, t in zip(psi, tau, strict=True):
            if p == 2:
                height = 2 * mp.sinh(t)
            else:
                k = mp.mpf(p) / (mp.mpf(p) - 2)
                height = (1 - t) ** -k - (1 + t) ** -k
            assert abs(a * height - value) <= abs(value) * mp.mpf(10) ** -40
        # Aᵀ(AAᵀ)⁻¹A τ = τ; 1 − |τ| is as small as a^{1/k}, so this too must hold to more digits than that.
        projected = A.T * mp.lu_solve(A * A.T, A * tau)
        assert mp.norm(projected - tau, mp.inf) <= mp.mpf(10) ** -40 * (1 if p == 2 else min(limit.gap))


def test_one_equation_of_one_unknown_multiplier():
    """m = 1, p = 2: 2α² Σ a_i sinh(a_i λ) = y, a scalar equation for mpmath's root finder."""
    a, y = [1.0, 2.0, -0.5], 3.0
    limit = limit_mp([a], [y], 2, "1e-5", dps=60)
    with mp.workdps(80):
        alpha = mp.mpf("1e-5")

        def equation(lam):
            return 2 * alpha**2 * mp.fsum(mp.mpf(v) * mp.sinh(v * lam) for v in a) - y

        lam = mp.findroot(equation, (11, 12), solver="anderson", tol=1e-140)
        for value, v in zip(limit.psi, a, strict=True):
            expected = 2 * alpha**2 * mp.sinh(v * lam)
            assert abs(value - expected) <= abs(expected) * mp.mpf(10) ** -58


def test_tiny_alpha_reaches_the_closed_form_with_forty_digits():
    """α = 1e-60: the distance of the line's limit to W_p is C α^p, far below anything float64 could form."""
    result = flow_limit(problems.line(), 3, 1e-20, precision=80)
    assert result.status is Status.CONVERGED
    with mp.workdps(300):
        ratio = (mp.mpf(3) ** (mp.mpf(2) / 3) / (mp.mpf(2) ** (mp.mpf(2) / 3) + 1)) ** -3
        t = 1 / (1 + ratio)
        selected = [1 - t, 2 * (1 - t), 3 * t]
        distances = []
        for alpha in (mp.mpf("1e-20"), mp.mpf("1e-60")):
            psi = limit_mp(*problems.LINE, 3, alpha, dps=200).psi
            distances.append(max(abs(x - w) for x, w in zip(psi, selected, strict=True)))
        assert mp.mpf("1e-64") < distances[0] < mp.mpf("1e-56")
        # C is the same at both.
        assert abs(distances[0] / distances[1] / mp.mpf("1e120") - 1) < mp.mpf("1e-15")
        from_result = [mp.mpf(value) for value in result.exact]
        again = max(abs(x - w) for x, w in zip(from_result, selected, strict=True))
        assert abs(again / distances[0] - 1) < mp.mpf("1e-3")


@pytest.mark.parametrize("p", [2, 2.2, 3, 5])
def test_float64_against_it(p):
    """1e-13 relative to ‖ψ‖_∞, and each coordinate, tiny ones too, as well as its ``uncertainty`` says."""
    alphas = [1e-1, 1e-2, 1e-3]
    shapes = [(1, 3, None), (2, 6, None), (3, 5, None), (5, 12, 2), (8, 20, None), (8, 16, 3)]
    for seed, (m, n, nonzeros) in enumerate(shapes):
        problem = problems.gaussian(m, n, seed, nonzeros)
        double = flow_limit(problem, p, alphas)
        multiple = flow_limit(problem, p, alphas, precision=30)
        assert multiple.status == (Status.CONVERGED,) * 3
        error = (double.psi - multiple.psi).abs()
        assert float((error / multiple.psi.abs().amax(1, keepdim=True)).max()) <= 1e-13
        a = torch.tensor(alphas, dtype=torch.float64)[:, None] ** p
        relative = error / torch.maximum(multiple.psi.abs(), 2 * a)
        assert bool((relative.amax(1) <= 1e-13 + 100 * double.uncertainty).all())


def test_order_repeats_scalars_and_digits():
    problem = problems.paper_random()
    result = flow_limit(problem, 3, [1e-2, 1e-1, 1e-2], precision=25)
    assert torch.equal(result.psi[0], result.psi[2])
    assert [len(row) for row in result.exact] == [5, 5, 5]
    one = flow_limit(problem, 3, 1e-1, precision=25)
    assert one.exact == result.exact[1]
    assert all(float(text) == float(value) for text, value in zip(one.exact, one.psi, strict=True))
    by_power = limit_mp(problem.A, problem.y, 3, alpha_p="1e-3", dps=25)
    by_alpha = limit_mp(problem.A, problem.y, 3, "0.1", dps=25)
    assert by_power.decimals() == by_alpha.decimals()
    several = limits_mp(problem.A, problem.y, 3, ["0.1", "0.01"], dps=25)
    assert several[0].decimals() == by_alpha.decimals()


def test_rank_zero_data_and_inconsistent_data():
    A = [[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]
    full = limit_mp(A[:1], [3.0], 3, 1e-2, dps=30)
    assert full.psi[2] == 0
    assert limit_mp(A, [3.0, 6.0], 3, 1e-2, dps=30).decimals() == full.decimals()
    # The projection of (8, 1) on the span of (1, 2) is (2, 4).
    projected = limit_mp(A[:1], [2.0], 3, 1e-2, dps=30)
    assert limit_mp(A, [8.0, 1.0], 3, 1e-2, dps=30).decimals() == projected.decimals()
    inconsistent = flow_limit(Problem(A, [8.0, 1.0]), 3, 1e-2, precision=30)
    assert "not in range(A)" in inconsistent.reason
    zero = flow_limit(Problem(A, [0.0, 0.0]), 3, 1e-2, precision=30)
    assert not torch.any(zero.psi)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tall = Problem([[1.0], [1.0]], [1.0, 2.0])
    assert float(flow_limit(tall, 3, 1e-2, precision=30).psi) == 1.5


def test_a_coordinate_that_is_zero_by_cancellation_is_zero_and_holds_nothing_up():
    """The minimiser is ±(4/3, 4/3, 0, −4/3) at every α: the third coordinate of Aᵀλ is a difference of equal numbers."""
    problem = Problem([[-1.0, -1, -1, 1], [-1, -1, 1, 1]], [-4.0, -4])
    limit = flow_limit(problem, 3, 1e-3, precision=36)
    assert limit.status is Status.CONVERGED
    third = "1." + 35 * "3"
    assert limit.exact == [third, third, "0.0", "-" + third]
    assert float(limit.tau[2]) == 0.0
    assert limit.steps < 100


@pytest.mark.parametrize("p", [2, 2.5, 3, 4, 6])
def test_zeros_by_symmetry_in_small_integer_problems(p):
    """A_iᵀλ = 0 wherever column i is antisymmetric under a symmetry of the rest of the problem."""
    for rows, y, zero in (
        ([[1.0, 2, 1, 3], [1.0, 2, -1, 3]], [2.0, 2.0], [2]),
        ([[1.0, 0, 1, 1, -1], [0.0, 1, 1, -1, 1]], [3.0, 3.0], [3, 4]),
        ([[2.0, 1, 0, 0], [0.0, 0, 1, 0], [1.0, 1, 0, 3]], [2.0, 0.0, 1.0], [2]),
    ):
        limit = limit_mp(rows, y, p, "1e-4", dps=36)
        assert limit.status is Status.CONVERGED
        assert all(limit.psi[i] == 0 for i in zero)


def test_rows_of_any_size_count_for_the_rank():
    """Two equations, the second in units of 1e-60: the same solution as with the second in units of 1."""
    small = limit_mp([[1.0, 1.0, 0.0], [0.0, 2.0**-200, 2.0**-200]], [1.0, 2.0**-200], 3, 1e-3, dps=30)
    plain = limit_mp([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0], 3, 1e-3, dps=30)
    assert small.decimals() == plain.decimals()


def test_a_path_that_stalls_ends_as_a_failure_for_all_that_follows():
    problem = problems.line()
    with mp.workdps(80):
        path = _Path([list(map(mp.mpf, row)) for row in problem.A.tolist()], [mp.mpf(3), mp.mpf(3)], 3.0, 30)
        good = path._step

        def step(goal, dl, tight):
            if goal < mp.log("1e-5"):
                raise ZeroDivisionError
            return good(goal, dl, tight)

        path._step = step
        points = list(path.points([mp.mpf("1e-3"), mp.mpf("1e-9"), mp.mpf("1e-12")]))
    assert [point.status for point in points] == [Status.CONVERGED, Status.FAILED, Status.FAILED]
    assert "stalled; psi is given for alpha^p = 10^-" in points[1].reason
    assert points[2].steps == 0


def test_symmetric_equations_against_elimination():
    M = [[4, 1, 2], [1, 5, -1], [2, -1, 6]]
    with mp.workdps(40):
        rows = [[mp.mpf(value) for value in row] for row in M]
        rhs = [mp.mpf(value) for value in (1, -2, 3)]
        error = mp.matrix(_solve(rows, rhs)) - mp.lu_solve(mp.matrix(M), mp.matrix(rhs))
        assert mp.norm(error) <= mp.mpf(10) ** -38
        with pytest.raises(ZeroDivisionError):
            _solve([[mp.mpf(1), mp.mpf(2)], [mp.mpf(2), mp.mpf(4)]], rhs[:2])


def test_short_decimals_are_written_short():
    """2x = 3 and a column of zeros: no digits that say nothing."""
    assert limit_mp([[2.0, 0.0]], [3.0], 3, "1e-2", dps=30).decimals() == ["1.5", "0.0"]


@pytest.mark.parametrize("p", [2, 2.5, 4])
def test_coordinates_that_do_not_move_in_tau_fall_with_a_along_the_curve(p):
    """ψ = a h_p(τ): at the same τ it is exactly proportional to a, however long the step in log a."""
    path = _Path([[mp.mpf(1)]], [mp.mpf(1)], p, 30)
    for dl in (-1, -3, -20):
        for t in (mp.mpf("0.1"), mp.mpf("-0.9"), mp.mpf("0.99")):
            psi, a = path.height.value(t), mp.exp(dl)
            new, tau, e = path._moved(psi, t, mp.mpf(0), path.height.slope(t), mp.mpf(dl), mp.mpf(1), a)
            assert abs(new - a * psi) <= 1e-14 * abs(a * psi)
            assert tau == t
            assert e == 0


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
def test_a_step_across_zero_to_where_the_curve_is_straight_is_taken_whole(p):
    """Linear steps in ψ and in τ are the same there: no dual infeasibility is left."""
    path = _Path([[mp.mpf(1)]], [mp.mpf(1)], p, 30)
    t = mp.mpf("2.5") if p == 2 else mp.mpf("0.9")
    dt = -t - mp.mpf("0.01")
    psi, tau, e = path._moved(path.height.value(t), t, dt, path.height.slope(t), mp.mpf(0), mp.mpf(1), mp.mpf(1))
    assert abs(tau - (t + dt)) <= 1e-14
    assert abs(e) <= 1e-14
    assert psi == path.height.value(tau)


@pytest.mark.slow
@pytest.mark.parametrize("p", [2, 3])
def test_sixty_problems(p):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        m = int(rng.integers(1, 9))
        n = int(rng.integers(m + 1, 3 * m + 3))
        problem = problems.gaussian(m, n, seed, None if seed % 2 else int(rng.integers(1, m + 1)))
        double = flow_limit(problem, p, [1e-1, 1e-2, 1e-3])
        multiple = flow_limit(problem, p, [1e-1, 1e-2, 1e-3], precision=30)
        error = (double.psi - multiple.psi).abs() / multiple.psi.abs().amax(1, keepdim=True)
        assert float(error.max()) <= 1e-13


def test_mistakes_are_named():
    with pytest.raises(InputError, match=r"^alpha "):
        limit_mp(*problems.LINE, 3)
    with pytest.raises(InputError, match=r"^alpha "):
        limit_mp(*problems.LINE, 3, 0.1, alpha_p=0.1)
    with pytest.raises(InputError, match=r"^alpha "):
        limit_mp(*problems.LINE, 3, -0.1)
    with pytest.raises(InputError, match=r"^dps "):
        limit_mp(*problems.LINE, 3, 0.1, dps=2)
