"""The exponent and the constant against the limit itself, in multiprecision arithmetic at tiny α."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import dlntorch as dln
from dlntorch.limit.multiprecision import limits_mp
from dlntorch.model.potentials import H, h
from dlntorch.numerics.trajectory import Status
from tests.problems import line, paper_random, plane
from tests.reference.cases import exact_gaussian, random_face


def problems(count: int) -> list[dln.Problem]:
    """Random problems with m <= 8: generic y, and planted with fewer than m nonzeros."""
    found = []
    for seed in range(count):
        m = 2 + seed % 7
        n = m + 2 + seed % 5
        found.append(exact_gaussian(m, n, seed, None if seed % 2 else max(1, m // 3)))
    return found


def measured(problem: dln.Problem, p: float, power: str) -> tuple[np.ndarray, np.ndarray]:
    """(ψ_α(∞) − W)/α^p at α^p = ``power``, W being the limit at a far smaller α, and W."""
    with mp.workdps(120):
        a = mp.mpf(power)
        here, there = limits_mp(problem.A, problem.y, p, [a, a * mp.mpf("1e-60")], dps=100, are_powers=True)
        assert here.status is Status.CONVERGED, here.reason
        assert there.status is Status.CONVERGED, there.reason
        ratio = [float((x - w) / a) for x, w in zip(here.psi, there.psi, strict=True)]
        return np.array(ratio), np.array([float(w) for w in there.psi])


def check_constant(problem: dln.Problem, p: float) -> None:
    rate = dln.predict_rate(problem, p)
    assert rate.status is Status.CONVERGED, rate.reason
    assert rate.exponent == p
    # α^{p − 2} = (α^p)^{1 − 2/p} = 1e-12, where float64 cannot go
    ratio, W = measured(problem, p, f"1e-{round(12 / (1 - 2 / p))}")
    np.testing.assert_allclose(rate.selected.psi.numpy(), W, rtol=0, atol=1e-9 * np.abs(W).max())
    assert rate.constant == pytest.approx(np.linalg.norm(ratio), rel=1e-3)
    C = rate.constant_vector.numpy()
    np.testing.assert_allclose(C, ratio, rtol=0, atol=1e-6 * np.linalg.norm(ratio))


@pytest.mark.parametrize("p", [2.5, 3, 4, 6])
def test_constant_of_a_few_problems_and_faces(p: float) -> None:
    for problem in problems(4):
        check_constant(problem, p)
    for seed in (1, 2):
        check_constant(random_face(seed, 1 + seed).problem, p)


@pytest.mark.slow
@pytest.mark.parametrize("p", [2.5, 3, 4, 6])
def test_constant_of_random_problems(p: float) -> None:
    for problem in problems(50):
        check_constant(problem, p)


@pytest.mark.slow
@pytest.mark.parametrize("p", [2.5, 3, 4, 6])
def test_constant_of_random_faces(p: float) -> None:
    for seed in range(20):
        check_constant(random_face(seed, 1 + seed % 10).problem, p)


@pytest.mark.parametrize("p", [2.5, 3, 4, 6])
@pytest.mark.parametrize("case", [line(), plane(), paper_random(), random_face(5, 3).problem], ids=lambda q: q.name)
def test_next_term_and_the_alpha_it_asks_for(case: dln.Problem, p: float) -> None:
    rate = dln.predict_rate(case, p)
    C, correction = rate.constant_vector.numpy(), rate.correction_vector.numpy()
    size = np.linalg.norm(correction) / np.linalg.norm(C)
    # α^{p − 2}·size = 1e-4: the term after the next is about its square
    alpha = (1e-4 / size) ** (1 / (p - 2))
    with mp.workdps(60):
        ratio, _ = measured(case, p, str(mp.mpf(alpha) ** mp.mpf(p)))
    seen = (ratio - C) / alpha ** (p - 2)
    np.testing.assert_allclose(seen, correction, rtol=0, atol=1e-2 * np.linalg.norm(correction))
    assert rate.error(alpha) / alpha**p == pytest.approx(np.linalg.norm(ratio), rel=1e-6)
    # where alpha_asymptotic says so, the constant alone is right to about a per cent
    with mp.workdps(60):
        ratio, _ = measured(case, p, str(mp.mpf(rate.alpha_asymptotic) ** mp.mpf(p)))
    assert rate.constant == pytest.approx(np.linalg.norm(ratio), rel=0.02)


def slope(problem: dln.Problem, power: str, factor: str, exponent: float) -> float:
    """d log‖ψ_α(∞) − W‖/d log α between α² = power and power·factor; W is the limit where the error is 1e-6 of that."""
    with mp.workdps(60):
        a = mp.mpf(power)
        b = a * mp.mpf(factor)
        c = b * mp.mpf(10) ** (-12 / mp.mpf(exponent))
        one, two, W = limits_mp(problem.A, problem.y, 2, [a, b, c], dps=60, are_powers=True)
        norms = [mp.norm([x - w for x, w in zip(z.psi, W.psi, strict=True)]) for z in (one, two)]
        return float(mp.log(norms[0] / norms[1]) / mp.log(a / b) * 2)


def check_slope(problem: dln.Problem) -> None:
    rate = dln.predict_rate(problem, 2)
    assert rate.status is Status.CONVERGED, rate.reason
    assert rate.constant is None
    assert rate.constant_reason
    assert rate.exponent == pytest.approx(2 * (1 - rate.rho), rel=1e-15)
    # 0: later than float64 can say; at log(1/α²) = 2e4 it must be there
    power = min(mp.mpf(rate.alpha_asymptotic) ** 2, mp.mpf("1e-20")) if rate.alpha_asymptotic else mp.mpf("1e-9000")
    assert slope(problem, mp.nstr(power, 5), "1e-10", rate.exponent) == pytest.approx(rate.exponent, abs=0.02)


@pytest.mark.parametrize(("p", "j"), [(2.1, 4), (2.1, 12), (2.5, 30), (3, 16), (4, 34)])
def test_a_column_almost_that_of_the_support_decides_nothing_but_itself(p: float, j: int) -> None:
    """A_2 = (1 − 2^{−j})A_1, so A_2ᵀλ = 1 − 2^{−j}: τ elsewhere is as without it, and its own term is seen last."""
    a = np.array([3.0, 5, -2]) / 8
    others = np.array([[1.0, -0.5, 0.25], [0.25, 0.75, -1.0], [-0.5, 0.5, 0.5]]).T
    rate = dln.predict_rate(dln.Problem(np.column_stack([a, a * (1 - 2.0**-j), others]), a), p)
    without = dln.predict_rate(dln.Problem(np.column_stack([a, others]), a), p)
    assert rate.status is Status.CONVERGED
    torch.testing.assert_close(rate.tau[2:], without.tau[1:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(rate.constant_vector[2:], without.constant_vector[1:], rtol=1e-7, atol=0)
    # ψ_2/α^p is (2^{−j} + u)^{−k} but for smaller terms, with W_1 = 1 and so u = α^{p−2}; its correction counts.
    k = p / (p - 2)
    if j >= 12:
        assert rate.alpha_asymptotic == pytest.approx((0.01 * 2.0**-j / k) ** (1 / (p - 2)), rel=0.02 * k)


@pytest.mark.parametrize("p", [2.5, 3, 4])
def test_constants_of_small_integer_problems_whose_dual_vector_is_at_the_middle(p: float) -> None:
    """Σ H_p is smallest where all τ off the support are 0: there is no value to be relative to."""
    for A, y in (
        ([[1.0, -1, -1], [0, -1, -1]], [4.0, 4]),
        ([[1.0, 2, 4], [-1, 1, -4]], [-6.0, -3]),
        ([[-1.0, 1, -1, 1, 1], [0, 1, -1, 0, -1], [0, 1, 1, 0, 1]], [3.0, 5, -5]),
        ([[2.0, 0, -1, -1], [-1, 0, 1, 1], [1, 0, 2, -2]], [8.0, -8, 0]),
    ):
        problem = dln.Problem(A, y)
        rate = dln.predict_rate(problem, p)
        assert rate.status is Status.CONVERGED, rate.reason
        ratio, _ = measured(problem, p, f"1e-{round(12 / (1 - 2 / p))}")
        np.testing.assert_allclose(
            rate.constant_vector.numpy(), ratio, rtol=0, atol=1e-6 * max(1, np.linalg.norm(ratio))
        )


def test_nothing_off_the_support_has_to_move() -> None:
    rate = dln.predict_rate(dln.Problem([[0.0, 2, 0], [1, 0, 0]], [0.0, 3]), 3)
    assert rate.status is Status.CONVERGED
    assert rate.constant <= 1e-15
    assert rate.tau.tolist() == pytest.approx([1, 0, 0], abs=1e-15)


def test_slope_at_depth_two() -> None:
    check_slope(paper_random())
    check_slope(plane())
    for problem in problems(3):
        check_slope(problem)
    check_slope(random_face(3, 2).problem)


@pytest.mark.slow
def test_slope_at_depth_two_of_many() -> None:
    for problem in problems(30):
        check_slope(problem)
    for seed in range(20):
        check_slope(random_face(seed, 1 + seed % 10).problem)


@pytest.mark.parametrize(("m", "n", "nonzeros"), [(6, 14, 2), (20, 60, 4), (40, 120, 10)])
def test_rho_against_highs(m: int, n: int, nonzeros: int) -> None:
    """ϱ = min over {λ : A_Sᵀλ = σ} of max |A_iᵀλ| off S as the linear programme it is written as."""
    for seed in range(3):
        problem = exact_gaussian(m, n, seed, nonzeros)
        rate = dln.predict_rate(problem, 2)
        S = rate.selected.support.numpy()
        off = np.setdiff1d(np.arange(n), S)
        A = problem.A.numpy()
        one = np.ones((off.size, 1))
        found = linprog(
            np.append(np.zeros(m), 1.0),
            A_ub=np.vstack([np.hstack([A[:, off].T, -one]), np.hstack([-A[:, off].T, -one])]),
            b_ub=np.zeros(2 * off.size),
            A_eq=np.hstack([A[:, S].T, np.zeros((S.size, 1))]),
            b_eq=rate.selected.signs.numpy(),
            bounds=[(None, None)] * m + [(0, None)],
        )
        assert rate.rho == pytest.approx(found.fun, rel=1e-7)


def test_depth_two_without_anything_off_the_support() -> None:
    """Derived: the error is C α⁴, and C is known."""
    rate = dln.predict_rate(line(), 2)
    assert rate.exponent == 4
    with mp.workdps(60):
        a = mp.mpf("1e-20")
        here, W = limits_mp(line().A, line().y, 2, [a, mp.mpf("1e-60")], dps=100, are_powers=True)
        ratio = [float((x - w) / a**2) for x, w in zip(here.psi, W.psi, strict=True)]
    np.testing.assert_allclose(rate.constant_vector.numpy(), ratio, rtol=1e-10)
    assert slope(line(), "1e-10", "1e-5", 4) == pytest.approx(4, abs=1e-6)
    assert rate.constant == pytest.approx(np.linalg.norm(ratio), rel=1e-10)


def test_twenty_by_sixty_with_three_nonzeros() -> None:
    """The limit's own float64 solver and the prediction with its next term, on a problem of the size users have."""
    problem = exact_gaussian(20, 60, 0, 3)
    for p in (3, 4, 6):
        rate = dln.predict_rate(problem, p)
        previous = np.inf
        for power in (1e-3, 1e-5, 1e-7):
            limit = dln.flow_limit(problem, p, power ** (1 / p)).psi
            ratio = float(torch.linalg.vector_norm(limit - rate.selected.psi)) / power
            gap = abs(ratio / rate.constant - 1)
            assert gap < 0.5 * previous
            previous = gap
        assert rate.error(power ** (1 / p)) / power == pytest.approx(ratio, rel=3e-3)


