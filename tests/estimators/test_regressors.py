"""The regressors against the functions they are made of, scikit-learn's own, and the theory's units."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from scipy.optimize import linprog
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Lasso
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dlntorch as dln
from dlntorch.estimators import (
    BasisPursuitRegressor,
    DiagonalLinearRegressor,
    DiagonalLinearRegressorCV,
    diagonal_linear_path,
)
from dlntorch.numerics.validation import DataWarning


def _planted(m=25, n=60, k=4, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((m, n)), np.zeros(n)
    w[rng.choice(n, k, replace=False)] = rng.choice([-1, 1], k) * (1 + rng.random(k))
    return X, X @ w + noise * rng.standard_normal(m), w


# -- basis pursuit ------------------------------------------------------------------------------------------------------


def test_basis_pursuit_finds_what_was_planted_beside_an_intercept():
    X, y, w = _planted()
    fitted = BasisPursuitRegressor().fit(X + 5, y + 3)
    np.testing.assert_allclose(fitted.coef_, w, atol=1e-10)
    assert fitted.intercept_ == pytest.approx(3 - 5 * w.sum(), abs=1e-9)
    assert fitted.dual_gap_ < 1e-9
    np.testing.assert_allclose(fitted.predict(X + 5), y + 3, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_intercept_is_free_as_it_is_in_the_linear_programme(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((6, 15)), rng.standard_normal(6)
    equations = np.hstack([X, -X, np.ones((6, 1)), -np.ones((6, 1))])
    costs = np.r_[np.ones(30), 0.0, 0.0]
    best = linprog(costs, A_eq=equations, b_eq=y)
    assert np.abs(BasisPursuitRegressor().fit(X, y).coef_).sum() == pytest.approx(best.fun, rel=1e-9)


def test_without_an_exact_fit_it_is_least_squares_of_least_norm():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    fitted = BasisPursuitRegressor(fit_intercept=False).fit(X, y)  # and no warning
    np.testing.assert_allclose(fitted.coef_, np.linalg.lstsq(X, y)[0], rtol=1e-9)
    twice = BasisPursuitRegressor(fit_intercept=False).fit(np.hstack([X, 2 * X]), y)
    np.testing.assert_allclose(twice.coef_, np.r_[np.zeros(4), fitted.coef_ / 2], atol=1e-9)


def test_columns_of_y_are_fitted_as_they_would_be_alone():
    X, y, _ = _planted()
    Y = np.column_stack([y, np.roll(y, 1)])
    for regressor, tolerance in ((BasisPursuitRegressor(), 1e-9), (DiagonalLinearRegressor(stop_time=10), 1e-5)):
        together = regressor.fit(X, Y)
        assert together.coef_.shape == (2, 60)
        assert together.predict(X).shape == (25, 2)
        coefficients, intercepts = together.coef_.copy(), np.array(together.intercept_)
        for j in range(2):
            alone = regressor.fit(X, Y[:, j])
            np.testing.assert_allclose(alone.coef_, coefficients[j], rtol=tolerance, atol=tolerance * 1e-1)
            assert alone.intercept_ == pytest.approx(intercepts[j], rel=tolerance)


def test_weights_and_signs_are_the_solvers():
    X, y, _ = _planted(m=6, n=15)
    weights = np.linspace(0.5, 2, 15)
    fitted = BasisPursuitRegressor(weights=weights, fit_intercept=False).fit(X, y)
    best = linprog(np.r_[weights, weights], A_eq=np.hstack([X, -X]), b_eq=y)
    assert weights @ np.abs(fitted.coef_) == pytest.approx(best.fun, rel=1e-9)
    pair = BasisPursuitRegressor(weights=[weights, weights[::-1]], fit_intercept=False).fit(X, y).coef_
    best = linprog(np.r_[weights, weights[::-1]], A_eq=np.hstack([X, -X]), b_eq=y)
    assert weights @ pair.clip(0) + weights[::-1] @ (-pair).clip(0) == pytest.approx(best.fun, rel=1e-9)
    y = X @ np.abs(np.r_[1.0, 2.0, np.zeros(13)])
    positive = BasisPursuitRegressor(positive=True, fit_intercept=False).fit(X, y).coef_
    assert positive.min() >= 0
    assert positive.sum() == pytest.approx(linprog(np.ones(15), A_eq=X, b_eq=y).fun, rel=1e-9)


def test_noise_is_the_norm_of_the_residuals():
    X, y, _ = _planted(noise=0.1)
    fitted = BasisPursuitRegressor(noise=0.5).fit(X, y)
    assert np.linalg.norm(fitted.predict(X) - y) == pytest.approx(0.5, rel=1e-6)
    assert np.abs(fitted.coef_).sum() < np.abs(BasisPursuitRegressor().fit(X, y).coef_).sum()


# -- the network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [2, 3, 4.5])
def test_stopping_times_have_no_units(p):
    """(X, y, α) → (cX, sy, (s/c)^{1/p} α) multiplies w by s/c, and samples may be repeated."""
    X, y, _ = _planted(noise=0.3)
    base = DiagonalLinearRegressor(p, 1e-2, stop_time=7).fit(X, y)
    c, s = 20.0, 1e-3
    scaled = DiagonalLinearRegressor(p, 1e-2 * (s / c) ** (1 / p), stop_time=7).fit(c * X, s * y)
    if p > 2:  # at p = 2 the slow time has ln 1/α in it, which has the units of w
        np.testing.assert_allclose(scaled.coef_ * c / s, base.coef_, rtol=1e-5, atol=1e-6)
    twice = DiagonalLinearRegressor(p, 1e-2, stop_time=7).fit(np.vstack([X, X]), np.r_[y, y])
    np.testing.assert_allclose(twice.coef_, base.coef_, rtol=1e-5, atol=1e-6)
    assert twice.time_ == pytest.approx(base.time_ / 2)


@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-40), (3, 1e-3)])  # at p = 2 jump times are right up to 1/ln(1/α)
def test_the_average_over_slow_time_is_the_lassos_path(p, alpha):
    X, y, _ = _planted(m=30, n=12, noise=0.5)
    times = np.linspace(0.02, 12, 600)
    _, path = diagonal_linear_path(X, y, p=p, alpha=alpha, stop_times=times)
    average = np.cumsum(path, axis=1) / np.arange(1, 601)
    for s in (4.0, 12.0):
        lasso = Lasso(alpha=np.abs(X.T @ y).max() / (30 * s), fit_intercept=False, tol=1e-10).fit(X, y).coef_
        ours = average[:, np.argmin(np.abs(times - s))]
        assert np.linalg.norm(ours - lasso) <= 0.03 * np.linalg.norm(lasso)


@pytest.mark.parametrize("shape", [(20, 40), (60, 8)])
def test_the_flow_is_integrate_flow_and_its_end_is_the_limit(shape):
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    fitted = DiagonalLinearRegressor(3, 0.05, stop_time=20, fit_intercept=False).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        problem = dln.Problem(X, y)
    path = dln.integrate_flow(problem, 3, 0.05, [fitted.time_])
    np.testing.assert_allclose(fitted.coef_, path.psi[-1].numpy(), atol=1e-5 * float(path.psi.abs().max()))
    ended = DiagonalLinearRegressor(3, 0.05, stop_time=math.inf, fit_intercept=False).fit(X, y)
    limit = dln.flow_limit(problem.reduced(), 3, 0.05).psi.numpy()
    np.testing.assert_allclose(ended.coef_, limit, rtol=1e-8, atol=1e-10)


def test_descent_follows_the_flow():
    X, y, _ = _planted(m=8, n=12, k=2)
    flow = DiagonalLinearRegressor(3, 0.1, stop_time=15).fit(X, y)
    descent = DiagonalLinearRegressor(3, 0.1, stop_time=15, solver="descent", kappa=1e-3).fit(X, y)
    assert descent.time_ == pytest.approx(flow.time_, rel=1e-2)
    assert np.linalg.norm(descent.coef_ - flow.coef_) <= 0.02 * np.linalg.norm(flow.coef_)
    assert descent.n_iter_ > 100


def test_nothing_moves_without_a_gradient():
    X = np.random.default_rng(0).standard_normal((5, 3))
    for stop_time in (0, 10, math.inf):
        for solver in ("flow", "descent"):
            fitted = DiagonalLinearRegressor(stop_time=stop_time, solver=solver).fit(X, np.full(5, 2.0))
            assert fitted.coef_.tolist() == [0.0] * 3
            assert fitted.intercept_ == 2.0
    assert DiagonalLinearRegressor(stop_time=0).fit(X, X[:, 0]).coef_.tolist() == [0.0] * 3


# -- cross-validation -------------------------------------------------------------------------------------------------------


def test_the_search_is_the_one_that_can_be_written_by_hand():
    X, y, _ = _planted(noise=0.8)
    times, alphas, folds = [2.0, 8.0, 40.0], [1e-2, 0.3], KFold(3)
    found = DiagonalLinearRegressorCV(alphas=alphas, stop_times=times, cv=folds).fit(X, y)
    by_hand = GridSearchCV(
        DiagonalLinearRegressor(),
        {"alpha": alphas, "stop_time": times},
        cv=folds,
        scoring="neg_mean_squared_error",
    ).fit(X, y)
    assert {"alpha": found.alpha_, "stop_time": found.stop_time_} == by_hand.best_params_
    scores = found.mse_path_.mean(axis=2).ravel()
    np.testing.assert_allclose(scores, -by_hand.cv_results_["mean_test_score"], rtol=1e-4)
    np.testing.assert_allclose(found.coef_, by_hand.best_estimator_.coef_, rtol=1e-4, atol=1e-5)


def test_in_a_pipeline_on_real_data():
    X, y = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), DiagonalLinearRegressorCV(stop_times=[3, 10, 30, 100], cv=3))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.45


def test_importing_the_package_does_not_import_scikit_learn():
    program = "import sys, dlntorch; dlntorch.Problem; dlntorch.DiagonalLinear; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# -- scikit-learn's errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (DiagonalLinearRegressor(p=1.5), "The 'p' parameter of DiagonalLinearRegressor must be a float in the range"),
        (DiagonalLinearRegressor(alpha=0), "The 'alpha' parameter"),
        (DiagonalLinearRegressor(stop_time=-1), "The 'stop_time' parameter"),
        (DiagonalLinearRegressor(solver="adam"), "The 'solver' parameter"),
        (DiagonalLinearRegressor(kappa=0.5), "The 'kappa' parameter"),
        (BasisPursuitRegressor(noise=-1), "The 'noise' parameter of BasisPursuitRegressor"),
        (
            BasisPursuitRegressor(weights=[1.0]),
            r"weights must be > 0 and of shape \(3,\) or \(2, 3\), got shape \(1,\)",
        ),
        (BasisPursuitRegressor(weights=[1.0, 0.0, 2.0]), "weights must be > 0"),
        (DiagonalLinearRegressorCV(alphas=[]), "alphas must be a nonempty sequence of numbers > 0"),
        (DiagonalLinearRegressorCV(stop_times=[2, 1]), "stop_times must increase"),
        (DiagonalLinearRegressorCV(stop_times=[-1, 1]), "stop_times must be a nonempty sequence of numbers >= 0"),
        (DiagonalLinearRegressorCV(cv="five"), "The 'cv' parameter"),
    ],
)
def test_mistakes(estimator, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(np.eye(6)[:, :3] + torch.rand(6, 3).numpy(), np.arange(6.0))


def test_not_fitted():
    with pytest.raises(NotFittedError):
        DiagonalLinearRegressor().predict(np.eye(3))
