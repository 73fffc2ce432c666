"""What the regressors share: validated data, centring, and prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["LinearRegressor", "checked_numbers", "without_means"]


class LinearRegressor(RegressorMixin, BaseEstimator):
    """What the regressors share: validated data, centring, and prediction."""

    fit_intercept: bool
    coef_: np.ndarray
    intercept_: Any

    def predict(self, X: Any) -> np.ndarray:
        """Xw + b, shape (m,), or (m, k) where y had k columns."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return X @ self.coef_.T + self.intercept_

    def _centred(self, X: Any, y: Any, several: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
        """Validated X and y without their means, and the means (0 without an intercept)."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, multi_output=several)
        y = np.asarray(y, dtype=np.float64)
        return without_means(X, y, self.fit_intercept)

    def _set(self, coefficients: np.ndarray, X_mean: np.ndarray, y_mean: Any) -> None:
        self.coef_ = coefficients
        self.intercept_ = y_mean - X_mean @ coefficients.T
        if np.ndim(self.intercept_) == 0:
            self.intercept_ = float(self.intercept_)


def without_means(X: np.ndarray, y: np.ndarray, fit_intercept: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """X and y without their means, and the means; with zeros for means without an intercept."""
    if not fit_intercept:
        return X, y, np.zeros(X.shape[1]), np.zeros(y.shape[1:])
    X_mean, y_mean = X.mean(axis=0), y.mean(axis=0)
    return X - X_mean, y - y_mean, X_mean, y_mean


def checked_numbers(name: str, values: Any, *, increasing: bool = False) -> np.ndarray:
    """A vector of numbers > 0, or of increasing numbers >= 0 that may end at infinity."""
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    inside = array >= 0 if increasing else (array > 0) & np.isfinite(array)
    if array.ndim != 1 or array.size == 0 or not np.all(inside):
        raise ValueError(
            f"{name} must be a nonempty sequence of numbers {'>=' if increasing else '>'} 0, got {values!r}"
        )
    if increasing and np.any(np.diff(array) <= 0):
        raise ValueError(f"{name} must increase, got {values!r}")
    return array
