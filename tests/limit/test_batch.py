"""Many problems at once: the batched path against the path of one problem, and problems that must not harm each other."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dlntorch as dln
from dlntorch.limit import batch as limit_batch
from dlntorch.limit.flow_limit import FlowLimit, flow_limit
from dlntorch.numerics.graded_equations import solve
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from tests import problems

CPU = torch.device("cpu")


def batched(batch, p, alphas) -> FlowLimit:
    """The batched path, whatever ``pays`` says."""
    return limit_batch.limits(batch, p, np.array(alphas, dtype=float)[:, None], False, CPU)


def check_equal(batch, p, alphas, limit) -> None:
    """Every problem's statuses, and every coordinate to 1e-12 or what its ``uncertainty`` says, from the single path."""
    for i, problem in enumerate(batch):
        one = flow_limit(problem, p, alphas)
        for j, alpha in enumerate(alphas):
            assert limit.status[i][j] == one.status[j]
            scale = torch.maximum(one.psi[j].abs(), torch.tensor(2 * alpha**p, dtype=torch.float64))
            bound = 1e-12 + 1000 * float(one.uncertainty[j])
            assert float(((limit.psi[i, j] - one.psi[j]).abs() / scale).max()) <= bound
            assert float(limit.residual[i, j]) <= 1e-14
            assert float(limit.dual_residual[i, j]) <= 1e-12


@pytest.mark.parametrize("p", [2.0, 2 + 1e-9, 2.2, 3.0, 7.0])
@pytest.mark.parametrize("nonzeros", [None, 3])
def test_equal_to_the_path_of_one_problem(p, nonzeros):
    batch = [problems.gaussian(10, 30, seed, nonzeros, scale=10.0 ** (seed - 3)) for seed in range(6)]
    alphas = [1e-2, 10.0, 1e-1, 1e-2]  # in any order, with repeats, and above every |A⁺y|
    limit = batched(batch, p, alphas)
    assert torch.equal(limit.psi[:, 0], limit.psi[:, 3])
    check_equal(batch, p, alphas, limit)


def test_against_multiprecision():
    """1e-13 of ‖ψ‖_∞ as for one problem, tiny coordinates to their uncertainty."""
    for p in (2, 3):
        batch = [problems.gaussian(3, 7, seed, 2 if seed % 2 else None) for seed in range(2)]
        alphas = [1e-1, 1e-3]
        limit = batched(batch, p, alphas)
        exact = flow_limit(batch, p, alphas, precision=30)
        error = (limit.psi - exact.psi).abs()
        assert float((error / exact.psi.abs().amax(-1, keepdim=True)).max()) <= 1e-13
        a = torch.tensor(alphas, dtype=torch.float64)[:, None] ** p
        relative = (error / torch.maximum(exact.psi.abs(), 2 * a)).amax(-1)
        assert bool((relative <= 1e-13 + 100 * limit.uncertainty).all())


def test_one_bad_problem_does_not_harm_the_others():
    """Side by side: y = 0, dependent rows, y outside the range, a zero column, and digits that float64 does not hold."""
    good = problems.gaussian(5, 14, seed=0)
    zero = Problem(good.A, torch.zeros(5))
    A = good.A.clone()
    A[4] = A[0] + A[1]
    low = Problem(A, torch.cat([good.y[:4], good.y[:1] + good.y[1:2]]))
    outside = Problem(A, good.y)
    A = good.A.clone()
    A[:, 3] = 0
    hole = Problem(A, good.y)
    sparse = problems.gaussian(5, 14, seed=1, nonzeros=1)
    batch = [good, zero, low, outside, hole, sparse]
    alphas = [1e-1, 1e-8]
    limit = batched(batch, 3, alphas)
    for i, problem in enumerate(batch):
        one = flow_limit(problem, 3, alphas)
        assert limit.status[i] == one.status
        assert [reason[:60] for reason in limit.reason[i]] == [reason[:60] for reason in one.reason]
        assert torch.allclose(limit.psi[i], one.psi, rtol=1e-10, atol=1e-13)
        assert torch.isfinite(limit.tau[i]).all()
    assert limit.status[0] == (Status.CONVERGED,) * 2
    assert limit.status[5][1] is Status.BELOW_INPUT_PRECISION
    assert "not in range(A)" in limit.reason[3][0]
    assert not torch.any(limit.psi[1])
    alone = batched([good], 3, alphas)
    assert torch.allclose(limit.psi[0], alone.psi[0], rtol=1e-13, atol=0)


