"""scikit-learn's own checks of an estimator."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from dlntorch.estimators import BasisPursuitRegressor, DiagonalLinearRegressor, DiagonalLinearRegressorCV


@parametrize_with_checks(
    [BasisPursuitRegressor(), DiagonalLinearRegressor(), DiagonalLinearRegressorCV(stop_times=[1, 10, 100], cv=2)]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
