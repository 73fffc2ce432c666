"""The step-size threshold: its lemmas along own runs, its margin against linear programmes, and its verdict."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

import dlntorch as dln
from dlntorch.bounds.effective import effective_initialization
from dlntorch.bounds.minimax import RoomBelow
from dlntorch.bounds.selection_margin import selection_margin
from dlntorch.bounds.threshold import step_size_threshold
from tests.bounds.runs import gaussian, plain_sgd


def weighted(A, y, plus, minus):
    """min Σ w₊ψ⁺ + w₋ψ⁻ by HiGHS."""
    found = linprog(np.concatenate([plus, minus]), A_eq=np.hstack([A, -A]), b_eq=y, method="highs")
    assert found.status == 0
    n = A.shape[1]
    return found.x[:n] - found.x[n:]


def planted(seed, m=6, n=12, k=2):
    rng = np.random.default_rng(seed)
    A, x = rng.standard_normal((m, n)), np.zeros(n)
    x[rng.choice(n, k, replace=False)] = rng.standard_normal(k)
    return A, A @ x


def support_weights(problem, p, plus, minus, alpha, s, W):
    """w on the support's side, relative to 1 at the start, as the theorem defines it."""
    S = np.flatnonzero(W)
    end = effective_initialization(problem, p, plus, minus, alpha, s=s)
    side = np.where(W[S] > 0, end.initialization.plus.numpy()[S], end.initialization.minus.numpy()[S])
    if p == 2:
        L = np.log(np.abs(W).max() / alpha**2)
        return np.log(np.abs(W).max() / side**2) / L
    return (side / alpha) ** (2 - p)


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_energy_and_steps_as_the_lemmas_say(p, seed):
    """Lemma 3 exactly: Σ η(m/b)‖r‖² = yᵀs − (‖θ_K‖² − ‖θ_0‖² − Σ η²‖∇L‖²)/(2p), and its bound."""
    A, y = planted(seed)
    m, n = A.shape
    alpha, batch = 0.03, (None, 1, 3)[seed]
    rng = np.random.default_rng(0)
    plus, minus = np.full(n, alpha), np.full(n, alpha)
    s, energy, kicks, norm2 = np.zeros(m), 0.0, 0.0, np.linalg.norm(A, 2) ** 2
    residuals = []
    for _ in range(1000):
        rows = np.arange(m) if batch is None else rng.choice(m, batch, replace=False)
        share = m / len(rows)
        r = y[rows] - A[rows] @ (plus**p - minus**p)
        g = share * A[rows].T @ r
        rho = p * np.max(np.maximum(plus, minus) ** (p - 2) * np.abs(g))
        eta = min(
            1 / (p * p * norm2 * share * np.max(plus ** (2 * p - 2) + minus ** (2 * p - 2)) + (p - 1) * rho), 0.1 / rho
        )
        up, down = p * plus ** (p - 1) * g, -p * minus ** (p - 1) * g
        energy += eta * share * r @ r
        kicks += eta**2 * (up @ up + down @ down)
        s[rows] += eta * share * r
        plus, minus = plus + eta * up, minus + eta * down
        residuals.append(np.linalg.norm(r))
    exact = y @ s - (plus @ plus + minus @ minus - 2 * n * alpha**2 - kicks) / (2 * p)
    assert energy == pytest.approx(exact, rel=1e-9)
    W = dln.l1_minimizer(dln.Problem(A, y)).psi.numpy()
    delta = support_weights(dln.Problem(A, y), p, plus, minus, alpha, s, W).max() - 1
    unit = 4 / np.log(np.abs(W).max() / alpha**2) if p == 2 else p * (p - 2) * alpha ** (p - 2)
    start = 2 * n * alpha**2 * unit / (2 * p)
    assert (1 - 1 / (2 * p)) * energy * unit <= (1 + delta) * np.abs(W).sum() + start
    if batch is None:
        assert np.all(np.diff(residuals) <= 1e-15)  # Lemma 4


@pytest.mark.parametrize("seed", range(6))
def test_the_margin_is_what_linear_programmes_find(seed):
    """Weights in [1, 1 + d] on the support: the minimiser stays for d < δ*, and for |S| = m some leave it for d > δ*."""
    rng = np.random.default_rng(seed)
    A, y = planted(seed) if seed % 2 else gaussian(seed, 4, 8)
    problem = dln.Problem(A, y)
    W = dln.l1_minimizer(problem).psi.numpy()
    S = np.flatnonzero(W)
    margin = selection_margin(problem, S, np.sign(W[S]))
    for _ in range(20):
        w = np.ones((2, A.shape[1]))
        w[:, S] += margin.delta * rng.integers(0, 2, S.size)
        w += (1 - np.isin(np.arange(A.shape[1]), S)) * rng.random(A.shape[1])
        np.testing.assert_allclose(weighted(A, y, *w), W, atol=1e-7)
    off = np.setdiff1d(np.arange(A.shape[1]), S)
    b = np.linalg.pinv(A[:, S]) @ A[:, off]
    assert margin.influence == pytest.approx(np.abs(b).sum(axis=0).max(), rel=1e-9)
    assert margin.delta * margin.influence >= (1 - margin.rho) * (1 - 1e-5)
    if S.size == A.shape[0]:
        wrong = []
        for i in range(off.size):
            for sign in (1, -1):
                w = np.ones(A.shape[1])
                w[S] += 1.01 * margin.delta * (sign * b[:, i] * np.sign(W[S]) > 0)
                wrong.append(np.abs(weighted(A, y, w, w) - W).max() > 1e-6)
        assert any(wrong)


