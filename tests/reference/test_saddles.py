"""Saddle paths: exact cases, a slow independent path, scikit-learn's lasso path, the flow itself."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import nnls

import dlntorch as dln
from dlntorch.numerics.validation import DataWarning, InputError
from dlntorch.reference.saddles import saddle_path
from tests import problems

TINY = [[1, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]]


def slow_path(A, y, plus, minus, most=10_000):
    """The same path, every saddle solved from scratch by scipy: (times, saddles)."""
    q, T, times, saddles = np.zeros(A.shape[1]), 0.0, [], [np.zeros(A.shape[1])]
    signs = np.zeros(A.shape[1])
    for _ in range(most):
        g = A.T @ (y - A @ saddles[-1])
        g[np.abs(g) < 1e-11 * np.abs(A.T @ y).max()] = 0
        signs[signs * g < 0] = 0
        room = np.where(g > 0, plus - q, minus + q)
        free = (g != 0) & (signs == 0) & np.isfinite(room)
        if not free.any():
            return np.array(times), np.array(saddles)
        waits = np.where(free, room / np.where(free, np.abs(g), 1), np.inf)
        new = waits <= waits.min() + 1e-10
        q, T = q + waits.min() * g, T + waits.min()
        signs[new] = np.sign(g[new])
        wall = np.flatnonzero(signs)
        psi = np.zeros(A.shape[1])
        psi[wall] = signs[wall] * nnls(A[:, wall] * signs[wall], y, maxiter=10_000)[0]
        times.append(T)
        saddles.append(psi)
    raise AssertionError("no end")


def random_pair(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 9))
    n = int(rng.integers(m + 1, 4 * m + 6))
    A, y = rng.standard_normal((m, n)), rng.standard_normal(m)
    if seed % 3 == 1:  # small integers: exact ties are common
        A, y = np.round(2 * A), np.round(2 * y)
    if seed % 3 == 2:
        truth = np.where(rng.random(n) < 0.3, rng.standard_normal(n), 0.0)
        y = A @ truth
    return A, y


def agrees(path, times, saddles, tolerance=1e-9):
    assert path.times.numpy() == pytest.approx(times, rel=tolerance)
    assert path.psi.numpy() == pytest.approx(saddles, abs=tolerance * max(1.0, np.abs(saddles).max()))


def test_the_exact_path_of_the_theory_page():
    path = dln.saddle_path(dln.Problem(TINY, [1, 0]))
    assert path.times.tolist() == pytest.approx([1, 4, 4 + 80 / 49], rel=1e-14)
    want = [[0, 0, 0, 0], [0.8, 0, 0, 0], [0, 0, 1.4, 0], [0, 0, 10 / 7, -10 / 49]]
    assert path.psi.numpy() == pytest.approx(np.array(want), abs=1e-14)
    assert path.monotone_until == 4
    assert path.entered == (((0, 1),), ((2, 1),), ((3, -1),))
    assert path.ties == ()
    assert path.status == "converged"


def test_orthogonal_columns_jump_one_by_one_at_one_over_their_data():
    """A = (I 0): coordinate i switches on at 1/|y_i|, alone."""
    path = saddle_path(dln.Problem(np.eye(3, 4), [0.5, -2.0, 1.0]))
    assert path.times.tolist() == pytest.approx([0.5, 1, 2])
    assert path.loss.tolist() == pytest.approx([2.625, 0.625, 0.125, 0])
    assert path.psi[-1].tolist() == pytest.approx([0.5, -2.0, 1.0, 0.0])


@pytest.mark.parametrize("part", range(3))
def test_random_problems_equal_a_path_solved_from_scratch(part):
    compared = 0
    for seed in range(part, 420, 3):
        A, y = random_pair(seed)
        if not (np.abs(A).sum() and np.abs(A.T @ y).sum()):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            problem = dln.Problem(A, y)
        path = saddle_path(problem)
        times, saddles = slow_path(A, y, np.ones(problem.n), np.ones(problem.n))
        assert path.times.numpy() == pytest.approx(times, rel=1e-9)
        fits = saddles @ A.T
        assert path.psi.numpy() @ A.T == pytest.approx(fits, abs=1e-9 * np.abs(y).max())
        if not path.ties:
            agrees(path, times, saddles)
        compared += 1
    assert compared >= 130


def test_scale_and_signs_of_the_data_move_the_path_as_they_must():
    A, y = random_pair(3)
    base = saddle_path(dln.Problem(A, y))
    for a, b in ((1e-100, 1e3), (1e60, 1e-120), (3.0, 1e100)):
        path = saddle_path(dln.Problem(a * A, b * y))
        agrees(path, base.times.numpy() / a / b, base.psi.numpy() * (b / a), 1e-11)
    flipped = saddle_path(dln.Problem(-A, y))
    assert torch.equal(flipped.psi, -base.psi)


def test_shapes_move_the_walls():
    """Depth 4, a± of one decimal: walls at a±^{-2}; the scale is a unit of T only."""
    rng = np.random.default_rng(5)
    A, y = rng.standard_normal((5, 14)), rng.standard_normal(5)
    plus, minus = rng.uniform(0.5, 2, 14), rng.uniform(0.5, 2, 14)
    problem = dln.Problem(A, y)
    for p in (2.5, 3, 4):
        start = dln.Initialization(1e-3 * plus, 1e-3 * minus)
        path = saddle_path(problem, p, start, scale=1e-3)
        agrees(path, *slow_path(A, y, plus ** (2 - p), minus ** (2 - p)), 1e-8)
        other = saddle_path(problem, p, start)
        unit = (min(plus.min(), minus.min())) ** (2 - p)
        assert other.times.numpy() == pytest.approx(path.times.numpy() / unit, rel=1e-12)
        assert float(other.times[0]) / other.rate() == pytest.approx(float(path.times[0]) / path.rate(), rel=1e-12)
    flat = saddle_path(problem, 2, dln.Initialization(1e-3 * plus, 1e-3 * minus))  # at p = 2 the shape moves no wall
    assert torch.equal(flat.psi, saddle_path(problem).psi)


def test_networks_share_one_path_and_one_sided_ones_end_at_nonnegative_least_squares():
    A, y = random_pair(6)
    problem = dln.Problem(A, y)
    base = saddle_path(problem)
    for network in (2, 3.5, dln.Product(2), dln.Product(5)):
        assert torch.equal(saddle_path(problem, network).psi, base.psi)
    for p in (2, 3):
        path = saddle_path(problem, dln.Nonnegative(p))
        agrees(path, *slow_path(A, y, np.ones(problem.n), np.full(problem.n, np.inf)))
        assert path.psi[-1].numpy() == pytest.approx(nnls(A, y)[0], abs=1e-9)


def test_deficient_rank_and_inconsistent_data_end_at_least_squares():
    rng = np.random.default_rng(8)
    A = rng.standard_normal((6, 3)) @ rng.standard_normal((3, 12))
    y = rng.standard_normal(6)
    path = saddle_path(dln.Problem(A, y))
    agrees(path, *slow_path(A, y, np.ones(12), np.ones(12)))
    assert "least squares" in path.reason
    best = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
    assert float(path.loss[-1]) == pytest.approx(0.5 * best @ best, rel=1e-12)


def test_equal_columns_share_and_dependent_ones_select():
    A = np.array([[1.0, 1.0, -1.0, 0.3], [0.2, 0.2, -0.2, 1.0]])
    path = saddle_path(dln.Problem(A, [1.0, 0.1]))
    assert path.psi[-1, 0] == path.psi[-1, 1] == -path.psi[-1, 2] != 0
    assert path.ties[0] == (0, (0, 1, 2))
    for p in (2, 3, 6):  # the paper's line: all three minimisers' coordinates are at their walls together
        line = saddle_path(problems.line(), p)
        assert line.psi[-1].numpy() == pytest.approx(problems.line_selected(p).numpy(), abs=1e-12)
        assert line.ties == ((1, (1, 2)),)
        assert line.reason == ""


def test_no_data_no_jump():
    path = saddle_path(dln.Problem(TINY, [0, 0]))
    assert len(path) == 1
    assert path.times.numel() == 0
    assert float(path.at(3.0).abs().max()) == float(path.average([0.0, 2.0]).abs().max()) == 0
    assert path.jump_times(1e-3).numel() == 0


def test_a_budget_of_jumps_is_a_status():
    path = saddle_path(dln.Problem(TINY, [1, 0]), max_jumps=2)
    assert path.status == "max_steps"
    assert len(path) == 3


def test_at_and_average_are_the_step_function_and_its_integral():
    path = saddle_path(dln.Problem(*random_pair(9)))
    T = torch.linspace(0, 1.5 * float(path.times[-1]), 50, dtype=torch.float64)
    for when in T[1:]:
        edges = [0.0, *(float(t) for t in path.times if t < when), float(when)]
        area = sum((b - a) * path.psi[k] for k, (a, b) in enumerate(pairwise(edges)))
        assert path.average(when).numpy() == pytest.approx((area / when).numpy(), abs=1e-12)
        place = int((path.times <= when).sum())
        assert torch.equal(path.at(when), path.psi[place])
    assert torch.equal(path.at(T)[7], path.at(float(T[7])))
    assert torch.equal(path.at(path.times), path.psi[1:])
    A, y = path.problem.A, path.problem.y  # q = T Aᵀ(y − Aψ̄)
    means = path.average(T)
    assert path.dual_at(T).numpy() == pytest.approx((T[:, None] * ((y - means @ A.mT) @ A)).numpy(), abs=1e-11)


def off_optimality(A, y, psi, strength):
    """By how much ψ misses the lasso's conditions, relative to ‖Aᵀy‖_∞."""
    g, on = A.T @ (y - A @ psi), psi != 0
    missed = np.abs(g[on] - strength * np.sign(psi[on])).max(initial=np.abs(g).max() - strength)
    return missed / np.abs(A.T @ y).max()


