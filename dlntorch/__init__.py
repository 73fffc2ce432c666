"""dlntorch: diagonal linear networks, the ℓ1-minimiser they find, how fast, and how sure you can be.

The public names are listed here and loaded when first used, so that importing dlntorch costs no more than torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dlntorch._version import __version__

if TYPE_CHECKING:
    from dlntorch.flow.integrate import integrate_flow as integrate_flow
    from dlntorch.limit.flow_limit import flow_limit as flow_limit
    from dlntorch.model import Initialization as Initialization
    from dlntorch.model import Nonnegative as Nonnegative
    from dlntorch.model import Parametrization as Parametrization
    from dlntorch.model import Power as Power
    from dlntorch.model import Product as Product
    from dlntorch.model.network import DiagonalLinearNetwork as DiagonalLinearNetwork
    from dlntorch.numerics.trajectory import Status as Status
    from dlntorch.numerics.trajectory import Trajectory as Trajectory
    from dlntorch.numerics.validation import InputError as InputError
    from dlntorch.problem import Problem as Problem
    from dlntorch.problem import load_problem as load_problem
    from dlntorch.reference.basis_pursuit import basis_pursuit as basis_pursuit
    from dlntorch.reference.ill_posedness import ill_posedness as ill_posedness
    from dlntorch.reference.l1_minimizer import l1_minimizer as l1_minimizer
    from dlntorch.reference.rate import predict_rate as predict_rate
    from dlntorch.reference.selection import selected_minimizer as selected_minimizer
    from dlntorch.run import EnsembleResult as EnsembleResult
    from dlntorch.run import RunResult as RunResult
    from dlntorch.run import load_ensemble as load_ensemble
    from dlntorch.run import load_run as load_run
    from dlntorch.run import train as train
    from dlntorch.run import train_ensemble as train_ensemble

_HOME = {
    "DiagonalLinearNetwork": "dlntorch.model.network",
    "EnsembleResult": "dlntorch.run",
    "Initialization": "dlntorch.model",
    "InputError": "dlntorch.numerics.validation",
    "Nonnegative": "dlntorch.model",
    "Parametrization": "dlntorch.model",
    "Power": "dlntorch.model",
    "Problem": "dlntorch.problem",
    "Product": "dlntorch.model",
    "RunResult": "dlntorch.run",
    "Status": "dlntorch.numerics.trajectory",
    "Trajectory": "dlntorch.numerics.trajectory",
    "basis_pursuit": "dlntorch.reference.basis_pursuit",
    "flow_limit": "dlntorch.limit.flow_limit",
    "ill_posedness": "dlntorch.reference.ill_posedness",
    "integrate_flow": "dlntorch.flow.integrate",
    "l1_minimizer": "dlntorch.reference.l1_minimizer",
    "load_ensemble": "dlntorch.run",
    "load_problem": "dlntorch.problem",
    "load_run": "dlntorch.run",
    "predict_rate": "dlntorch.reference.rate",
    "selected_minimizer": "dlntorch.reference.selection",
    "train": "dlntorch.run",
    "train_ensemble": "dlntorch.run",
}

__all__ = [
    "DiagonalLinearNetwork",
    "EnsembleResult",
    "Initialization",
    "InputError",
    "Nonnegative",
    "Parametrization",
    "Power",
    "Problem",
    "Product",
    "RunResult",
    "Status",
    "Trajectory",
    "__version__",
    "basis_pursuit",
    "flow_limit",
    "ill_posedness",
    "integrate_flow",
    "l1_minimizer",
    "load_ensemble",
    "load_problem",
    "load_run",
    "predict_rate",
    "selected_minimizer",
    "train",
    "train_ensemble",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dlntorch' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