def test_limit_of_the_dual_is_stationary() -> None:
    """τ* = A_{Sᶜ}ᵀλ* with A_Sᵀλ = σ, and A_{Sᶜ}h_p(τ*) in the span of A_S: checked from the definition."""
    for problem in (*problems(4), random_face(4, 2).problem):
        for p in (2.2, 3, 8):
            rate = dln.predict_rate(problem, p)
            S = rate.selected.support
            off = torch.ones(problem.n, dtype=torch.bool)
            off[S] = False
            tau = rate.tau
            lam = torch.linalg.lstsq(problem.A.T, tau[:, None], driver="gelsd").solution[:, 0]
            torch.testing.assert_close(problem.A.T @ lam, tau, rtol=0, atol=1e-11)
            assert torch.equal(tau[S], rate.selected.signs)
            assert float(tau[off].abs().max()) < 1
            push = problem.A[:, off] @ h(tau[off], p)
            fit = torch.linalg.lstsq(problem.A[:, S], push[:, None], driver="gelsd").solution[:, 0]
            size = float((problem.A[:, off].abs() @ h(tau[off], p).abs()).max())
            torch.testing.assert_close(problem.A[:, S] @ fit, push, rtol=0, atol=1e-9 * size)
            assert float(H(tau[off], p).sum()) > 0
            # the whole vector is a direction in which Aψ = y persists
            torch.testing.assert_close(
                problem.A @ rate.constant_vector, torch.zeros(problem.m).double(), rtol=0, atol=1e-9 * size
            )