@pytest.mark.parametrize("part", range(3))
def test_the_time_average_is_the_lasso_until_a_coordinate_leaves(part):
    """The lasso's conditions on every problem, ties or not; scikit-learn's path where that is a (unique) minimiser itself."""
    lars_path = pytest.importorskip("sklearn.linear_model").lars_path
    averages, compared = 0, set()
    for seed in range(part, 420, 3):
        A, y = random_pair(seed)
        if not np.abs(A.T @ y).sum():
            continue
        path = saddle_path(dln.Problem(A, y))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ties, where it drops columns
            knots, _, nodes = lars_path(A, y, method="lasso")[:3]
        knots *= A.shape[0]  # scikit-learn divides the loss by m
        end = min(path.monotone_until, 3 * float(path.times[-1]))
        for T in np.linspace(float(path.times[0]), end, 12):
            found = path.lasso(T)
            psi = found.psi.numpy()
            assert found.exact
            assert off_optimality(A, y, psi, 1 / T) <= 1e-12
            averages += 1
            want = np.array([np.interp(-1 / T, -knots, row) for row in nodes])
            want[np.abs(want) < 1e-13] = 0
            both = (psi != 0) | (want != 0)
            unique = np.linalg.matrix_rank(A[:, both]) == both.sum()
            if knots[-1] < 1 / T and off_optimality(A, y, want, 1 / T) <= 1e-10 and unique:
                assert psi == pytest.approx(want, abs=1e-9 * max(1.0, np.abs(want).max()))
                compared.add(seed)
    assert averages >= 1500
    assert len(compared) >= 120


