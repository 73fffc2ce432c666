"""The diagonal linear network, stopped early, as a regressor."""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from dlntorch.estimators.base import LinearRegressor
from dlntorch.estimators.stopped_flow import flow_problem, stopped_flow
from dlntorch.numerics.trajectory import Status

__all__ = ["DiagonalLinearRegressor"]


class DiagonalLinearRegressor(MultiOutputMixin, LinearRegressor):
    """The coefficients w = θ₊^p − θ₋^p of a diagonal linear network whose gradient flow is stopped at ``stop_time``.

    The flow descends ½‖Xw + b − y‖² from θ₊ = θ₋ = α, with b the best for w at any time. Early on few coefficients are not
    small; later it fits more and more; it ends at (nearly) the interpolating w of least ℓ1 norm, and where nothing
    interpolates, at least squares. So ``stop_time`` regularises as the lasso's penalty does, see the module: the default,
    100, compares with a penalty of a hundredth of that at which the lasso's coefficients are all 0.
    :class:`DiagonalLinearRegressorCV` chooses it. Scale the features alike, as for the lasso.

    Parameters:
        p: Depth, a real number >= 2.
        alpha: Initialization > 0; sparse as long as α^p is small beside the coefficients.
        stop_time: When to stop, in units of the time at which the first coefficient appears; inf for the limit.
        fit_intercept: Whether b is fitted.
        solver: ``flow`` integrates the flow itself; ``descent`` makes the steps of :func:`dlntorch.train`, for each of which
            no parameter changes by more than a factor 1 ± κ.
        kappa: κ of ``descent``, in (0, 0.3].
        tol: Relative tolerance of the flow's integrator; of the residual, where ``descent`` ends early.
        max_iter: Budget of evaluations, or of steps.

    Attributes:
        coef_: w, shape (n_features,) or (k, n_features).
        intercept_: b, a number or shape (k,).
        time_: The time t at which training was stopped, in the unit of θ̇ = −∇L; shape (k,) for k columns of y.
        n_iter_: Evaluations or steps (the most of all columns).
        n_features_in_: Number of features.

    Example:
        >>> import numpy as np
        >>> X, w = np.random.default_rng(0).standard_normal((40, 100)), np.zeros(100)
        >>> w[[3, 7]] = 2.0, -1.0
        >>> fitted = DiagonalLinearRegressor(p=3, alpha=1e-2, stop_time=50).fit(X, X @ w)
        >>> np.flatnonzero(np.abs(fitted.coef_) > 0.1).tolist()
        [3, 7]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "p": [Interval(Real, 2, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "stop_time": [Interval(Real, 0, None, closed="both")],
        "fit_intercept": ["boolean"],
        "solver": [StrOptions({"flow", "descent"})],
        "kappa": [Interval(Real, 0, 0.3, closed="right")],
        "tol": [Interval(Real, 0, 1e-2, closed="right")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        p: float = 3,
        alpha: float = 1e-2,
        *,
        stop_time: float = 100.0,
        fit_intercept: bool = True,
        solver: str = "flow",
        kappa: float = 0.01,
        tol: float = 1e-8,
        max_iter: int = 10_000_000,
    ) -> None:
        self.p = p
        self.alpha = alpha
        self.stop_time = stop_time
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.kappa = kappa
        self.tol = tol
        self.max_iter = max_iter

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> DiagonalLinearRegressor:
        """Fit to X (m, n_features) and y (m,) or (m, k)."""
        X, y, X_mean, y_mean = self._centred(X, y, several=True)
        each = [self._fit_one(X, target) for target in np.atleast_2d(y.T)]
        coefficients = np.stack([w for w, _, _ in each])
        times = np.array([time for _, time, _ in each])
        self.n_iter_ = max(count for _, _, count in each)
        self.time_ = times if y.ndim == 2 else float(times[0])
        self._set(coefficients if y.ndim == 2 else coefficients[0], X_mean, y_mean)
        return self

    def _fit_one(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, int]:
        """w, the time t and the work of one column of y."""
        problem, unit = flow_problem(X, y, self.p, self.alpha)
        if problem is None:
            return np.zeros(X.shape[1]), 0.0, 1
        if self.solver == "flow":
            path, count = stopped_flow(problem, self.p, self.alpha, [self.stop_time], unit, self.tol, self.max_iter)
            return path[0], self.stop_time * unit, count
        from dlntorch.run import train

        if self.stop_time == 0:
            return np.zeros(X.shape[1]), 0.0, 1
        end = None if math.isinf(self.stop_time) else self.stop_time * unit
        run = train(
            problem,
            self.p,
            self.alpha,
            kappa=self.kappa,
            max_time=end,
            tol=self.tol,
            max_steps=self.max_iter,
            references=False,
        )
        if run.status not in (Status.CONVERGED, Status.MAX_TIME):
            warnings.warn(f"descent ended {run.status}: {run.status.message}", ConvergenceWarning, stacklevel=4)
        return run.psi.numpy(), float(run.summary["time"]), int(run.summary["steps"])
