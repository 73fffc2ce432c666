"""The step-size threshold from starts that differ between coordinates and between θ₊ and θ₋."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

import dlntorch as dln
from dlntorch.bounds.selection_margin import selection_margin
from dlntorch.bounds.threshold import step_size_threshold
from dlntorch.model.positive_start import PositiveStart
from tests.bounds.runs import plain_sgd
from tests.bounds.test_threshold import planted, weighted
from tests.bounds.test_threshold_runs import LEAST, random_problem, selects


def shaped(seed: int, n: int, symmetric: bool, spread: float = 3.0):
    """ω± > 0 within a factor ``spread``."""
    rng = np.random.default_rng(seed)
    plus, minus = spread ** rng.random((2, n))
    return plus, plus if symmetric else minus


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_the_margin_is_what_linear_programmes_find(seed, symmetric):
    """Weights ω(1 + [0, d]) on the support: the minimiser stays for d < δ*, and for |S| = m some leave it for d > δ*."""
    rng = np.random.default_rng(seed)
    A, y = planted(seed) if seed % 2 else (rng.standard_normal((4, 8)), rng.standard_normal(4))
    m, n = A.shape
    omega = np.stack(shaped(seed, n, symmetric))
    problem = dln.Problem(A, y)
    W = dln.l1_minimizer(problem, weights=tuple(omega)).psi.numpy()
    S, sign = np.flatnonzero(W), np.sign(W)
    margin = selection_margin(problem, S, sign[S], tuple(omega))
    delta = margin.delta
    assert delta is not None
    assert 0 < delta < np.inf
    off = np.setdiff1d(np.arange(n), S)
    for _ in range(20):
        w = omega.copy()
        w[:, S] *= 1 + delta * rng.integers(0, 2, S.size)
        w[:, off] += rng.random(off.size)
        np.testing.assert_allclose(weighted(A, y, *w), W, atol=1e-7)
    own = np.where(sign[S] > 0, omega[0, S], omega[1, S])
    # the programme itself, by HiGHS: max d of (1 + d/2)(ω_S, |A_iᵀλ|) is linear in (λ, e), e = d/(2 + d)
    inverse = np.linalg.pinv(A[:, S])
    mu = own @ np.abs(inverse @ A[:, off])
    rows = np.vstack(
        [np.column_stack([A[:, off].T, mu + omega[0, off]]), np.column_stack([-A[:, off].T, mu + omega[1, off]])]
    )
    found = linprog(
        np.append(np.zeros(m), -1.0),
        A_ub=rows,
        b_ub=np.concatenate([omega[0, off], omega[1, off]]),
        A_eq=np.column_stack([A[:, S].T, np.zeros(S.size)]),
        b_eq=sign[S] * own,
        bounds=(None, None),
    )
    e = -found.fun
    assert delta >= 2 * e / (1 - e) * (1 - 1e-5)
    if S.size == m:
        assert delta == pytest.approx(2 * e / (1 - e), rel=1e-5)
        wrong = []
        for i in range(off.size):
            for side in (1, -1):
                w = omega.copy()
                w[:, S] *= 1 + 1.01 * delta * (side * (inverse @ A[:, off[i]]) * sign[S] > 0)
                wrong.append(np.abs(weighted(A, y, *w) - W).max() > 1e-6)
        assert any(wrong)


def test_ones_are_no_weights():
    A, y = planted(1)
    problem = dln.Problem(A, y)
    W = dln.l1_minimizer(problem).psi.numpy()
    S = np.flatnonzero(W)
    plain = selection_margin(problem, S, np.sign(W[S]))
    ones = np.ones(12)
    assert selection_margin(problem, S, np.sign(W[S]), (ones, ones)) == plain
    one = step_size_threshold(problem, 3, 0.01)
    assert step_size_threshold(problem, 3, dln.Initialization(np.full(12, 0.01))) == one
    near = np.full(12, 0.01)
    near[0] *= 1 + 1e-9
    for p in (2, 2.5, 3, 4):
        one, other = step_size_threshold(problem, p, 0.01), step_size_threshold(problem, p, dln.Initialization(near))
        assert one.kappa is not None
        assert other.kappa == pytest.approx(one.kappa, rel=1e-6)
        assert other.path_length == pytest.approx(one.path_length, rel=1e-6)


def cases(seed):
    """A random problem, a depth, a start and its threshold, full batch and single rows."""
    problem, rng = random_problem(seed)
    n = problem.n
    for p in (2, 2.5, 3, 4):
        for batch in (None, 1):
            plus, minus = 10 ** (rng.uniform(-3, -1.3) + rng.choice([0.05, 0.3, 1.0]) * rng.uniform(-1, 1, (2, n)))
            start = dln.Initialization(plus, plus if seed % 3 == 0 else minus)
            found = step_size_threshold(problem, p, start, batch_size=batch)
            if found.kappa is not None and found.kappa >= LEAST:
                yield problem, p, start, batch, found


def minimiser(problem, p, start):
    """The start with its sides, ω± and the minimiser of the norm that they weigh, by HiGHS."""
    sides = PositiveStart.of(start, p, problem.n)
    weights = (1, 1) if p == 2 else ((sides.plus / sides.top) ** (2 - p), (sides.minus / sides.top) ** (2 - p))
    W = weighted(problem.A.numpy(), problem.y.numpy(), *(w * np.ones(problem.n) for w in weights))
    return sides, weights, W


def count_runs(seeds):
    runs = wrong = 0
    for seed in seeds:
        for problem, p, start, batch, found in cases(seed):
            runs += 1
            W = minimiser(problem, p, start)[2]
            wrong += not selects(problem, p, start, W, batch, found.kappa, found.c, seed)
    return runs, wrong


def used(problem, p, start, batch, found, steps, seed):
    """δ/δ* after steps by own loops at κ and c of the threshold, with the run's own s; no weight has fallen."""
    A, y = problem.A.numpy(), problem.y.numpy()
    sides, weights, W = minimiser(problem, p, start)
    plus, minus, s = plain_sgd(A, y, p, (sides.plus, sides.minus), found.kappa, steps, batch, seed, c=found.c)
    L = np.log(np.abs(W).max() / sides.top**2)
    if p == 2:
        tau = 4 * A.T @ s / L
        ends = [1 - np.log(theta**2 / sides.top**2) / L for theta in (plus, minus)]
        first = [1 - np.log(alpha**2 / sides.top**2) / L for alpha in (sides.plus, sides.minus)]
    else:
        tau = p * (p - 2) * sides.top ** (p - 2) * A.T @ s
        ends = [(theta / sides.top) ** (2 - p) for theta in (plus, minus)]
        first = weights
    ratios = np.stack([(ends[0] + tau) / first[0], (ends[1] - tau) / first[1]])
    assert ratios.min() >= 1 - 1e-9
    S = np.abs(W) > 1e-7 * np.abs(W).max()
    return (np.where(W > 0, *ratios)[S].max() - 1) / found.delta


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_stay_below_the_margin(seed):
    shares = [used(*case, steps=3000, seed=seed) for case in cases(seed)]
    assert shares
    assert max(shares) <= 1