def test_alpha_out_of_the_range_of_float64_is_said():
    batch = [problems.paper_random(), problems.gaussian(3, 5, seed=0)]
    limit = batched(batch, 4, [1e-1, 1e-80, 1e-100])
    assert [status[0] for status in limit.status] == [Status.CONVERGED] * 2
    for i in range(2):
        assert limit.status[i][1:] == (Status.BELOW_INPUT_PRECISION,) * 2
        assert "out of the range of float64" in limit.reason[i][2]
        assert torch.equal(limit.psi[i, 1], limit.psi[i, 2])


@pytest.mark.parametrize("p", [2.0, 3.0])
def test_per_coordinate_alpha(p):
    batch = [problems.gaussian(3, 7, seed) for seed in range(3)]
    alphas = np.random.default_rng(0).uniform(1e-3, 1e-1, (2, 7))
    limit = limit_batch.limits(batch, p, alphas, False, CPU)
    for i, problem in enumerate(batch):
        one = flow_limit(problem, p, alphas, per_coordinate=True)
        assert torch.allclose(limit.psi[i], one.psi, rtol=1e-12, atol=0)
        assert torch.allclose(limit.tau[i], one.tau, rtol=1e-12, atol=1e-15)


def test_it_is_used_where_it_pays():
    many = [problems.gaussian(2, 4, seed) for seed in range(512)]
    few = [problems.gaussian(20, 60, seed) for seed in range(3)]
    assert limit_batch.pays(many)
    assert not limit_batch.pays(few)
    limit = flow_limit(many, 3, 1e-2)
    assert limit.psi.shape == (512, 4)
    assert limit.status == (Status.CONVERGED,) * 512
    assert torch.allclose(limit.psi[7], flow_limit(many[7], 3, 1e-2).psi, rtol=1e-12, atol=0)


@pytest.mark.parametrize("decades", [0, 3, 40, 140])
def test_graded_equations_in_every_coordinate(decades):
    """D^{1/2} over up to 280 decades: A D (dt + e) = r + A D e and dt + e in range(Aᵀ), against 600-digit arithmetic."""
    import mpmath as mp

    rng = np.random.default_rng(decades)
    A, root = rng.standard_normal((3, 7)), 10.0 ** rng.uniform(-decades, decades, 7)
    r, e = rng.standard_normal(3) * root.max() ** 2, 1e-3 * rng.standard_normal(7)
    parts = [torch.from_numpy(part)[None] for part in (A.T.copy(), root, r, e)]
    dt = solve(parts[0], parts[1], torch.ones(7, dtype=torch.float64), parts[2], parts[3])[0].numpy()
    with mp.workdps(600):
        M, D, error = mp.matrix(A.tolist()), mp.diag([mp.mpf(x) ** 2 for x in root.tolist()]), mp.matrix(e.tolist())
        lam = mp.lu_solve(M * D * M.T, mp.matrix(r.tolist()) + M * (D * error))
        exact = M.T * lam - error
        for i, value in enumerate(dt):
            assert abs(mp.mpf(float(value)) - exact[i]) <= 1e-9 * (abs(exact[i]) + abs(error[i]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("nonzeros", [None, 3])
@pytest.mark.parametrize("p", [2.0, 3.0])
def test_on_cuda(p, nonzeros):
    batch = [problems.gaussian(10, 30, seed, nonzeros) for seed in range(8)]
    there = [problem.to("cuda") for problem in batch]
    limit = flow_limit(there, p, [1e-1, 1e-2])
    assert limit.psi.is_cuda
    assert limit.uncertainty.is_cuda
    here = {name: getattr(limit, name).cpu() for name in ("psi", "residual", "dual_residual")}
    check_equal(batch, p, [1e-1, 1e-2], FlowLimit(**(vars(limit) | here)))
    single = flow_limit(there[0], p, 1e-2)
    assert single.psi.is_cuda
    assert torch.allclose(single.psi.cpu(), flow_limit(batch[0], p, 1e-2).psi, rtol=1e-11, atol=0)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 6),
    extra=st.integers(0, 10),
    p=st.sampled_from([2.0, 2.01, 2.5, 3.0, 5.0, 50.0]),
)
def test_any_batch(seed, m, extra, p):
    check_any_batch(seed, m, m + extra, p)


