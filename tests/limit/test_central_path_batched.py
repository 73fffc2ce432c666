"""The parts of the batched path: its equations, what it says it knows, and how it gives up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlntorch.limit import batch as limit_batch
from dlntorch.limit import curve_batched
from dlntorch.limit.batched_state import PathRecord
from dlntorch.limit.central_path_batched import BatchedPath
from dlntorch.limit.central_path_engines import spare_compilation
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.graded_equations import solve
from dlntorch.numerics.trajectory import Status
from tests import problems


def path_of(p: float, seeds=(0, 1), m: int = 3, n: int = 7, nonzeros: int | None = None):
    """The batch of Gaussian problems as a path."""
    batch = [problems.gaussian(m, n, seed, nonzeros) for seed in seeds]
    return BatchedPath(torch.stack([one.A for one in batch]), torch.stack([one.y for one in batch]), p)


@pytest.mark.parametrize("p", [2.0, 3.0, 10.0])
@pytest.mark.parametrize("dl", [0.0, -0.7, -3.0])
def test_a_linear_step_satisfies_its_equation(p: float, dl: float) -> None:
    """A(ψ + D δt + ψ δlog a) = y, from where y − Aψ is far from zero."""
    path = path_of(p)
    state = path._start(path.log_top - 1.0)
    change = torch.full_like(path.log_top, dl)
    r, root, at_floor = path._linear_system(state, state.log_a[:, None] + path.offset, change)
    residual = (path.y - (path.A @ state.psi[..., None])[..., 0]).abs().amax(-1)
    assert bool((residual > 0.01 * path.y.abs().amax(-1)).all())
    assert not bool(at_floor.any())
    dt = solve(path.A.mT, root, path.share, r, torch.zeros_like(state.psi))
    reached = (path.A @ (state.psi + root**2 * dt + state.psi * dl)[..., None])[..., 0]
    assert torch.allclose(reached, path.y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k_inverse", [0.0, 1 / 3, 0.8])
def test_coordinates_that_do_not_move_in_t_fall_with_a_along_the_curve(k_inverse: float) -> None:
    """ψ = a h_p(τ): at the same τ it is exactly proportional to a, however long the step in log a."""
    b = torch.tensor([[-6.0, -1.5, -0.3, 0.0, 0.8, 2.0, 4.0]], dtype=torch.float64)
    zero = torch.zeros_like(b)
    start = curve_batched.curve_value(b, zero, k_inverse)
    root = curve_batched.root_slopes(start, b, zero, k_inverse)
    for dl in (-0.5, -3.0, -20.0):
        step = torch.full((1, 1), dl, dtype=torch.float64)
        psi, moved, e, change = curve_batched.advance(
            (start, b, zero), root, zero, zero + dl, step, k_inverse, 1e300 + step
        )
        assert torch.allclose(psi, math.exp(dl) * start, rtol=1e-13, atol=0)
        assert torch.equal(moved, b)
        assert not bool(e.any() or change.any())


@pytest.mark.parametrize(("nonzeros", "p"), [(None, 3.0), (2, 2.0), (1, 2.5)])
def test_its_uncertainty_is_that_of_the_path_of_one_problem(nonzeros: int | None, p: float) -> None:
    """First-order analysis of the same perturbations by another code."""
    batch = [problems.gaussian(4, 9, seed, nonzeros) for seed in range(3)]
    limit = limit_batch.limits(batch, p, np.array([[1e-1], [1e-3]]), False, torch.device("cpu"))
    with spare_compilation():
        for i, problem in enumerate(batch):
            one = flow_limit(problem, p, [1e-1, 1e-3])
            large = one.uncertainty > 1e-14  # what is smaller is rounding of its own computation
            assert torch.allclose(limit.uncertainty[i][large], one.uncertainty[large], rtol=1e-2)
            assert bool((limit.uncertainty[i] <= 2e-14 + 1.01 * one.uncertainty).all())


def test_the_uncertainty_covers_a_dual_point_that_is_off_the_range() -> None:
    """p = 2, where b = τ: moving τ by a relative 1e-7 off range(Aᵀ) changes ψ by as much, which has to be said."""
    path = path_of(2.0)
    points = path.points([2 * math.log(1e-2)])
    record = PathRecord(2, 1, points.psi[:, 0])
    off = torch.tensor([0.0, 1.0, -1.0, 0.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    record.log_a[:] = points.log_a
    record.b[:] = points.tau * (1 + 1e-7 * off)
    record.psi[:] = curve_batched.curve_value(record.b, points.log_a[..., None], 0.0)
    error = (record.psi - points.psi).abs() / torch.maximum(points.psi.abs(), 2 * points.log_a.exp()[..., None])
    judged = path._judged(record, 1)
    assert bool((points.uncertainty < 1e-12).all())
    assert bool((error.amax(-1) <= 100 * judged.uncertainty).all())
    assert bool((judged.uncertainty <= 1e-3).all())


def test_a_batch_in_which_every_step_overflows_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, and says so, whatever the steps are cut to."""
    calls = []

    def overflow(point, *_):
        psi, b, e = point
        calls.append(0)
        assert len(calls) < 100, "it goes on for ever"
        return psi, b, e, torch.full_like(psi[:, 0], torch.inf)

    monkeypatch.setattr(curve_batched, "advance", overflow)
    points = path_of(3.0).points([-3.0, -6.0])
    assert not bool(points.converged.any())
    problem = problems.gaussian(3, 7, 0)
    limit = limit_batch.limits([problem], 3.0, np.array([[1e-1]]), True, torch.device("cpu"))
    assert limit.status == (Status.FAILED,)
    assert "Newton's method stalled" in limit.reason[0]


def test_the_graded_equations_keep_a_row_that_is_a_hundred_and_eighty_decades_smaller() -> None:
    """Two equations without a common coordinate, D^{1/2} = (1, 1, 1e-180): the second is D₃ δt₃ = r₂ alone."""
    A = torch.tensor([[[1.0, 0.7, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    root = torch.tensor([[1.0, 1.0, 1e-180]], dtype=torch.float64)
    r = torch.tensor([[1.1, 3e-300]], dtype=torch.float64)
    dt = solve(A.mT, root, torch.ones(3, dtype=torch.float64), r, torch.zeros_like(root))[0]
    expected = [1.1 / 1.49, 0.77 / 1.49, 3e-300 / 1e-180 / 1e-180]
    assert dt.tolist() == pytest.approx(expected, rel=1e-13)


def test_a_batch_starts_where_a_is_a_float() -> None:
    problem = problems.paper_random()
    points = BatchedPath(problem.A[None], problem.y[None], 3.0).points([3 * math.log(1e150), 3 * math.log(0.1)])
    assert points.converged.tolist() == [[True, True]]
    assert points.log_a[0, 0] == pytest.approx(math.log(1e300))
    minimum_norm = torch.linalg.pinv(problem.A) @ problem.y
    assert torch.allclose(points.psi[0, 0], minimum_norm, rtol=1e-12, atol=1e-12)
