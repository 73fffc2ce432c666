"""The mirror of a parametrization: the curve Θ(ν) that every coordinate moves along, and what convexity makes of it.

For θ(0) given, the flow is θ_{·i}(t) = Θ_i(ν_i(t)), Θ_i′ = ∇G(Θ_i), Θ_i(0) = θ_{·i}(0), ν = Aᵀ∫(y − Aψ) dt. Along the
curve ψ = Ψ(ν) increases with slope D = ‖∇G‖², and

    Q′ = Ψ⁻¹,  Q(ψ(0)) = 0         the limit of the flow minimises Σ Q(ψ_i) subject to Aψ = y, a Bregman distance;
    Q*(ν) = ∫₀^ν Ψ                 it is the ν = Aᵀλ that minimises Σ Q*(A_iᵀλ) − yᵀλ, with Hessian A diag(D) Aᵀ.

A point of the curve is held as its ψ. Close to a pole of Ψ the float64 ν has no digits left, and where all entries of θ
are nearly equal their differences have none; ψ has all of them at both ends. Algorithms move a point by a step in ψ or
in ν (:meth:`Mirror.after`), and ask what a step in ψ is in ν (:meth:`Mirror.nu_step`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.parametrization import Parametrization

__all__ = ["Mirror"]

_NODES, _WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(12))
_RATIO = 4.0  # of distances from the start over one panel of the quadrature
_PANELS = 400
_DIRECT = 0.1  # a step below this part of |ν| is integrated: the difference of two ν would cancel
_NEWTON = 50


class Mirror(ABC):
    """The curves Θ_i of n coordinates from a given start; all arguments and results are float64 on the CPU.

    Args:
        parametrization: G.
        start: θ(0), shape (width, n).
    """

    def __init__(self, parametrization: Parametrization, start: Tensor) -> None:
        self.parametrization = parametrization
        self.start = start.detach().to("cpu", torch.float64)
        #: ψ(0), shape (n,).
        self.origin = parametrization.value(self.start)

    # -- what a mirror gives ----------------------------------------------------------------------------------------

    @abstractmethod
    def theta(self, psi: Tensor) -> Tensor:
        """The point of the curve where ψ has the given values, shape (width, n); not a number where there is none."""

    @abstractmethod
    def nu(self, psi: Tensor) -> Tensor:
        """ν = Ψ⁻¹(ψ), shape (n,); 0 at ψ(0)."""

    @abstractmethod
    def psi(self, nu: Tensor) -> Tensor:
        """Ψ(ν), shape (n,); not a number beyond the curve's ends."""

    @abstractmethod
    def potential(self, psi: Tensor) -> Tensor:
        """Q(ψ) = ∫ Ψ⁻¹ from ψ(0), shape (n,): convex, zero and flat at ψ(0)."""

    # -- what follows from it ---------------------------------------------------------------------------------------

    def conjugate(self, nu: Tensor) -> Tensor:
        """Q*(ν) = ∫₀^ν Ψ = νψ − Q(ψ) at ψ = Ψ(ν), shape (n,)."""
        psi = self.psi(nu)
        return psi * nu - self.potential(psi)

    def slope(self, psi: Tensor) -> Tensor:
        """D = dψ/dν = ‖∇G(θ)‖² at points of the curve, shape (n,)."""
        slope = self.parametrization.slope(self.theta(psi))
        return (slope * slope).sum(dim=0)

    def range(self) -> tuple[Tensor, Tensor]:
        """The ends of the interval that ψ lives in, (n,) each; infinite where there is none."""
        infinite = torch.full_like(self.origin, torch.inf)
        return -infinite, infinite

    def nu_step(self, psi: Tensor, step: Tensor) -> Tensor:
        """What a step in ψ is in ν, to relative accuracy: ∫ dψ/D where the difference of two ν would cancel; (n,)."""
        before, after = self.nu(psi), self.nu(psi + step)
        difference = after - before
        near = difference.abs() < _DIRECT * torch.maximum(before.abs(), after.abs())
        if not bool(near.any()):
            return difference
        return torch.where(near, self._integrated(psi, step), difference)

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        """ν at ``after`` less ν at ``before``, (n,), to a rounding of the distances to a pole where there is one."""
        return self.nu_step(before, after - before)

    def _integrated(self, psi: Tensor, step: Tensor) -> Tensor:
        """∫ dψ/D over the step, by panels that grow with the distance from ψ(0), on which D changes by a factor or so."""
        start, end = psi - self.origin, psi + step - self.origin
        outwards = start.abs() < end.abs()
        near, far = torch.where(outwards, start, end), torch.where(outwards, end, start)
        ratio = far / near
        wide = (ratio > _RATIO) & torch.isfinite(ratio)
        ratio = torch.where(wide, ratio, torch.ones_like(ratio))
        panels = min(int(math.log(float(ratio.max())) / math.log(_RATIO)) + 1, _PANELS)
        total = torch.zeros_like(psi)
        for j in range(panels):
            low, high = (
                torch.where(wide, near * ratio ** ((j + i) / panels) - start, step * ((j + i) / panels)) for i in (0, 1)
            )
            for x, w in zip(_NODES, _WEIGHTS, strict=True):
                total += 0.5 * w * (high - low) / self.slope(psi + (low + 0.5 * (x + 1) * (high - low)))
        return torch.where(wide & ~outwards, -total, total)

    def after(self, psi: Tensor, step: Tensor) -> Tensor:
        """ψ after a step in ν, to relative accuracy of the change; not a number beyond the curve's ends.

        The generic way solves :meth:`nu_step` for the step in ψ by Newton's iteration, from Ψ(ν + step) where the
        step is not small beside ν.
        """
        nu = self.nu(psi)
        far = step.abs() > _DIRECT * nu.abs()
        end = self.psi(torch.where(far, nu + step, nu))
        change = torch.where(far, end - psi, self.slope(psi) * step)
        for _ in range(_NEWTON):
            error = step - self.nu_step(psi, change)
            correction = torch.where(far, torch.zeros_like(error), self.slope(psi + change) * error)
            # A wild step stays within twice the change: Newton from the flat side of a pole overshoots otherwise.
            correction = torch.maximum(torch.minimum(correction, change.abs()), -0.5 * change.abs())
            change = change + correction
            if bool((correction.abs() <= 1e-15 * change.abs()).logical_or(change.isnan()).all()):
                break
        return psi + change
