"""The relative rule as a torch optimizer: plain SGD in which no parameter changes by more than a factor 1 ± κ.

With ρ = max |∂L/∂θ|/|θ| over the parameters of a group the step is θ ← θ − η ∂L/∂θ with η = min(lr, κ/ρ). Every θ keeps
its sign, and small parameters move little, which is what makes descent on ψ = θ₊^p − θ₋^p follow the flow
(arXiv 2307.07410, section 2; the schedule ``relative`` of :func:`dlntorch.train`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.validation import InputError, check_number
from dlntorch.optim.step_size import StepRule, make_schedule
from dlntorch.problem import Problem

__all__ = ["RelativeSGD"]

#: The largest κ, as of the schedule: beyond it a step is no part of a flow any more.
MOST_KAPPA = 0.3


_foreach: Any = torch  # whose multi-tensor functions type checkers take for private


class RelativeSGD(Optimizer):
    """Plain SGD with η = min(lr, κ/ρ), ρ = max |∂L/∂θ|/|θ| over the parameters of a group.

    κ/ρ grows without bound as the gradient vanishes, so ``lr`` is what lets training end: without it some parameter moves
    by κ in every step for ever. The schedule ``relative`` of :func:`dlntorch.train` caps η by c/Λ, a bound of the loss's
    curvature that needs A; :meth:`for_problem` has that cap, and the same bits.

    Args:
        params: Parameters or groups of them, as for any torch optimizer. A group's ``kappa`` and ``lr`` are its own, and
            so is its η: parameters that belong to one flow belong in one group. ``kappa=None`` makes a group of plain SGD,
            η = lr, for biases and ordinary layers, whose parameters pass through 0.
        lr: The largest η, >= 0; None: no largest, the rule alone.
        kappa: The largest relative change of a parameter in one step, in (0, 0.3]; None for plain SGD.
        foreach: Whether the parameters of a group are updated by torch's multi-tensor kernels; None: where they are on
            one device and in one dtype. The bits are the same.

    After a step, ``param_groups[j]["eta"]`` is the η that was used and ``["time"]`` is t = Σ η; both are in ``state_dict()``.
    Schedulers change ``lr`` (and may change ``kappa``) between steps as usual. Each group costs one number read from its
    device in a step.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value; for complex parameters and sparse
            gradients; and, from ``step``, for a zero parameter in a group with κ whose gradient is not zero.
        FloatingPointError: from ``step``, where a gradient is not finite; the parameters are left as they were.

    Example:
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = RelativeSGD(layer.parameters(), lr=0.1, kappa=0.01)
        >>> before = layer.weight.detach().clone()
        >>> layer(torch.ones(2)).sum().backward()
        >>> optimizer.step()
        >>> bool(((layer.weight / before - 1).abs() <= 0.01 + 1e-6).all())
        True
    """

    _rule: Callable[[float], float] | None = None

    def __init__(
        self, params: Iterable[Any], lr: Any = None, kappa: Any = 0.01, *, foreach: bool | None = None
    ) -> None:
        defaults = {"lr": math.inf if lr is None else lr, "kappa": kappa, "foreach": foreach, "eta": 0.0, "time": 0.0}
        _check_numbers(defaults)
        super().__init__(params, defaults)

    @classmethod
    def for_problem(
        cls, network: DiagonalLinearNetwork, problem: Problem, lr: Any = None, kappa: float = 0.01, c: float = 1.0
    ) -> RelativeSGD:
        """The schedule ``relative`` for one network on one problem: η = min(lr, c/Λ, κ/ρ), with the schedule's own bits.

        Λ = p²‖A‖² max(θ₊^{2p−2} + θ₋^{2p−2}) + (p − 1)ρ bounds the curvature, so nothing else is needed to converge. The
        loss whose gradient is stepped has to be ``problem.reduced().loss(network.psi)`` for the bits of
        ``train(..., engine="autograd")``, and is ``problem.loss`` up to a constant. A step costs one more product with A
        and one with Aᵀ.

        Args:
            network: One network (``batch=()``) of the problem's n.
            problem: Its data, of rank that is known or full.
            lr: The largest η, >= 0; None: no largest.
            kappa: As above.
            c: Fraction of the stability limit, in (0, 1].
        """
        if not isinstance(network, DiagonalLinearNetwork) or network.batch or network.n != problem.n:
            raise InputError(f"network must be one DiagonalLinearNetwork of n={problem.n}, got {network!r}")
        schedule = make_schedule("relative", kappa=kappa, c=c)
        optimizer = cls([network.theta_plus, network.theta_minus], lr, schedule.kappa)
        optimizer._rule = _ProblemRule(network, problem.reduced(), schedule.c)
        return optimizer

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group with its own ``lr`` and ``kappa``; refuses complex parameters, and any group after for_problem."""
        if self._rule is not None:
            raise InputError("param_group must be left out with for_problem, whose rule is of one network")
        if param_group.get("lr", 0.0) is None:
            param_group = {**param_group, "lr": math.inf}
        _check_numbers({**self.defaults, **param_group})
        super().add_param_group(param_group)
        if any(parameter.is_complex() for parameter in self.param_groups[-1]["params"]):
            self.param_groups.pop()
            raise InputError("params must be real, got a complex parameter: descend on its view_as_real")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; ``closure``, where given, evaluates the loss and its gradients first, and its loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        steps = [(group, *self._proposed(group, j)) for j, group in enumerate(self.param_groups)]
        for group, parameters, gradients, eta in steps:  # every group has been looked at: all of them move, or none
            if parameters:
                _descend(parameters, gradients, eta, group["foreach"])
                group["eta"] = eta
                group["time"] += eta
        return loss

    def _proposed(self, group: dict[str, Any], number: int) -> tuple[list[Tensor], list[Tensor], float]:
        """The parameters of a group that have gradients, these, and η."""
        _check_numbers(group)
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None and parameter.numel()]
        gradients = [parameter.grad for parameter in parameters]
        if any(gradient.is_sparse or gradient.layout != torch.strided for gradient in gradients):
            raise InputError(f"gradients must be dense, got a sparse one in parameter group {number}")
        eta, kappa = float(group["lr"]), group["kappa"]
        if not parameters or kappa is None:
            if parameters and math.isinf(eta):
                raise InputError(f"lr must be given where kappa is None, got none in parameter group {number}")
            return parameters, gradients, eta
        rho = _largest_change(parameters, gradients, number)
        if self._rule is not None:
            eta = min(eta, self._rule(float(kappa)))
        elif rho > 0:
            eta = min(eta, float(kappa) / rho)
        if math.isinf(eta):  # no gradient at all: any step is no step
            eta = 0.0
        return parameters, gradients, eta

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_rule": self._rule}


