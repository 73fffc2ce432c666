"""Measuring recorded snapshots, many at a time: residual, ℓ1 gap, distances, sharpness, smallest parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.metrics import distance, l1_gap
from dlntorch.model.objective import sharpness
from dlntorch.model.parametrization import Parametrization, as_parametrization
from dlntorch.problem import Problem
from dlntorch.training.recorder import Snapshot

__all__ = ["COLUMNS", "GROUP", "Measurer"]

#: What is measured at every recorded step, in the order of the files.
COLUMNS = (
    "step",
    "t",
    "eta",
    "loss",
    "residual",
    "l1_gap",
    "distance_to_l1",
    "distance_to_selected",
    "distance_to_limit",
    "distance_to_truth",
    "sharpness",
    "smallest_parameter",
)

#: Snapshots that are measured in one product.
GROUP = 16

#: Larger problems measure the sharpness at every eighth snapshot of a group only.
SHARPNESS_ENTRIES = 2_000_000


class Measurer:
    """Measures snapshots against whatever references there are.

    Args:
        problem: The problem that is trained on, in float64 on the CPU.
        p: Depth, or a parametrization.
        references: Vectors (n,) by name: ``l1``, ``selected``, ``limit``, ``truth``; a missing one leaves its
            column out.
        l1_value: min ‖ψ‖₁, where it is known.
    """

    def __init__(
        self,
        problem: Problem,
        p: float | Parametrization,
        references: Mapping[str, Tensor],
        l1_value: float | None = None,
    ) -> None:
        self.problem = problem
        self.parametrization = as_parametrization(p)
        self.references = dict(references)
        self.l1_value = l1_value

    def measure(self, snapshots: Sequence[Snapshot]) -> dict[str, np.ndarray]:
        """One array of len(snapshots) for each column that can be measured.

        Always in groups of :data:`GROUP`, since the last bits of a product depend on how many rows it has: whoever
        measures a path in parts, each a multiple of that long, gets what measuring it at once gives.
        """
        parts = [self._measure(snapshots[i : i + GROUP]) for i in range(0, len(snapshots), GROUP)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _measure(self, snapshots: Sequence[Snapshot]) -> dict[str, np.ndarray]:
        theta = torch.from_numpy(np.stack([s.theta for s in snapshots]))  # (k, width, n)
        psi = self.parametrization.values(theta)
        columns: dict[str, np.ndarray] = {
            "step": np.array([s.step for s in snapshots]),
            "t": np.array([s.time for s in snapshots]),
            "eta": np.array([s.eta for s in snapshots]),
            "loss": self.problem.loss(psi).numpy(),
            "residual": self.problem.relative_residual(psi).numpy(),
        }
        if self.l1_value is not None:
            columns["l1_gap"] = l1_gap(psi, self.l1_value).numpy()
        for name, reference in self.references.items():
            columns[f"distance_to_{name}"] = distance(psi, reference).numpy()
        columns["smallest_parameter"] = theta.amin(dim=(1, 2)).numpy()
        if self.problem.dense and self.problem.m * self.problem.n <= SHARPNESS_ENTRIES:
            columns["sharpness"] = sharpness(self.problem, theta, self.parametrization).numpy()
        return {name: columns[name] for name in COLUMNS if name in columns}
