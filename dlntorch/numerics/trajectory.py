"""How a computation ended, and the path it took: the one currency of descent and flow.

Both gradient descent and the continuous flow report a :class:`Trajectory` in time t = Σ η_k, never in epochs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["Status", "Trajectory", "short_repr"]

_SHOWN_ENTRIES = 6  # of an array; of a longer one its shape


def short_repr(self: Any) -> str:
    """One line for ``self``, a result that is a dataclass, in place of a wall of tensors: its numbers, and its arrays' shapes.

    None, empty text and what begins with an underscore are left out; results within it are named by their class.
    Used as ``__repr__ = short_repr``.
    """
    parts = []
    for field in fields(self):
        value = getattr(self, field.name)
        empty = value is None or (isinstance(value, str) and not value)
        if not empty and not field.name.startswith("_"):
            parts.append(f"{field.name}={_shown(value)}")
    return f"{type(self).__name__}({', '.join(parts)})"


def _shown(value: Any) -> str:
    """A field of a result, in a few characters."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return _shown(value.item())
        if value.size > _SHOWN_ENTRIES or value.ndim > 1:
            return f"<{'×'.join(map(str, value.shape))}>"
        value = value.tolist()
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str):
        text = " ".join(value.split())
        return repr(text if len(text) <= 60 else text[:57] + "...")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        if len(value) > _SHOWN_ENTRIES:
            return f"<{len(value)}>"
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return f"<{len(value)} keys>"
    if is_dataclass(value):
        return f"{type(value).__name__}(...)"
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"<{type(value).__name__}>"


class Status(StrEnum):
    """How a computation ended; the same words everywhere, in code, files and messages."""

    CONVERGED = "converged"
    MAX_STEPS = "max_steps"
    MAX_TIME = "max_time"
    MAX_WALL_SECONDS = "max_wall_seconds"
    LEFT_POSITIVE_ORTHANT = "left_positive_orthant"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    BELOW_INPUT_PRECISION = "below_input_precision"
    FAILED = "failed"

    @property
    def message(self) -> str:
        """The status as a sentence."""
        return _MESSAGES[self]

    @property
    def ended_badly(self) -> bool:
        """Whether the command line exits with status 3 (it keeps everything that was written)."""
        return self in (
            Status.LEFT_POSITIVE_ORTHANT,
            Status.DIVERGED,
            Status.INTERRUPTED,
            Status.FAILED,
        )


_MESSAGES = {
    Status.CONVERGED: "the residual reached the tolerance",
    Status.MAX_STEPS: "the step budget was used up before the residual reached the tolerance",
    Status.MAX_TIME: "the time t = Σ η reached its bound before the residual reached the tolerance",
    Status.MAX_WALL_SECONDS: "the wall-clock budget was used up before the residual reached the tolerance",
    Status.LEFT_POSITIVE_ORTHANT: "the next step would make a parameter zero or negative: the step size is too large",
    Status.DIVERGED: "the next step would make a parameter infinite or not a number: the step size is too large",
    Status.INTERRUPTED: "the run was interrupted",
    Status.BELOW_INPUT_PRECISION: "the answer depends on digits of the input that this precision does not hold",
    Status.FAILED: "the computation failed",
}


@dataclass(frozen=True)
class Trajectory:
    """A path ψ(t), of gradient descent or of the flow.

    Attributes:
        t: Times, shape (k,), increasing; t = Σ η for descent. The unit is that of the flow θ̇ = −∇L(θ).
        psi: Network vectors ψ(t), shape (k, n).
        loss: L = ½‖Aψ − y‖₂² at each time, shape (k,).
        status: How the path ended.
        reason: One line on why, where ``status`` alone does not tell.
        step: The number of gradient steps at each time, shape (k,), for descent; None for the flow.
        evaluations: Evaluations of the right-hand side, for the flow; None for descent.
    """

    t: Tensor
    psi: Tensor
    loss: Tensor
    status: Status
    reason: str = ""
    step: Tensor | None = None
    evaluations: int | None = None

    def __len__(self) -> int:
        return int(self.t.numel())

    def __repr__(self) -> str:
        span = f"t = {float(self.t[0]):.3g} to {float(self.t[-1]):.3g}" if len(self) else "none"
        return f"Trajectory({len(self)} points, {span}, n = {self.psi.shape[-1]}, {self.status})"

    def final(self) -> Tensor:
        """The last ψ, shape (n,)."""
        return self.psi[-1]