def test_zero_data_zero_columns_and_overflow() -> None:
    for p in (2, 3):
        nothing = dln.predict_rate(dln.Problem([[1.0, 2.0, 3.0]], [0.0]), p)
        assert nothing.constant == 0
        assert nothing.exponent == p
    padded = dln.Problem(torch.cat([line().A, torch.zeros(2, 2).double()], dim=1), line().y)
    assert dln.predict_rate(padded, 2).exponent == 4
    assert dln.predict_rate(padded, 3).constant == pytest.approx(dln.predict_rate(line(), 3).constant, rel=1e-12)
    near_two = dln.predict_rate(exact_gaussian(10, 30, 1), 2.001)
    assert near_two.exponent == 2.001
    assert near_two.constant is None
    assert "float64" in near_two.constant_reason


def exact_error_on_the_line(power: float) -> mp.mpf:
    """‖ψ_α(∞) − W‖₂ of :func:`line` at depth 2 and α² = ``power``: asinh(ψ/2α²) is orthogonal to (−1, −2, 3)."""
    a = mp.mpf(power)

    def slope(t: mp.mpf) -> mp.mpf:
        return 3 * mp.asinh(3 * t / (2 * a)) - mp.asinh((1 - t) / (2 * a)) - 2 * mp.asinh((1 - t) / a)

    W = mp.cbrt(4) / (3 + mp.cbrt(4))
    return abs(mp.findroot(slope, (0.2, 0.5), solver="anderson", tol=1e-40) - W) * mp.sqrt(14)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_fourth_order_is_seen_from_alpha_asymptotic_on(scale: float) -> None:
    """There the terms left out move the slope by 0.01, which is 0.25 % of the error; the exact slope, by mpmath."""
    rate = dln.predict_rate(dln.Problem(line().A, scale * line().y), 2)
    assert rate.p == 2
    assert rate.alpha_asymptotic is not None
    with mp.workdps(40):
        for below in (1.0, 0.5, 0.1):
            alpha = below * rate.alpha_asymptotic
            error = float(scale * exact_error_on_the_line(alpha**2 / scale))
            assert rate.error(alpha) == pytest.approx(error, rel=0.004 * below**4 + 1e-9)
            above = scale * exact_error_on_the_line((alpha * mp.mpf("1.001")) ** 2 / scale)
            slope = float(mp.log(above / error) / mp.log(mp.mpf("1.001")))
            assert abs(slope - 4) <= 0.011 * below**4 + 1e-6
        # ten times later it is no more
        assert rate.error(10 * rate.alpha_asymptotic) > 2 * scale * exact_error_on_the_line(
            (10 * rate.alpha_asymptotic) ** 2 / scale
        )


