"""Regressors for scikit-learn: basis pursuit, and the diagonal linear network's flow stopped at a time that CV may choose.

Import this module by its name, ``from dlntorch.estimators import DiagonalLinearRegressor``: ``import dlntorch`` does not
import scikit-learn.

**Time in units that fit every data set.** The network's coefficients appear one after the other. In slow time
T = p(p − 2)α^{p−2} t (p = 2: 4t/arsinh(1/(2α²)), which is 2t/ln(1/α) for small α) the first appears at T = 1/max|Xᵀy| as
α → 0, so ``stop_time`` = T·max|Xᵀy| is 1 there, whatever the units of X and y and the number of samples. The time average of
the path up to T is, where it is monotone, the lasso's minimiser of ½‖Xw − y‖² + ‖w‖₁/T (Berthier, arXiv 2509.18766, for
p = 2), and the path itself is close to the lasso's from a few units on: ``stop_time`` s compares with scikit-learn's
``Lasso(alpha=max|Xᵀy|/(m s))``.
"""

from importlib.util import find_spec

if find_spec("sklearn") is None:
    raise ImportError("dlntorch.estimators needs scikit-learn 1.6 or later: pip install 'dlntorch[estimators]'")

from dlntorch.estimators.basis_pursuit import BasisPursuitRegressor
from dlntorch.estimators.cross_validation import DiagonalLinearRegressorCV
from dlntorch.estimators.network import DiagonalLinearRegressor
from dlntorch.estimators.stopped_flow import diagonal_linear_path

__all__ = ["BasisPursuitRegressor", "DiagonalLinearRegressor", "DiagonalLinearRegressorCV", "diagonal_linear_path"]
