"""Duality gaps: in rationals of the returned floats, and never negative beyond their bound where the status is converged."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from dlntorch.reference import basis_pursuit_noise
from dlntorch.reference.basis_pursuit_noise import noisy_gap
from dlntorch.reference.costs import PLAIN
from dlntorch.reference.gap import duality_gap
from tests.problems import gaussian


def case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian, planted, integer and degenerate, ill-conditioned, of uneven columns."""
    m, n = int(rng.integers(1, 7)), int(rng.integers(7, 16))
    kind = int(rng.integers(5))
    if kind == 0:
        A, y = rng.standard_normal((m, n)), rng.standard_normal(m)
    elif kind == 1:
        A = rng.standard_normal((m, n))
        y = A @ (rng.standard_normal(n) * (rng.random(n) < 0.2))
    elif kind == 2:
        A = rng.integers(-2, 3, (m, n)).astype(float)
        y = A @ rng.integers(-2, 3, n)
    elif kind == 3:
        U, V = np.linalg.qr(rng.standard_normal((m, m)))[0], np.linalg.qr(rng.standard_normal((n, m)))[0]
        A, y = U @ np.diag(np.geomspace(1, 10.0 ** -rng.uniform(0, 12), m)) @ V.T, rng.standard_normal(m)
    else:
        A, y = rng.standard_normal((m, n)) * 10.0 ** rng.uniform(-6, 6, n), rng.standard_normal(m)
    return A, y


def in_rationals(y: np.ndarray, x: np.ndarray, dual: np.ndarray) -> float:
    """(‖x‖₁ − yᵀλ)/‖x‖₁ of these floats, rounded once."""
    value = sum(abs(Fraction(v)) for v in x.tolist())
    proved = sum(Fraction(a) * Fraction(b) for a, b in zip(y.tolist(), dual.tolist(), strict=True))
    return float((value - proved) / value) if value else 0.0


def check(count: int, seed: int) -> int:
    rng, converged = np.random.default_rng(seed), 0
    for _ in range(count):
        A, y = case(rng)
        if not A.any():
            continue
        found = dln.basis_pursuit(A, y)
        x, dual, gap = found.x.numpy(), found.dual.numpy(), float(found.gap)
        _, bound, _ = duality_gap(A, y, x, dual, y - A @ x)
        if found.status is Status.CONVERGED and x.any():
            converged += 1
            exact = in_rationals(y, x, dual)
            assert gap >= -bound - 1e-15
            assert exact >= -bound - 1e-15
            assert abs(gap - exact) <= bound + 1e-15
            assert exact <= 1e-9
        one = dln.l1_minimizer(dln.Problem(A, y))
        if one.status is Status.CONVERGED:
            assert one.certificate.gap_below == 0.0
            psi = one.psi.numpy()
            if psi.any():
                exact = in_rationals(y, psi, one.dual.numpy())
                slack = one.certificate.gap_bound + one.certificate.dual_infeasibility + 1e-15
                assert -slack - _rows(A, y, psi, one.dual.numpy()) <= exact <= 1e-10 + slack
    return converged


def _rows(A: np.ndarray, y: np.ndarray, psi: np.ndarray, dual: np.ndarray) -> float:
    """What the rounding of the returned numbers adds: the certificate is that of the scaled problem."""
    _, bound, _ = duality_gap(A, y, psi, dual, y - A @ psi)
    return bound


@pytest.mark.filterwarnings("ignore:.*range of A.*")
def test_gaps_are_those_of_rationals_and_not_below_their_bound() -> None:
    assert check(150, 0) > 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*range of A.*")
def test_gaps_of_two_thousand_problems() -> None:
    assert check(2000, 1) > 1200


def test_gaps_with_noise_are_not_below_their_bound() -> None:
    rng = np.random.default_rng(2)
    for seed in range(60):
        problem = gaussian(4, 9, seed, 2 if seed % 2 else None)
        A, y = problem.A.numpy(), problem.y.numpy()
        noise = float(rng.uniform(0.01, 0.5)) * float(np.linalg.norm(y))
        found = dln.basis_pursuit(A, y, noise=noise)
        x, dual = found.x.numpy(), found.dual.numpy()
        assert found.status is Status.CONVERGED
        gap, bound = noisy_gap(A, y, noise, (x, dual), PLAIN)
        assert -bound <= gap <= 1e-9
        assert bound <= 1e-9
        exact = in_rationals(y, x, dual) + noise * float(np.linalg.norm(dual)) / float(np.abs(x).sum())
        assert exact == pytest.approx(gap, abs=bound)


def test_a_gap_below_its_bound_is_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gaussian(4, 9, 0)
    A, y = problem.A.numpy(), problem.y.numpy()
    from dlntorch.reference import l1_minimizer, scaling

    honest = duality_gap

    def shifted(*arguments):
        gap, bound, rounding = honest(*arguments)
        return gap - 1e-12, bound, rounding

    for module in (scaling, l1_minimizer):
        monkeypatch.setattr(module, "duality_gap", shifted)
    assert dln.basis_pursuit(A, y).status is not Status.CONVERGED
    one = dln.l1_minimizer(problem)
    assert one.status is Status.BELOW_INPUT_PRECISION
    assert "more than rounding explains" in one.reason
    with_noise = noisy_gap
    monkeypatch.setattr(basis_pursuit_noise, "noisy_gap", lambda *a: (with_noise(*a)[0] - 1e-10, with_noise(*a)[1]))
    found = dln.basis_pursuit(A, y, noise=0.1)
    assert found.status is not Status.CONVERGED
    assert "known to" in str(found.reason)


def test_gaps_of_operators_are_not_below_their_bound() -> None:
    for seed in range(20):
        problem = gaussian(6, 20, seed, 2 if seed % 2 else None)
        found = dln.l1_minimizer(problem, solver="matrix_free")
        assert found.status is Status.CONVERGED
        x, dual, bound = found.psi.numpy(), found.dual.numpy(), found.certificate.gap_bound
        exact = in_rationals(problem.y.numpy(), x, dual)
        assert exact >= -bound
        assert abs(exact) == pytest.approx(found.certificate.duality_gap, abs=bound)
