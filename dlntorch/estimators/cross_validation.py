"""α and the stopping time, chosen by cross-validation."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.model_selection import check_cv
from sklearn.utils.validation import validate_data

from dlntorch.estimators.base import LinearRegressor, checked_numbers, without_means
from dlntorch.estimators.network import DiagonalLinearRegressor
from dlntorch.estimators.stopped_flow import flow_problem, stopped_flow

__all__ = ["DiagonalLinearRegressorCV"]


class DiagonalLinearRegressorCV(LinearRegressor):
    """A :class:`DiagonalLinearRegressor` whose α and stopping time have the least cross-validated squared error.

    One integration of the flow gives all stopping times, so a search costs one path a fold and α.

    Parameters:
        p: Depth, a real number >= 2.
        alphas: The α > 0 to choose from.
        stop_times: The stopping times to choose from, increasing; None: 30 from 1 to 1000.
        fit_intercept: Whether b is fitted.
        cv: Folds: a number, a splitter or an iterable of splits; None: five folds.
        tol: Relative tolerance of the flow's integrator.
        max_iter: Budget of evaluations of a path.

    Attributes:
        alpha_: The α chosen.
        stop_time_: The stopping time chosen.
        stop_times_: The stopping times tried, shape (times,).
        mse_path_: Mean squared errors, shape (alphas, times, folds).
        coef_: w of the fit to all data, shape (n_features,).
        intercept_: b.
        n_iter_: Evaluations of the last fit.
        n_features_in_: Number of features.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "p": DiagonalLinearRegressor._parameter_constraints["p"],
        "alphas": ["array-like", *DiagonalLinearRegressor._parameter_constraints["alpha"]],
        "stop_times": ["array-like", None],
        "fit_intercept": ["boolean"],
        "cv": ["cv_object"],
        "tol": DiagonalLinearRegressor._parameter_constraints["tol"],
        "max_iter": DiagonalLinearRegressor._parameter_constraints["max_iter"],
    }

    def __init__(
        self,
        p: float = 3,
        alphas: Any = (1e-2,),
        *,
        stop_times: Any = None,
        fit_intercept: bool = True,
        cv: Any = None,
        tol: float = 1e-8,
        max_iter: int = 10_000_000,
    ) -> None:
        self.p = p
        self.alphas = alphas
        self.stop_times = stop_times
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.tol = tol
        self.max_iter = max_iter

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> DiagonalLinearRegressorCV:
        """Choose α and the stopping time by cross-validation, then fit to all of X (m, n_features) and y (m,)."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        alphas = checked_numbers("alphas", self.alphas)
        grid = np.geomspace(1, 1000, 30) if self.stop_times is None else self.stop_times
        self.stop_times_ = checked_numbers("stop_times", grid, increasing=True)
        splitter: Any = check_cv(self.cv)
        folds = list(splitter.split(X, y))
        errors = np.empty((len(alphas), len(self.stop_times_), len(folds)))
        for k, (rows, left_out) in enumerate(folds):
            centred, target, X_mean, y_mean = without_means(X[rows], y[rows], self.fit_intercept)
            for i, alpha in enumerate(alphas):
                path = self._path(centred, target, alpha, self.stop_times_)[0]
                misfit = (X[left_out] - X_mean) @ path.T + y_mean - y[left_out, None]
                errors[i, :, k] = np.mean(misfit**2, axis=0)
        self.mse_path_ = errors
        i, j = np.unravel_index(int(np.argmin(errors.mean(axis=2))), errors.shape[:2])
        self.alpha_, self.stop_time_ = float(alphas[i]), float(self.stop_times_[j])
        centred, target, X_mean, y_mean = without_means(X, y, self.fit_intercept)
        path, self.n_iter_ = self._path(centred, target, self.alpha_, [self.stop_time_])
        self._set(path[0], X_mean, y_mean)
        return self

    def _path(self, X: np.ndarray, y: np.ndarray, alpha: float, stop_times: Any) -> tuple[np.ndarray, int]:
        problem, unit = flow_problem(X, y, self.p, alpha)
        if problem is None:
            return np.zeros((len(stop_times), X.shape[1])), 1
        return stopped_flow(problem, self.p, alpha, stop_times, unit, self.tol, self.max_iter)