def test_where_a_coordinate_has_left_the_gap_bounds_the_objective():
    lars_path = pytest.importorskip("sklearn.linear_model").lars_path

    seen = 0
    for seed in range(0, 90, 3):
        A, y = random_pair(seed)
        path = saddle_path(dln.Problem(A, y))
        if path.monotone_until == math.inf:
            continue
        knots, _, nodes = lars_path(A, y, method="lasso")[:3]
        for T in path.monotone_until * np.array([1.1, 1.5, 3.0]):
            found = path.lasso(T)
            best = np.array([np.interp(-1 / T, -knots * A.shape[0], row) for row in nodes])

            def objective(x, A=A, y=y, T=T):
                return 0.5 * np.sum((A @ x - y) ** 2) + np.abs(x).sum() / T

            excess = objective(found.psi.numpy()) - objective(best)
            assert -1e-12 <= excess <= found.gap + 1e-12
            seen += not found.exact  # it is exact again where what has left is back at its wall
    assert seen > 10


def middles(path):
    """(T, plateau) in the middle of each plateau, one more time beyond the last jump."""
    edges = [0.0, *path.times.tolist(), 2 * float(path.times[-1])]
    return [(0.5 * (a + b), k) for k, (a, b) in enumerate(pairwise(edges))]


@pytest.mark.parametrize(
    ("p", "power", "seed"),
    [
        pytest.param(3, 1e-18, 24, marks=pytest.mark.slow),
        pytest.param(4, 1e-18, 24, marks=pytest.mark.slow),
        pytest.param(3, 1e-18, 25, marks=pytest.mark.slow),
        (2, 1e-150, 25),
    ],
)
def test_the_flow_stands_on_every_saddle(p, power, seed):
    """At p = 2 a coordinate that is off is α^{2(1−|q|)}: only a tiny α hides it to 1e-12."""
    problem = problems.gaussian(4, 10, seed)
    alpha = power ** (1 / p)
    path = saddle_path(problem, p, alpha)
    places = middles(path)
    t = np.array([T for T, _ in places]) / path.rate()
    options = {"method": "Radau"} if p == 2 else {"coordinates": "theta"}
    flow = dln.integrate_flow(problem, p, alpha, t, rtol=1e-8, **options)
    for psi, (_, k) in zip(flow.psi, places, strict=True):
        assert psi.numpy() == pytest.approx(path.psi[k].numpy(), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("p", [3, 4])
def test_the_flow_stands_on_every_saddle_of_random_problems(p):
    """α^p = 1e-18: to 1e-12, but for coordinates near a wall, which are α^p (1 − |q|)^{−p/(p−2)} themselves."""
    strict = 0
    for seed in range(7000, 7006):
        rng = np.random.default_rng(seed)
        m = int(rng.integers(2, 7))
        problem = problems.gaussian(m, int(rng.integers(m + 2, 3 * m + 3)), seed)
        path = saddle_path(problem, p, 1e-18 ** (1 / p))
        places = middles(path)
        T = np.array([when for when, _ in places])
        flow = dln.integrate_flow(problem, p, path.walls.scale, T / path.rate(), rtol=1e-8, coordinates="theta")
        away = 1 - path.dual_at(T).abs().numpy()
        for j, (_, k) in enumerate(places):
            small = 1e-18 * away[j, path.at_wall[k] == 0].min(initial=1.0) ** (-p / (p - 2))
            error = float((flow.psi[j] - path.psi[k]).abs().max())
            assert error <= max(1e-12, 10 * small)
            strict += error <= 1e-12
    assert strict >= 25


def log_flow(problem, p, start, t):
    """ψ(t) by scipy in log θ±, from any start."""
    A, y = problem.A.numpy(), problem.y.numpy()
    n = problem.n

    def field(_, z):
        plus, minus = np.exp(np.minimum(z[:n], 100)), np.exp(np.minimum(z[n:], 100))
        g = A.T @ (y - A @ (plus**p - minus**p))
        return np.concatenate([p * plus ** (p - 2) * g, -p * minus ** (p - 2) * g])

    begin = np.log(np.concatenate([side.numpy() for side in start.expanded(n)]))
    found = solve_ivp(field, (0, t[-1]), begin, method="LSODA", t_eval=t, rtol=1e-9, atol=1e-9)
    return (np.exp(p * found.y[:n]) - np.exp(p * found.y[n:])).T


@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-40), (3, 1e-5), (4, 1e-4)])
def test_warm_starts_and_shapes_are_where_the_flow_goes(p, alpha):
    """Coordinate 0 starts on and on its wrong side, coordinate 1 on; the others from a shape."""
    problem = problems.gaussian(3, 6, 11)
    limit = saddle_path(problem).psi[-1].numpy()
    psi0 = np.zeros(6)
    psi0[np.argmax(np.abs(limit))] = -0.4 * limit[np.argmax(np.abs(limit))]
    psi0[np.argmin(np.abs(limit))] = 0.7
    warm = dln.Initialization.warm(psi0, alpha, p)
    start = dln.Initialization(warm.plus * torch.where(warm.plus == alpha, 1.25, 1.0), warm.minus)
    path = saddle_path(problem, p, start, scale=alpha)
    assert path.psi[0].numpy() == pytest.approx(psi0, rel=1e-9)
    assert float(path.times[0]) == 0
    places = [place for place in middles(path) if place[0] > 0]
    flow = log_flow(problem, p, start, np.array([T for T, _ in places]) / path.rate())
    for psi, (_, k) in zip(flow, places, strict=True):
        assert psi == pytest.approx(path.psi[k].numpy(), abs=1e-4)


