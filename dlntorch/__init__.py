"""dlntorch: diagonal linear networks, the ℓ1-minimiser they find, how fast, and how sure you can be.

The public names are listed here and loaded when first used, so that importing dlntorch costs no more than torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dlntorch._version import __version__

if TYPE_CHECKING:
    from dlntorch.bounds.effective import effective_initialization as effective_initialization
    from dlntorch.bounds.support import support_certified as support_certified
    from dlntorch.bounds.threshold import step_size_threshold as step_size_threshold
    from dlntorch.flow.integrate import integrate_flow as integrate_flow
    from dlntorch.flow.many import integrate_flows as integrate_flows
    from dlntorch.limit.flow_limit import flow_limit as flow_limit
    from dlntorch.matrix.flow import integrate_matrix_flow as integrate_matrix_flow
    from dlntorch.matrix.flow import matrix_limit as matrix_limit
    from dlntorch.matrix.groups import GroupNetwork as GroupNetwork
    from dlntorch.matrix.groups import group_minimizer as group_minimizer
    from dlntorch.matrix.groups import train_groups as train_groups
    from dlntorch.matrix.network import MatrixFactorization as MatrixFactorization
    from dlntorch.matrix.nuclear import nuclear_minimizer as nuclear_minimizer
    from dlntorch.matrix.problem import MatrixProblem as MatrixProblem
    from dlntorch.matrix.training import train_matrix as train_matrix
    from dlntorch.model import DiagonalLinear as DiagonalLinear
    from dlntorch.model import Initialization as Initialization
    from dlntorch.model import Nonnegative as Nonnegative
    from dlntorch.model import Parametrization as Parametrization
    from dlntorch.model import Power as Power
    from dlntorch.model import Product as Product
    from dlntorch.model.network import DiagonalLinearNetwork as DiagonalLinearNetwork
    from dlntorch.numerics.trajectory import Status as Status
    from dlntorch.numerics.trajectory import Trajectory as Trajectory
    from dlntorch.numerics.validation import InputError as InputError
    from dlntorch.optim.relative_sgd import RelativeSGD as RelativeSGD
    from dlntorch.optim.step_size import StepSize as StepSize
    from dlntorch.optim.update import Update as Update
    from dlntorch.problem import Problem as Problem
    from dlntorch.problem import load_problem as load_problem
    from dlntorch.reference.basis_pursuit import basis_pursuit as basis_pursuit
    from dlntorch.reference.ill_posedness import ill_posedness as ill_posedness
    from dlntorch.reference.l1_minimizer import l1_minimizer as l1_minimizer
    from dlntorch.reference.rate import predict_rate as predict_rate
    from dlntorch.reference.saddles import saddle_path as saddle_path
    from dlntorch.reference.selection import selected_minimizer as selected_minimizer
    from dlntorch.run import EnsembleResult as EnsembleResult
    from dlntorch.run import RunResult as RunResult
    from dlntorch.run import load_ensemble as load_ensemble
    from dlntorch.run import load_run as load_run
    from dlntorch.run import train as train
    from dlntorch.run import train_ensemble as train_ensemble
    from dlntorch.run.accuracy import plan as plan

_HOME = {
    "DiagonalLinear": "dlntorch.model",
    "DiagonalLinearNetwork": "dlntorch.model.network",
    "EnsembleResult": "dlntorch.run",
    "GroupNetwork": "dlntorch.matrix.groups",
    "Initialization": "dlntorch.model",
    "InputError": "dlntorch.numerics.validation",
    "MatrixFactorization": "dlntorch.matrix.network",
    "MatrixProblem": "dlntorch.matrix.problem",
    "Nonnegative": "dlntorch.model",
    "Parametrization": "dlntorch.model",
    "Power": "dlntorch.model",
    "Problem": "dlntorch.problem",
    "Product": "dlntorch.model",
    "RelativeSGD": "dlntorch.optim.relative_sgd",
    "RunResult": "dlntorch.run",
    "Status": "dlntorch.numerics.trajectory",
    "StepSize": "dlntorch.optim.step_size",
    "Trajectory": "dlntorch.numerics.trajectory",
    "Update": "dlntorch.optim.update",
    "basis_pursuit": "dlntorch.reference.basis_pursuit",
    "effective_initialization": "dlntorch.bounds.effective",
    "flow_limit": "dlntorch.limit.flow_limit",
    "group_minimizer": "dlntorch.matrix.groups",
    "ill_posedness": "dlntorch.reference.ill_posedness",
    "integrate_flow": "dlntorch.flow.integrate",
    "integrate_flows": "dlntorch.flow.many",
    "integrate_matrix_flow": "dlntorch.matrix.flow",
    "l1_minimizer": "dlntorch.reference.l1_minimizer",
    "load_ensemble": "dlntorch.run",
    "load_problem": "dlntorch.problem",
    "load_run": "dlntorch.run",
    "matrix_limit": "dlntorch.matrix.flow",
    "nuclear_minimizer": "dlntorch.matrix.nuclear",
    "plan": "dlntorch.run.accuracy",
    "predict_rate": "dlntorch.reference.rate",
    "saddle_path": "dlntorch.reference.saddles",
    "selected_minimizer": "dlntorch.reference.selection",
    "step_size_threshold": "dlntorch.bounds.threshold",
    "support_certified": "dlntorch.bounds.support",
    "train": "dlntorch.run",
    "train_ensemble": "dlntorch.run",
    "train_groups": "dlntorch.matrix.groups",
    "train_matrix": "dlntorch.matrix.training",
}

__all__ = [
    "DiagonalLinear",
    "DiagonalLinearNetwork",
    "EnsembleResult",
    "GroupNetwork",
    "Initialization",
    "InputError",
    "MatrixFactorization",
    "MatrixProblem",
    "Nonnegative",
    "Parametrization",
    "Power",
    "Problem",
    "Product",
    "RelativeSGD",
    "RunResult",
    "Status",
    "StepSize",
    "Trajectory",
    "Update",
    "__version__",
    "basis_pursuit",
    "effective_initialization",
    "flow_limit",
    "group_minimizer",
    "ill_posedness",
    "integrate_flow",
    "integrate_flows",
    "integrate_matrix_flow",
    "l1_minimizer",
    "load_ensemble",
    "load_problem",
    "load_run",
    "matrix_limit",
    "nuclear_minimizer",
    "plan",
    "predict_rate",
    "saddle_path",
    "selected_minimizer",
    "step_size_threshold",
    "support_certified",
    "train",
    "train_ensemble",
    "train_groups",
    "train_matrix",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dlntorch' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
