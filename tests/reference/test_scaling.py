"""The way to a scaled problem of full rank and back: nothing depends on the scale, and what comes back is feasible."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.numerics.trajectory import Status
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.scaling import ScaledProblem

EPS = 2.0**-52


def ill_conditioned(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A with singular values 1 … 1e-8, and a solution of Ax = y with three nonzeros."""
    rng = np.random.default_rng(seed)
    U, V = np.linalg.qr(rng.standard_normal((6, 6)))[0], np.linalg.qr(rng.standard_normal((15, 6)))[0]
    x = np.zeros(15)
    x[[1, 6, 12]] = [1.5, -0.5, 2.0]
    return U @ np.diag(np.geomspace(1, 1e-8, 6)) @ V.T, x


@pytest.mark.parametrize("exponent", [-700, 0, 700])
def test_y_outside_the_range_is_seen_at_any_scale_where_y_has_zeros(exponent: int) -> None:
    A = np.array([[1.0, 2.0, 0.0, 1.0], [1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [2.0, 0.0, 1.0, 1.0]])
    found = basis_pursuit(A, np.array([1.0, -1.0, 0.0, 0.5]) * 2.0**exponent)
    assert found.status is Status.FAILED
    assert "not in the range of A" in found.reason
    assert float(found.primal_residual) == pytest.approx(
        np.sqrt(2 / 2.25), rel=1e-12
    )  # y − its projection: (1, −1, 0, 0)


@pytest.mark.parametrize("A", [[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_zero_data_take_no_newton_matrix(A: list[list[float]]) -> None:
    assert basis_pursuit(A, [0.0, 0.0]).iterations == 0


@pytest.mark.parametrize("excess", [0.5, 1.0, 3.0, 1e6])
def test_the_dual_that_comes_back_is_feasible(excess: float) -> None:
    """|Aᵀλ| <= 1 whatever the crossover handed over; a feasible λ is left as it is."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3, 8)) * np.array([[1e-6], [1.0], [1e9]])
    scaled = ScaledProblem(A, EPS)
    scaled.right_hand_side(A @ np.ones(8))
    dual = rng.standard_normal(3)
    dual *= excess / np.abs(dual @ scaled.reduced).max()
    answer = scaled.restore(np.ones(8), dual)
    assert np.abs(answer.dual @ A).max() == pytest.approx(min(1.0, excess), rel=1e-12)
    assert answer.dual_infeasibility <= 1e-14


def test_an_answer_is_corrected_against_the_given_matrix_unless_that_turns_a_sign() -> None:
    """The reduction of an ill-conditioned A rounds; one least-squares step with A itself takes that back."""
    A, x = ill_conditioned(0)
    scaled = ScaledProblem(A, EPS)
    scaled.right_hand_side(A @ x)
    size = 2.0**-scaled.shift
    near = scaled.restore(x * size * (1 + np.array([1e-7, -1e-7, 1e-7] * 5)), np.zeros(6))
    assert near.primal_residual <= 1e-14
    np.testing.assert_allclose(near.x, x, rtol=1e-9, atol=0)
    wrong = np.abs(x)
    assert np.array_equal(scaled.restore(wrong * size, np.zeros(6)).x, wrong)