def test_runs_at_their_thresholds_select_rightly():
    runs, wrong = count_runs(range(3))
    assert runs >= 8
    assert wrong == 0


@pytest.mark.slow
def test_many_runs_at_their_thresholds():
    runs, wrong = count_runs(range(3000, 3080))
    assert runs >= 300
    assert wrong == 0


def test_a_selecting_run_from_a_start():
    A, y = planted(1)
    plus, minus = 0.01 * np.stack(shaped(1, 12, False, 1.5))
    start = dln.Initialization(plus, minus)
    problem = dln.Problem(A, y)
    found = step_size_threshold(problem, 3, start)
    run = dln.train(problem, 3, start, schedule="selecting", tol=1e-4, max_steps=200_000)
    assert run.summary["schedule"]["kappa"] == found.kappa
    assert run.summary["effective"]["kappa_threshold"] == pytest.approx(found.kappa, rel=1e-9)
    with pytest.raises(dln.InputError, match="^minimizer must be l1_minimizer with the weights"):
        step_size_threshold(problem, 3, start, minimizer=dln.l1_minimizer(problem))


def test_where_there_is_none():
    A, y = planted(0)
    problem = dln.Problem(A, y)
    large = np.full(12, 0.01)
    large[3] = 10.0
    assert "alpha is too large" in step_size_threshold(problem, 2, dln.Initialization(large)).reason
    uneven = 10 ** np.linspace(-60, 0, 12)  # at p = 2 a finite α this uneven changes the minimiser
    assert step_size_threshold(problem, 2, dln.Initialization(0.01 * uneven)).kappa is None
    with pytest.raises(dln.InputError, match=r"^alpha must have entries whose powers a\^\(2 - p\) differ by less than"):
        step_size_threshold(problem, 4, dln.Initialization(10 ** np.linspace(-100, 0, 12)))
