"""What a run keeps of its path: snapshots at logarithmically spaced steps, so that a long run stays small.

Recording is split from measuring. At a recorded step only θ is copied; distances, gaps and sharpness are computed
later, many snapshots at a time, when that does not hold the run up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.engine.base import Progress, Snapshot

__all__ = ["Recorder", "Snapshot", "next_recorded_step"]

#: Recorded steps per factor of ten, once steps are numerous enough.
PER_DECADE = 40


def next_recorded_step(step: int, per_decade: int = PER_DECADE) -> int:
    """The first recorded step after ``step``: every step up to about 10, then ``per_decade`` per factor of ten.

    A function of the step alone: a resumed run records the same steps as one that was never cut.
    """
    if step < 0:
        return 0
    exponent = int(np.floor(per_decade * np.log10(max(step, 1)))) - 1
    while True:
        candidate = round(10 ** (exponent / per_decade))
        if candidate > step:
            return candidate
        exponent += 1


class Recorder:
    """Keeps snapshots of a run.

    Args:
        per_decade: Recorded steps per factor of ten.
        max_bytes: Bound on what the snapshots take; past it every other one is dropped.
    """

    def __init__(self, per_decade: int = PER_DECADE, max_bytes: int = 256 * 2**20) -> None:
        self.per_decade = per_decade
        self.max_bytes = max_bytes
        self.snapshots: list[Snapshot] = []

    def due(self, step: int) -> bool:
        """Whether a run that stands at ``step`` has to be recorded there."""
        last = self.snapshots[-1].step if self.snapshots else -1
        return step >= next_recorded_step(last, self.per_decade)

    def next_step(self, step: int) -> int:
        """The next recorded step after ``step``."""
        return next_recorded_step(step, self.per_decade)

    def record(self, progress: Progress, rows: Sequence[Tensor]) -> Snapshot:
        """Copy θ, given by its rows (n,), at the current step; a step that is already recorded is replaced."""
        theta = np.stack([row.detach().to("cpu", torch.float64).numpy() for row in rows])
        snapshot = Snapshot(progress.step, progress.time, progress.eta, theta)
        self.add(snapshot)
        return snapshot

    def due_within(self, step: int, end: int, most: int) -> list[int]:
        """The recorded steps after ``step`` up to ``end``, at most so many."""
        found: list[int] = []
        while len(found) < most and (step := self.next_step(step)) <= end:
            found.append(step)
        return found

    def add(self, snapshot: Snapshot) -> None:
        """Append a snapshot; a step that is already recorded is replaced."""
        if self.snapshots and self.snapshots[-1].step == snapshot.step:
            self.snapshots.pop()
        self.snapshots.append(snapshot)
        if len(self.snapshots) * snapshot.theta.nbytes > self.max_bytes and len(self.snapshots) > 8:
            self.snapshots = [*self.snapshots[:-1:2], snapshot]

    def drop_unscheduled(self) -> None:
        """Forget a last snapshot that was taken only because the run ended there: a resumed run goes on past it."""
        if (
            self.snapshots
            and next_recorded_step(self.snapshots[-1].step - 1, self.per_decade) != self.snapshots[-1].step
        ):
            self.snapshots.pop()

    def column(self, name: str) -> np.ndarray:
        """One field of all snapshots, stacked along the first axis."""
        return np.array([getattr(s, name) for s in self.snapshots])

    def state_dict(self) -> dict[str, Any]:
        """All snapshots as tensors."""
        names = ("step", "time", "eta", "theta")
        return {name: torch.from_numpy(np.ascontiguousarray(self.column(name))) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore saved snapshots."""
        arrays = {name: value.numpy() for name, value in state.items()}
        if "theta_plus" in arrays:  # of version 0.1
            arrays["theta"] = np.stack([arrays["theta_plus"], arrays["theta_minus"]], axis=1)
        self.snapshots = [
            Snapshot(
                int(arrays["step"][i]),
                float(arrays["time"][i]),
                float(arrays["eta"][i]),
                arrays["theta"][i].copy(),
            )
            for i in range(len(arrays["step"]))
        ]
