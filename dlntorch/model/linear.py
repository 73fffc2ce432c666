"""A fully connected layer whose weights are a diagonal linear network: ψ = θ₊^p − θ₋^p, entry by entry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlntorch.model.initialization import Initialization
from dlntorch.model.parametrization import as_parametrization, check_start
from dlntorch.model.power import Power
from dlntorch.numerics.validation import InputError, check_count, check_device, check_flag, check_unmasked

__all__ = ["DiagonalLinear"]

_DTYPES = {str(kind)[6:]: kind for kind in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}


class DiagonalLinear(nn.Module):
    """x ↦ ψx + b with ψ = θ₊^p − θ₋^p of shape (out_features, in_features): ``nn.Linear`` with a bias towards sparse ψ.

    Gradient descent on θ from a small α moves ψ as mirror descent whose potential tends to the ℓ1 norm as α → 0: entries
    that the loss does not need stay at the order of α^p, without a penalty in the loss. That is a theorem for one output
    and the squared loss (arXiv 2307.07410); in a deeper model it is a bias of the geometry. Steps should be small beside
    the parameters themselves: :class:`~dlntorch.optim.relative_sgd.RelativeSGD` makes them so.

    At the start ψ = 0 and b = 0, so the layer's output is 0. Before an activation that is flat at 0 from one side (ReLU
    and its like have derivative 0 there) start from a linear layer, :meth:`from_linear`.

    Args:
        in_features: Size of the inputs' last axis.
        out_features: Size of the outputs' last axis.
        p: Depth, a real number >= 2, or a :class:`~dlntorch.model.parametrization.Parametrization`.
        alpha: Start of the parameters, > 0: a number, an array that broadcasts to (out_features, in_features), or an
            :class:`~dlntorch.model.initialization.Initialization` (its vectors have one entry for each input).
        bias: Whether there is a b, of shape (out_features,).
        dtype: float64, float32, bfloat16 or float16; torch's default dtype where None, as of ``nn.Linear``.
        device: Where the parameters live.

    Parameters ``theta_plus`` and ``theta_minus`` (``theta_0``, ``theta_1``, … of another parametrization) have the shape
    of ψ. ψ is computed in the parameters' precision, in float32 for half precision. A negative θ, which plain optimizers
    may reach, has θ^p = −|θ|^p where p is no integer, so that ψ stays smooth.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value; from ``forward``, for inputs whose last
            axis is not in_features.

    Example:
        >>> layer = DiagonalLinear(64, 10, p=3, alpha=0.1)
        >>> layer(torch.ones(5, 7, 64)).shape
        torch.Size([5, 7, 10])
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        p: Any,
        alpha: Any,
        bias: bool = True,
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_count("in_features", in_features)
        self.out_features = check_count("out_features", out_features)
        self.parametrization = as_parametrization(p)
        self.alpha = alpha
        made = {"dtype": _checked_dtype(dtype), "device": _checked_device(device)}
        width = self.parametrization.width
        power = isinstance(self.parametrization, Power)
        self._names = ("theta_plus", "theta_minus") if power else tuple(f"theta_{j}" for j in range(width))
        with torch.device("cpu"):  # the values are checked, also where the parameters are on the meta device
            start = self._start()
        for name in self._names:
            self.register_parameter(name, nn.Parameter(torch.empty(self.out_features, self.in_features, **made)))
        wanted = check_flag("bias", bias)
        self.register_parameter("bias", nn.Parameter(torch.empty(self.out_features, **made)) if wanted else None)
        self._fill(start)

    @classmethod
    def from_linear(cls, linear: nn.Linear, p: float, alpha: float) -> DiagonalLinear:
        """A layer that starts at the weights and bias of ``linear``: ψ(0) is its weight, and the smaller of θ± is α.

        Raises:
            InputError: for anything but an ``nn.Linear``, a depth p >= 2 and a number α > 0.
        """
        if not isinstance(linear, nn.Linear):
            raise InputError(f"linear must be an nn.Linear, got {type(linear).__name__}")
        weight = linear.weight.detach()
        started = Initialization.warm(weight.flatten(), alpha, p)
        layer = cls(
            linear.in_features,
            linear.out_features,
            p,
            alpha,
            linear.bias is not None,
            dtype=weight.dtype,
            device=weight.device,
        )
        layer._fill(torch.stack([started.plus, started.minus]).reshape(2, *weight.shape))
        if layer.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(linear.bias)
        return layer

    @property
    def p(self) -> float | None:
        """The depth; None for a parametrization that is no :class:`~dlntorch.model.power.Power`."""
        return self.parametrization.depth

    @property
    def weight(self) -> Tensor:
        """ψ, shape (out_features, in_features), in the parameters' dtype; differentiable in θ."""
        parameters: list[Tensor] = [self.get_parameter(name) for name in self._names]
        kind = parameters[0].dtype
        if kind in (torch.bfloat16, torch.float16):  # a difference of two powers: rounded once, at the end
            parameters = [theta.float() for theta in parameters]
        return self._value(parameters).to(kind)

    @property
    def psi(self) -> Tensor:
        """The same as ``weight``: the paper's name for it."""
        return self.weight

    def forward(self, inputs: Tensor) -> Tensor:
        """ψx + b for inputs of shape (..., in_features); the result has shape (..., out_features)."""
        if inputs.ndim == 0 or inputs.shape[-1] != self.in_features:
            raise InputError(f"inputs must have shape (..., {self.in_features}), got {tuple(inputs.shape)}")
        return functional.linear(inputs, self.weight, self.bias)

    def reset_parameters(self) -> None:
        """Back to θ(0) of ``alpha`` and b = 0."""
        with torch.device("cpu"):
            start = self._start()
        self._fill(start)

    def extra_repr(self) -> str:
        depth = repr(self.parametrization) if self.p is None else f"{self.p:g}"
        alpha = self.alpha if isinstance(self.alpha, float | int | Initialization) else "<given>"
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, p={depth}, alpha={alpha}, "
            f"bias={self.bias is not None}"
        )

    def _value(self, parameters: list[Tensor]) -> Tensor:
        if isinstance(self.parametrization, Power):
            plus, minus = parameters
            p = self.parametrization.p
            return _odd_power(plus, p) - _odd_power(minus, p)
        return self.parametrization.value(torch.stack(parameters).flatten(1)).reshape(parameters[0].shape)

    def _start(self) -> Tensor:
        """θ(0), float64 on the CPU, shape (width, out_features, in_features)."""
        parametrization, alpha, shape = self.parametrization, self.alpha, (self.out_features, self.in_features)
        width = parametrization.width
        alpha = alpha if isinstance(alpha, Initialization | float | int) else _matrix(alpha, shape)
        if isinstance(alpha, Tensor):
            count = alpha.numel()
            return check_start(parametrization, parametrization.start(alpha, count), count).reshape(width, *shape)
        start = check_start(parametrization, parametrization.start(alpha, shape[1]), shape[1])
        return start[:, None, :].expand(width, *shape)

    @torch.no_grad()
    def _fill(self, start: Tensor) -> None:
        kind = self.get_parameter(self._names[0]).dtype
        rounded = start.to(kind)
        if not bool(torch.isfinite(rounded).all()) or bool(((rounded == 0) & (start != 0)).any()):
            low, high = float(start.abs().min()), float(start.abs().max())
            raise InputError(f"alpha must be finite and > 0 in {kind}, got parameters from {low:g} to {high:g}")
        for name, values in zip(self._names, rounded, strict=True):
            self.get_parameter(name).copy_(values)
        if self.bias is not None:
            self.bias.zero_()


def _odd_power(theta: Tensor, p: float) -> Tensor:
    """θ^p; where p is no integer, −|θ|^p at a negative θ. The bits of ``theta**p`` at a positive one."""
    return theta**p if p == int(p) else theta.sign() * theta.abs() ** p


def _matrix(alpha: Any, shape: tuple[int, int]) -> Tensor:
    """An array that broadcasts to (out_features, in_features), as a float64 vector of all its entries."""
    check_unmasked("alpha", alpha)
    try:
        values = torch.as_tensor(alpha, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"alpha must be a positive number, an array of them or an Initialization, got {alpha!r}"
        ) from None
    try:
        return values.expand(shape).flatten()
    except RuntimeError:
        raise InputError(f"alpha must broadcast to shape {shape}, got shape {tuple(values.shape)}") from None


def _checked_dtype(dtype: Any) -> torch.dtype:
    if dtype is None:
        return torch.get_default_dtype()
    found = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if isinstance(found, torch.dtype) and found in _DTYPES.values():
        return found
    raise InputError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")


def _checked_device(device: Any) -> torch.device | None:
    """A device for the parameters; torch's default device where None, and ``meta`` too, to be filled later."""
    if device is None or str(device) == "meta":
        return device
    return check_device(device)