@given(seed=st.integers(0, 10**6), n=st.integers(3, 7), log_spread=st.floats(0, 1.5))
@settings(max_examples=40, deadline=None)
def test_the_slope_is_four_below_alpha_asymptotic_where_every_entry_is_large(seed, n, log_spread) -> None:
    """A = (1 … 1) and one more row, y = Ax with x > 0: every ψ > 0 with Aψ = y has the least ‖ψ‖₁."""
    rng = np.random.default_rng(seed)
    A = np.vstack([np.ones(n), rng.uniform(-1, 1, n)])
    problem = dln.Problem(A, A @ 10 ** rng.uniform(-log_spread, 0, n))
    rate = dln.predict_rate(problem, 2)
    assume(rate.exponent == 4 and rate.alpha_asymptotic is not None and np.isfinite(rate.alpha_asymptotic))
    alpha = rate.alpha_asymptotic
    assert alpha < 1
    with mp.workdps(60):
        powers = [mp.mpf(alpha) ** 2, (mp.mpf("0.99") * alpha) ** 2]
        *limits, W = limits_mp(
            problem.A, problem.y, 2, [*powers, powers[-1] * mp.mpf("1e-20")], dps=50, are_powers=True
        )
        assert all(limit.status is Status.CONVERGED for limit in (*limits, W))
        errors = [mp.norm(mp.matrix(limit.psi) - mp.matrix(W.psi)) for limit in limits]
        slope = float(mp.log(errors[0] / errors[1]) / -mp.log(mp.mpf("0.99")))
    assert abs(slope - 4) <= 0.0105


def test_a_fourth_order_constant_beyond_float64_is_none_with_its_reason() -> None:
    """C is inversely proportional to W, which is 1e-320 here."""
    rate = dln.predict_rate(dln.Problem(1e160 * line().A, 1e-160 * line().y), 2)
    assert rate.status is Status.CONVERGED
    assert (rate.p, rate.exponent, rate.rho) == (2, 4, 0)
    assert rate.constant is None
    assert rate.constant_vector is None
    assert rate.error(1e-3) is None
    assert "exceeds the largest float64" in rate.constant_reason
