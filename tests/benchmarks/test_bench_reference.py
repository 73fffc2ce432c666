"""What the references cost beside the linear programme they start from: run with ``--benchmark-enable``."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import linprog

import dlntorch as dln
from tests.problems import gaussian
from tests.reference.cases import random_face

SIZES = [
    (50, 200, 6),
    (50, 200, None),
    pytest.param(200, 1000, 30, marks=pytest.mark.slow),
    pytest.param(200, 1000, None, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("m", "n", "nonzeros"), SIZES)
@pytest.mark.parametrize(
    "what", ["linprog", "l1_minimizer", "selected_minimizer", "predict_rate p=3", "predict_rate p=2"]
)
def test_cost(benchmark, what: str, m: int, n: int, nonzeros: int | None) -> None:
    """Each reference by itself, given the ones before it."""
    problem = gaussian(m, n, 0, nonzeros)
    vertex = dln.l1_minimizer(problem)
    A, y = problem.A.numpy(), problem.y.numpy()
    work: dict[str, Callable] = {
        "linprog": lambda: linprog(np.ones(2 * n), A_eq=np.hstack([A, -A]), b_eq=y, method="highs").fun,
        "l1_minimizer": lambda: dln.l1_minimizer(problem).value,
        "selected_minimizer": lambda: float(dln.selected_minimizer(problem, 3, minimizer=vertex).psi.abs().sum()),
    }
    for p in (2, 3):
        chosen = dln.selected_minimizer(problem, p, minimizer=vertex)
        work[f"predict_rate p={p}"] = lambda p=p, chosen=chosen: dln.predict_rate(problem, p, selected=chosen).exponent
    value = benchmark.pedantic(work[what], rounds=3, iterations=1)
    if not what.startswith("predict"):
        assert value == pytest.approx(vertex.value, rel=1e-7)
    else:
        assert value > 0


def test_selection_on_faces(benchmark) -> None:
    """W_p on faces of dimension 1 to 10."""
    cases = [random_face(seed, 1 + seed) for seed in range(10)]
    found = benchmark(lambda: [dln.selected_minimizer(case.problem, 3).dimension for case in cases])
    assert found == [case.dimension for case in cases]


@pytest.mark.slow
def test_fifty_by_two_hundred_takes_less_than_a_tenth_of_a_second() -> None:
    for nonzeros in (6, None):
        problem = gaussian(50, 200, 0, nonzeros)
        assert best_of(5, lambda problem=problem: dln.selected_minimizer(problem, 3)) < 0.1


@pytest.mark.slow
def test_at_two_hundred_by_thousand_the_cost_is_that_of_highs() -> None:
    """Interleaved, best of three: everything for p = 3 within four times linprog's own time."""
    for nonzeros in (30, None):
        problem = gaussian(200, 1000, 0, nonzeros)
        A, y = problem.A.numpy(), problem.y.numpy()
        ours, theirs = [], []
        for _ in range(3):
            ours.append(best_of(1, lambda problem=problem: dln.predict_rate(problem, 3)))
            theirs.append(
                best_of(1, lambda A=A, y=y: linprog(np.ones(2000), A_eq=np.hstack([A, -A]), b_eq=y, method="highs"))
            )
        assert min(ours) < 4 * min(theirs)


@pytest.mark.slow
def test_exact_answers_at_fifty_by_two_hundred_take_less_than_ten_times_the_float_ones() -> None:
    """Entries of 53 bits; the least processor time of seven, interleaved, each with a new problem: nothing is kept."""
    for seed in range(6):
        nonzeros = (None, 6, 10)[seed % 3]
        floats, exact = [], []
        for _ in range(7):
            for exactly, times in ((False, floats), (True, exact)):
                problem, began = gaussian(50, 200, seed, nonzeros), time.process_time()
                dln.l1_minimizer(problem, exact=exactly)
                times.append(time.process_time() - began)
        assert min(exact) < 10 * min(floats)


def best_of(count: int, work: Callable) -> float:
    """Least seconds of ``count`` calls."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