@pytest.mark.slow
@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 8),
    extra=st.integers(-2, 14),
    p=st.sampled_from([2.0, 2 + 1e-9, 2.01, 2.2, 2.5, 3.0, 4.0, 5.0, 7.0, 50.0]),
)
def test_any_batch_of_many(seed, m, extra, p):
    check_any_batch(seed, m, max(m + extra, 1), p)


def check_any_batch(seed, m, n, p):
    """Scales 1e-6 to 1e6, duplicated and opposite columns, ranks, integers; planted, generic and zero y, in one batch."""
    rng = np.random.default_rng(seed)
    batch = []
    for kind in ("generic", "integer", "duplicates", "low rank", "graded", "zero"):
        A = rng.standard_normal((m, n))
        if kind == "integer":
            A = rng.integers(-2, 3, (m, n)).astype(float)
        elif kind == "duplicates" and n > 1:
            A[:, n // 2 :] = A[:, : n - n // 2] * rng.choice([-1, 1], n - n // 2)
        elif kind == "low rank":
            A = rng.standard_normal((m, 1)) @ rng.standard_normal((1, n))
        elif kind == "graded":
            A = A * 10.0 ** rng.uniform(-3, 3, (m, 1))
        A = A * 10.0 ** rng.uniform(-6, 6)
        A[0, 0] = A[0, 0] or 1.0
        planted = rng.standard_normal(n) * (rng.random(n) < 0.3) * 10.0 ** rng.uniform(-6, 6)
        y = np.zeros(m) if kind == "zero" else A @ planted if rng.random() < 0.5 else rng.standard_normal(m)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            batch.append(Problem(A, y))
    alphas = list(10.0 ** rng.uniform(-6, 2, 2))
    limit = batched(batch, p, alphas)
    for name in ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty"):
        assert torch.isfinite(getattr(limit, name)).all(), name
    for i, problem in enumerate(batch):
        one = flow_limit(problem, p, alphas)
        for j, status in enumerate(limit.status[i]):
            if status is Status.CONVERGED:
                assert float(limit.residual[i, j]) <= 1e-10
                assert float(limit.dual_residual[i, j]) <= 1e-10
            else:
                assert status is Status.BELOW_INPUT_PRECISION
                assert limit.reason[i][j]
            if status is Status.CONVERGED and one.status[j] is Status.CONVERGED:
                scale = torch.maximum(one.psi[j].abs(), torch.tensor(2 * alphas[j] ** p, dtype=torch.float64))
                error = ((limit.psi[i, j] - one.psi[j]).abs() / scale).max()
                assert float(error) <= 1e-12 + 1000 * float(one.uncertainty[j])


@pytest.mark.parametrize("p", [2.0, 3.0, 6.0])
def test_a_batch_from_one_general_start_is_each_problem_s_own_limit(p):
    batch = [problems.gaussian(4, 9, seed, nonzeros=None if seed % 2 else 2) for seed in range(6)]
    rng = np.random.default_rng(3)
    warm = dln.Initialization.warm(rng.standard_normal(9), 1e-2, p)
    for start in (dln.Initialization(*(1e-2 * 10 ** rng.uniform(-1, 1, (2, 9)))), warm):
        limit = limit_batch.limits_from(batch, p, torch.stack(start.expanded(9)).numpy(), CPU)
        assert limit.psi.shape == (6, 9)
        for i, problem in enumerate(batch):
            one = flow_limit(problem, p, start)
            assert limit.status[i] is one.status
            error = float((limit.psi[i] - one.psi).abs().max() / one.psi.abs().max())
            assert error <= 1e-13 + 2 * float(one.uncertainty)
    many = flow_limit([batch[0]] * 600, p, warm)
    assert many.psi.shape == (600, 9)
    assert torch.allclose(many.psi[7], flow_limit(batch[0], p, warm).psi, rtol=1e-9, atol=1e-13)
