"""Basis pursuit as a regressor."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_array

from dlntorch.estimators.base import LinearRegressor
from dlntorch.numerics.trajectory import Status
from dlntorch.reference.basis_pursuit import basis_pursuit

__all__ = ["BasisPursuitRegressor"]

#: Normal equations |Xᵀ(Xw − y)| <= this · ‖X‖‖y‖ count as solved.
_NORMAL = 1e-8


class BasisPursuitRegressor(MultiOutputMixin, LinearRegressor):
    """The coefficients of least ℓ1 norm that fit the data: min ‖w‖₁ subject to ‖Xw + b − y‖₂ <= noise.

    With noise 0 and a y that no w fits exactly (usual where there are more samples than features), w is the least squares
    solution of least ℓ1 norm. For each column of y where it has several.

    Parameters:
        noise: ε >= 0, the Euclidean norm of the residuals that is allowed (all samples together, not their mean).
        weights: Weights > 0 of the norm, (n_features,), or a pair of them for positive and for negative coefficients.
        positive: Whether coefficients have to be >= 0.
        fit_intercept: Whether b is fitted; it costs nothing in the norm.
        tol: Relative duality gap that counts as converged.
        max_iter: Bound on the solver's iterations.

    Attributes:
        coef_: w, shape (n_features,) or (k, n_features).
        intercept_: b, a number or shape (k,).
        dual_: λ with |Xᵀλ| <= 1 (to the weights) for centred X, which proves w optimal; shape (m,) or (k, m).
        dual_gap_: Relative gap between ‖w‖₁ and the dual's value.
        n_iter_: Iterations (the most of all columns).
        n_features_in_: Number of features.

    Example:
        >>> import numpy as np
        >>> X, w = np.random.default_rng(0).standard_normal((20, 50)), np.zeros(50)
        >>> w[[3, 7]] = 2.0, -1.0
        >>> np.flatnonzero(BasisPursuitRegressor(fit_intercept=False).fit(X, X @ w).coef_).tolist()
        [3, 7]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "noise": [Interval(Real, 0, None, closed="left")],
        "weights": ["array-like", None],
        "positive": ["boolean"],
        "fit_intercept": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        noise: float = 0.0,
        weights: Any = None,
        positive: bool = False,
        *,
        fit_intercept: bool = True,
        tol: float = 1e-9,
        max_iter: int = 100,
    ) -> None:
        self.noise = noise
        self.weights = weights
        self.positive = positive
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> BasisPursuitRegressor:
        """Fit to X (m, n_features) and y (m,) or (m, k)."""
        X, y, X_mean, y_mean = self._centred(X, y, several=True)
        asked: dict[str, Any] = {}
        if self.weights is not None:
            asked["weights"] = _weights(self.weights, X.shape[1])
        if self.positive:
            asked["nonnegative"] = True
        if self.noise:
            asked["noise"] = float(self.noise)
        result = basis_pursuit(X, y.T, tol=self.tol, max_iterations=self.max_iter, **asked)
        self._set(result.x.numpy(), X_mean, y_mean)
        self.dual_, self.dual_gap_ = result.dual.numpy(), result.gap.numpy()[()]
        self.n_iter_ = max(1, int(np.max(np.asarray(result.iterations))))
        one = isinstance(result.status, Status)
        statuses = [result.status] if one else list(result.status)
        reasons = [result.reason] if one else list(result.reason)
        for w, target, status, reason in zip(
            np.atleast_2d(self.coef_), np.atleast_2d(y.T), statuses, reasons, strict=True
        ):
            if status is Status.CONVERGED or (not self.noise and _fits_best(X, w, target, self.positive)):
                continue
            warnings.warn(f"basis pursuit ended {status}: {reason}", ConvergenceWarning, stacklevel=2)
        return self


def _fits_best(X: np.ndarray, w: np.ndarray, y: np.ndarray, positive: bool) -> bool:
    """Whether w is a least squares solution (with w >= 0, where that is asked)."""
    slope = X.T @ (y - X @ w)
    level = _NORMAL * float(np.linalg.norm(X)) * float(np.linalg.norm(y))
    outside = (slope > level) | ((slope < -level) & ((w > 0) if positive else True))
    return not bool(outside.any())


def _weights(weights: Any, n: int) -> Any:
    """Weights as :func:`basis_pursuit` takes them: a vector, or a pair of vectors."""
    array = check_array(weights, dtype="float64", ensure_2d=False, input_name="weights")
    if array.shape not in ((n,), (2, n)) or not np.all(array > 0):
        raise ValueError(f"weights must be > 0 and of shape ({n},) or (2, {n}), got shape {array.shape}")
    return array if array.ndim == 1 else (array[0], array[1])