@pytest.mark.parametrize("seed", range(8))
def test_the_room_below_bounds_is_what_a_linear_programme_leaves(seed):
    """max e subject to |τ + Fz| + c e <= b, one programme after the other, against HiGHS."""
    rng = np.random.default_rng(seed)
    size, k = int(rng.integers(6, 60)), int(rng.integers(1, 6))
    tau, free = rng.uniform(-1, 1, size), rng.standard_normal((size, k))
    if seed == 7:  # rows and values that are equal
        tau, free = np.round(tau, 1), np.sign(free)
    room = RoomBelow(tau, free)
    for costs, limit in ((np.ones(size), 0.0), (1 + rng.random(size), 1.0), (1 + 5 * rng.random(size), 1.0)):
        z = room.move(costs, limit)
        rows = np.vstack([np.column_stack([sign * free, costs]) for sign in (1, -1)])
        goal, right = np.append(np.zeros(k), -1.0), limit - np.concatenate([tau, -tau])
        best = -linprog(goal, A_ub=rows, b_ub=right, bounds=(None, None), method="highs").fun
        assert np.min((limit - np.abs(tau + free @ z)) / costs) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
@pytest.mark.parametrize("batch", [None, 2])
def test_the_weights_stay_below_the_margin(p, batch):
    """At κ and c of the threshold, by own loops: δ <= δ* at the end, as proved."""
    kept = []
    for seed in range(3):
        A, y = planted(seed)
        problem = dln.Problem(A, y)
        found = step_size_threshold(problem, p, 1e-2, batch_size=batch)
        if found.kappa is None or found.kappa < 1e-3:
            continue
        plus, minus, s = plain_sgd(A, y, p, 1e-2, found.kappa, 3000, batch, seed, c=found.c)
        W = dln.l1_minimizer(problem).psi.numpy()
        kept.append((support_weights(problem, p, plus, minus, 1e-2, s, W).max() - 1) / found.delta)
    assert all(share <= 1 for share in kept)
    assert kept or batch == 2


def test_what_it_depends_on():
    A, y = planted(1)
    problem = dln.Problem(A, y)
    one = step_size_threshold(problem, 3, 1e-3)
    assert one.kappa < step_size_threshold(problem, 2, 1e-3).kappa
    for factor in (1e-3, 1e6):  # rescaling A, or y with α^p, changes nothing
        other = step_size_threshold(dln.Problem(factor * A, factor * y), 3, 1e-3)
        assert other.kappa == pytest.approx(one.kappa, rel=1e-6)
    scaled = step_size_threshold(dln.Problem(A, 1e3 * y), 3, 1e-2)
    assert scaled.kappa == pytest.approx(one.kappa, rel=1e-6)
    mirrored = step_size_threshold(dln.Problem(A * np.where(np.arange(12) % 2, 1, -1), y), 3, 1e-3)
    assert mirrored.kappa == pytest.approx(one.kappa, rel=1e-6)
    smaller = step_size_threshold(problem, 3, 1e-9)
    assert smaller.c >= one.c
    assert smaller.kappa >= 0.5 * one.kappa


def test_where_there_is_none():
    kink = dln.Problem([[1.0, 1.0, 0.5]], [1.0])
    assert "several" in step_size_threshold(kink, 3, 1e-3).reason
    assert "y = 0" in step_size_threshold(dln.Problem([[1.0, 2.0]], [0.0]), 3, 1e-3).reason
    A, y = planted(0)
    y0 = y * (np.arange(6) > 0)
    assert "an entry of y is 0" in step_size_threshold(dln.Problem(A, y0), 3, 1e-3, batch_size=1).reason
    assert "alpha is too large" in step_size_threshold(dln.Problem(A, y), 2, 10.0).reason
    near = step_size_threshold(dln.Problem([[1.0, 1 - 1e-8]], [1.0]), 3, 1e-3)
    assert near.kappa is None or near.kappa < 1e-6


def test_mistakes_are_one_line():
    A, y = planted(0)
    with pytest.raises(dln.InputError, match="^p must be"):
        step_size_threshold(dln.Problem(A, y), 1, 1e-3)
    with pytest.raises(dln.InputError, match="^alpha must be"):
        step_size_threshold(dln.Problem(A, y), 3, -1)
    with pytest.raises(dln.InputError, match="^batch_size must be"):
        step_size_threshold(dln.Problem(A, y), 3, 1e-3, batch_size=7)
