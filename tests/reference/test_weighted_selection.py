"""Selections from a shape by two routes of their own: rational arithmetic, and enclosures of the flow's limit."""

from __future__ import annotations

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.numerics.balls import Enclosure
from dlntorch.numerics.trajectory import Status
from tests.reference.cases import random_face


def shaped(rng: np.random.Generator, n: int) -> dln.Initialization:
    plus, minus = 10 ** rng.uniform(-0.4, 0, (2, n))
    return dln.Initialization(plus, minus)


def distances(enclosure: Enclosure, psi: np.ndarray) -> float:
    """The largest distance of a coordinate from its interval's far end."""
    return float(max(enclosure.error(psi.tolist())))


def weighted_minimisers(count: int, seed: int) -> None:
    """Depths above two: a shape is weights w± = a±^{2−p}, and the minimiser is unique."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        m = int(rng.integers(1, 5))
        n, p = m + int(rng.integers(1, 6)), float(rng.choice([2.5, 3.0, 4.0, 6.0]))
        problem = dln.Problem(rng.standard_normal((m, n)), rng.standard_normal(m))
        start = shaped(rng, n)
        plus, minus = (np.asarray(side, dtype=float) for side in (start.plus, start.minus))
        found = dln.selected_minimizer(problem, p, start)
        assert found.status is Status.CONVERGED
        exact = dln.l1_minimizer(problem, (plus ** (2 - p), minus ** (2 - p)), exact=True)
        assert exact.unique is True
        size = float(exact.psi.abs().max())
        assert float((found.psi - exact.psi).abs().max()) <= 1e-12 * size
        alpha = (1e-12 * size) ** (1 / p)
        limit = dln.flow_limit(problem, p, start.scaled(alpha), enclosure=True)
        constant = dln.predict_rate(problem, p, start).constant
        assert isinstance(limit.enclosure, Enclosure)
        assert constant is not None
        assert distances(limit.enclosure, exact.psi.numpy()) <= 2 * constant * alpha**p + 1e-15 * size


def faces_at_depth_two(count: int, seed: int) -> int:
    """At p = 2 the weights are 1: the shape chooses on the face. How many had a limit at α = 1e-60 that is close to it."""
    rng, used = np.random.default_rng(seed), 0
    for k in range(count):
        case = random_face(seed + k, 1 + k % 4)
        problem, start = case.problem, shaped(rng, case.problem.n)
        rate = dln.predict_rate(problem, 2)
        if rate.rho is None or rate.rho > 0.85 or rate.alpha_asymptotic < 1e-40:
            continue
        found = dln.selected_minimizer(problem, 2, start)
        assert found.status is Status.CONVERGED
        assert found.support.tolist() == dln.l1_minimizer(problem, exact=True).exact.support
        limit = dln.flow_limit(problem, 2, start.scaled(1e-60), enclosure=True)
        assert isinstance(limit.enclosure, Enclosure)
        assert distances(limit.enclosure, found.psi.numpy()) <= 1e-9 * float(found.psi.abs().max())
        used += 1
    return used


def test_weighted_minimisers() -> None:
    weighted_minimisers(25, 0)
    assert faces_at_depth_two(12, 0) >= 6


@pytest.mark.slow
def test_three_hundred_weighted_minimisers_and_their_faces() -> None:
    weighted_minimisers(300, 1)
    assert faces_at_depth_two(260, 1000) >= 200