@dataclass
class _ProblemRule:
    """η of the schedule ``relative`` at a network's present θ, given κ."""

    network: DiagonalLinearNetwork
    problem: Problem
    c: float

    def __call__(self, kappa: float) -> float:
        problem, network = self.problem, self.network
        schedule = make_schedule("relative", kappa=kappa, c=self.c)
        rule = StepRule(schedule, network.parametrization, problem.operator, problem.spectral_norm)
        g = problem.operator.rmatvec(problem.residual(network.psi.detach()))
        return float(rule.eta((network.theta_plus.detach(), network.theta_minus.detach()), g))


def _check_numbers(group: dict[str, Any]) -> None:
    """lr and κ of a group, which a scheduler, or anybody, may have changed since they were checked."""
    lr, kappa = group["lr"], group["kappa"]
    number = lr.item() if isinstance(lr, Tensor) and lr.numel() == 1 else lr
    if isinstance(number, bool) or not isinstance(number, float | int) or not number >= 0:
        raise InputError(f"lr must be a real number >= 0, or None for no largest step, got {lr!r}")
    if kappa is not None:
        check_number("kappa", kappa, above=0, at_most=MOST_KAPPA)
    if group["foreach"] not in (None, True, False):
        raise InputError(f"foreach must be true, false or None, got {group['foreach']!r}")


def _largest_change(parameters: list[Tensor], gradients: list[Tensor], number: int) -> float:
    """ρ = max |∂L/∂θ|/|θ|, with 0/0 = 0: a parameter at rest stays at rest."""
    here = [i for i, parameter in enumerate(parameters) if parameter.device.type == "cpu"]
    changes: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for i in here:  # one quotient at a time is in the cache; torch's infinity norm takes fifty times as long
        low_and_high = torch.aminmax(gradients[i] / parameters[i])
        changes.setdefault((parameters[i].device, parameters[i].dtype), []).extend(low_and_high)
    if len(here) < len(parameters):
        away = [i for i, parameter in enumerate(parameters) if parameter.device.type != "cpu"]
        quotients = _foreach._foreach_div([gradients[i] for i in away], [parameters[i] for i in away])
        for norm in _foreach._foreach_norm(quotients, math.inf):
            changes.setdefault((norm.device, norm.dtype), []).append(norm)
    largest = [float(torch.stack(group).abs().max()) for group in changes.values()]
    rho = math.nan if any(math.isnan(value) for value in largest) else max(largest)
    if math.isfinite(rho):
        return rho
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if not bool(torch.isfinite(gradient).all()):
            bad = gradient[~torch.isfinite(gradient)][0]
            raise FloatingPointError(f"gradients must be finite, got {float(bad)} in parameter group {number}")
        if bool(((parameter == 0) & (gradient != 0)).any()):
            raise InputError(
                f"parameters must not be 0 where kappa is given, got a 0 with gradient "
                f"{float(gradient[(parameter == 0) & (gradient != 0)][0]):g} in parameter group {number}: "
                "put biases and ordinary layers into a group with kappa=None"
            )
    moving = [
        torch.where(gradient == 0, torch.zeros_like(gradient), gradient.double() / parameter.double()).abs().max()
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    return max(float(change) for change in moving)


def _descend(parameters: list[Tensor], gradients: list[Tensor], eta: float, foreach: bool | None) -> None:
    """θ ← θ − η ∂L/∂θ, rounded as ``torch.optim.SGD`` rounds it."""
    alike = len({(tensor.device, tensor.dtype) for tensor in parameters}) == 1
    if alike if foreach is None else foreach:
        _foreach._foreach_add_(parameters, gradients, alpha=-eta)
        return
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.add_(gradient, alpha=-eta)