@pytest.mark.parametrize(
    ("p", "power", "left"),
    [
        pytest.param(3, 1e-6, 2e-3, marks=pytest.mark.slow),
        (3, 1e-12, 1e-6),
        pytest.param(4, 1e-9, 1e-5, marks=pytest.mark.slow),
        (2, 1e-60, 1e-4),
    ],
)
def test_jumps_happen_when_they_are_predicted(p, power, left):
    """ψ_i passes half its new value; what is left after the first correction falls much faster than the correction."""
    problem = problems.gaussian(4, 10, 24)
    alpha = power ** (1 / p)
    path = saddle_path(problem, p, alpha)
    times, raw = path.jump_times(), path.jump_times(corrected=False)
    assert float((raw / times - 1).abs().max()) > 3 * left
    flow = dln.integrate_flow(
        problem, p, alpha, np.sort(np.concatenate([times * (1 - left), times * (1 + left)])), rtol=1e-9,
        coordinates="theta" if p == 2 else "dual",
    )  # fmt: skip
    for j, t in enumerate(times.tolist()):
        ((i, _),) = path.entered[j]
        before, after = (flow.psi[int(torch.argmin((flow.t - t * (1 + s * left)).abs())), i] for s in (-1, 1))
        half = 0.5 * float(path.psi[j + 1, i])
        assert abs(float(before)) < abs(half) < abs(float(after))


