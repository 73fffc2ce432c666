"""The package's integrator as a method of torchdiffeq: ``odeint(GradientFlow(problem, p), theta, t, method="RadauIIA")``.

torchdiffeq's own methods integrate the same field in θ, explicitly, and know nothing of its closed form: they are the
independent route. Importing this module adds the method to torchdiffeq's table.
"""

from __future__ import annotations

from typing import Any

import torch
import torchdiffeq
from torch import Tensor
from torchdiffeq._impl.odeint import SOLVERS

from dlntorch.flow.integrate import OWN_METHOD
from dlntorch.flow.own import Limits, own_paths
from dlntorch.model import as_parametrization, check_start
from dlntorch.numerics.validation import InputError, check_number, check_times
from dlntorch.problem import Problem

__all__ = ["GradientFlow", "RadauIIASolver", "odeint"]


class GradientFlow(torch.nn.Module):
    """The field θ̇ = −∇L(θ) = ∂ψ/∂θ ∘ Aᵀ(y − Aψ(θ)), for torchdiffeq.

    Args:
        problem: The data.
        p: Depth, or any :class:`~dlntorch.model.Parametrization`.

    Example:
        >>> field = GradientFlow(Problem([[1.0, 0.5]], [1.0]), 3)
        >>> theta = torch.full((2, 2), 0.1, dtype=torch.float64)
        >>> odeint(field, theta, torch.tensor([0.0, 1.0, 10.0]), method="RadauIIA").shape
        torch.Size([3, 2, 2])
    """

    def __init__(self, problem: Problem, p: Any) -> None:
        super().__init__()
        self.problem, self.parametrization = problem, as_parametrization(p)

    def forward(self, t: Any, theta: Tensor) -> Tensor:
        """−∇L at θ (width, n); ``t`` does not matter."""
        problem = self.problem.to(device=theta.device, dtype=theta.dtype)
        g = problem.operator.adjoint(problem.y - problem.operator.apply(self.parametrization.value(theta)))
        return self.parametrization.slope(theta) * g


class RadauIIASolver:
    """torchdiffeq's interface to :class:`~dlntorch.flow.collocation.Integrator`; ``rtol`` is relative to ‖ψ‖_∞.

    Raises:
        InputError: The field is no :class:`GradientFlow`, or times decrease.
        RuntimeError: The integration did not reach the last time.
    """

    def __init__(self, func: Any, y0: Tensor, rtol: float, atol: float, **_: Any) -> None:
        field = func
        while not isinstance(field, GradientFlow):  # torchdiffeq wraps it, and turns decreasing times by a factor
            field = None if hasattr(field, "mul") else getattr(field, "base_func", None)
            if field is None:
                raise InputError(
                    f"method={OWN_METHOD} needs func to be a GradientFlow, and t to increase, got {type(func).__name__}"
                )
        self.field, self.like = field, y0
        self.start = check_start(field.parametrization, y0, field.problem.n)
        self.limits = Limits(check_number("rtol", rtol, above=0, at_most=0.1))

    def integrate(self, t: Tensor) -> Tensor:
        """θ at times t (k,), the first of which is that of the start, (k, width, n)."""
        times = check_times(t.double() - float(t[0]))
        (path,) = own_paths([self.field.problem], self.field.parametrization, [self.start], times, self.limits)
        if len(path.t) < len(t):
            raise RuntimeError(f"the flow ended {path.status}: {path.reason}")
        return path.theta.to(self.like)

    @classmethod
    def valid_callbacks(cls) -> set[str]:
        """None are called."""
        return set()


SOLVERS[OWN_METHOD] = RadauIIASolver
#: ``torchdiffeq.odeint``, which now knows the method.
odeint = torchdiffeq.odeint
