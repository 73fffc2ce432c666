"""The flow of a diagonal linear network at stopping times without units; see :mod:`dlntorch.estimators`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array

from dlntorch.estimators.base import checked_numbers
from dlntorch.flow.integrate import integrate_flow
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import DataWarning
from dlntorch.problem import Problem

__all__ = ["diagonal_linear_path", "flow_problem", "stopped_flow"]


def diagonal_linear_path(
    X: Any, y: Any, *, p: float = 3, alpha: float = 1e-2, stop_times: Any = None, tol: float = 1e-8
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients at many stopping times from one integration of the flow, as ``sklearn.linear_model.lasso_path``.

    Args:
        X: Features (m, n_features); not centred here.
        y: Targets (m,).
        p: Depth, a real number >= 2.
        alpha: Initialization > 0.
        stop_times: Increasing, in units of the time at which the first coefficient appears; None: 30 from 1 to 1000.
        tol: Of the integrator, relative to the largest coefficient.

    Returns:
        (stop_times, coefs) of shapes (times,) and (n_features, times).
    """
    X, y = check_array(X, dtype="float64"), check_array(y, dtype="float64", ensure_2d=False)
    times = checked_numbers(
        "stop_times", np.geomspace(1, 1000, 30) if stop_times is None else stop_times, increasing=True
    )
    problem, unit = flow_problem(X, y, p, alpha)
    if problem is None:
        return times, np.zeros((X.shape[1], len(times)))
    return times, stopped_flow(problem, p, alpha, times, unit, tol, 10_000_000)[0].T


def flow_problem(X: np.ndarray, y: np.ndarray, p: float, alpha: float) -> tuple[Problem | None, float]:
    """A problem with the flow of (X, y), and t at ``stop_time`` 1; None where the flow does not move at all.

    The flow depends on XᵀX and Xᵀy alone, so more samples than features are replaced by the triangular factor of X.
    """
    steepest = float(np.abs(X.T @ y).max())
    if steepest == 0:
        return None, 0.0
    if X.shape[0] > X.shape[1]:
        Q, X = np.linalg.qr(X)
        y = Q.T @ y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # more samples than features are usual here
        return Problem(X, y), 1 / (steepest * depth_law(p).pace(alpha))


def stopped_flow(
    problem: Problem,
    p: float,
    alpha: float,
    stop_times: Sequence[float] | np.ndarray,
    unit: float,
    tol: float,
    most: int,
) -> tuple[np.ndarray, int]:
    """w at the stopping times, shape (times, n), and evaluations; warns where the integrator does not get there."""
    times = np.asarray(stop_times, dtype=np.float64)
    finite = times[np.isfinite(times)] * unit
    found, count = np.zeros((len(times), problem.n)), 1
    if finite.size and finite[-1] > 0:
        path = integrate_flow(problem, p, alpha, finite, rtol=tol, max_evaluations=most)
        count = max(1, path.evaluations or 0)
        found[: len(path)] = path.psi.numpy()
        if len(path) < len(finite):
            found[len(path) : len(finite)] = found[len(path) - 1] if len(path) else 0.0
            warnings.warn(f"the flow ended {path.status}: {path.reason}", ConvergenceWarning, stacklevel=4)
    if len(finite) < len(times):
        limit = flow_limit(problem, p, alpha)
        found[len(finite) :] = limit.psi.numpy()
        if limit.status is not Status.CONVERGED:
            warnings.warn(f"the limit ended {limit.status}: {limit.reason}", ConvergenceWarning, stacklevel=4)
    return found, count