def test_the_first_jump_at_depth_four_in_closed_form():
    """One coordinate, A = 1: dW/dx = −(1 − W^{-2}) has W + artanh(1/W)-like solutions; half is at W = √2."""
    path = saddle_path(dln.Problem([[1.0, 0.0]], [1.0]), 4)
    # x = −W + ½ ln((W + 1)/(W − 1)) from the line x = −W
    want = -math.sqrt(2) + 0.5 * math.log((math.sqrt(2) + 1) / (math.sqrt(2) - 1))
    shift = (path.jump_times(1e-3) - path.jump_times(1e-3, corrected=False)) * path.rate(1e-3) / 1e-6
    assert float(shift[0]) == pytest.approx(want, abs=1e-5)


def test_two_hundred_by_a_thousand_takes_seconds():
    import time

    problem = problems.gaussian(200, 1000, 0)
    problem.rank  # noqa: B018
    start = time.process_time()
    path = saddle_path(problem)
    seconds = time.process_time() - start
    assert len(path.times) >= 300
    assert seconds < 3
    found = dln.basis_pursuit(problem.A, problem.y).x.numpy()
    assert path.psi[-1].numpy() == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda P: saddle_path(P, 1.5), "p must be a finite real number >= 2, got 1.5"),
        (lambda P: saddle_path(P, alpha=-1), "alpha must be a finite real number > 0, got -1"),
        (lambda P: saddle_path(P, scale=1.0), "scale must be left out where alpha is no Initialization, got 1.0"),
        (lambda P: saddle_path(P).at(-1), "T must be finite and >= 0, got -1.0"),
        (lambda P: saddle_path(P).lasso(0), "T must be a finite real number > 0, got 0"),
        (lambda P: saddle_path(P).jump_times(), "alpha must be given: the path was computed without one, got None"),
        (
            lambda P: saddle_path(P).rate(2.0),
            "alpha must be < 1 at depth 2, whose slow time is in units of log(1/alpha), got 2",
        ),
        (
            lambda P: saddle_path(P, 3, dln.Initialization([1.0, 2.0])),
            "alpha must have 4 entries, one for each coordinate, got 2",
        ),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(InputError) as said:
        call(dln.Problem(TINY, [1, 0]))
    assert str(said.value).replace(".0", "") == message.replace(".0", "")
