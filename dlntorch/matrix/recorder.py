"""What a descent on layers keeps of its path: a row of numbers at steps spaced by a factor, so that a long run stays small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["LayerRecorder", "LayerSnapshot"]

#: Records are this factor of steps apart.
SPACING = 1.15


@dataclass(frozen=True)
class LayerSnapshot:
    """Where B networks stood.

    Attributes:
        step: Steps made.
        time: t = Σ η, shape (B,).
        eta: The last step size, shape (B,).
        loss: L, shape (B,).
        values: What describes X, shape (B, k).
        X: Shape (B, …); None where it is not kept.
    """

    step: int
    time: Tensor
    eta: Tensor
    loss: Tensor
    values: Tensor
    X: Tensor | None


class LayerRecorder:
    """Keeps snapshots; a resumed run records the same steps as one that was never cut."""

    def __init__(self) -> None:
        self.snapshots: list[LayerSnapshot] = []
        self.next_step = 0
        self._last_only = False  # whether the last snapshot is there since the run ended, and not since it was due

    def due(self, step: int) -> bool:
        """Whether a run that stands at ``step`` has to be recorded there."""
        return step >= self.next_step

    def add(self, snapshot: LayerSnapshot, due: bool = True) -> None:
        """Append a snapshot, unless its step is recorded already."""
        if due:
            self.next_step = max(snapshot.step + 1, math.ceil(snapshot.step * SPACING))
        if self.snapshots and self.snapshots[-1].step == snapshot.step:
            return
        self.snapshots.append(snapshot)
        self._last_only = not due

    def column(self, name: str) -> Tensor:
        """One entry for each snapshot, stacked."""
        values = [getattr(snapshot, name) for snapshot in self.snapshots]
        return torch.tensor(values) if name == "step" else torch.stack(values)

    def state_dict(self) -> dict[str, Any]:
        """The snapshots as tensors."""
        rows = [{name: getattr(one, name) for name in LayerSnapshot.__dataclass_fields__} for one in self.snapshots]
        return {"snapshots": rows, "next_step": self.next_step, "last_only": self._last_only}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved record, without a last entry that only the end of the run has made."""
        self.snapshots = [LayerSnapshot(**row) for row in state["snapshots"]]
        if state["last_only"]:
            self.snapshots.pop()
        self.next_step, self._last_only = state["next_step"], False
