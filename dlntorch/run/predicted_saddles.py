"""The saddles that theory predicts for a run, which its page shows beside its coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem

__all__ = ["PredictedSaddles", "predicted_saddles", "saddles_of"]

#: Problems up to so many entries have their saddles on the page: the path takes milliseconds.
MOST_ENTRIES = 100_000


@dataclass(frozen=True)
class PredictedSaddles:
    """The flow for α → 0: where it stands, and when it jumps.

    Attributes:
        times: Times t of the jumps for the run's α, to leading order, shape (J,), increasing.
        psi: The saddles, shape (J + 1, n).
    """

    times: np.ndarray
    psi: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``result.npz`` holds of them."""
        return {"saddle_times": self.times, "saddle_psi": self.psi}


def saddles_of(arrays: Mapping[str, Any]) -> PredictedSaddles | None:
    """Those in the arrays of a ``result.npz``, None where it has none."""
    if "saddle_times" not in arrays:
        return None
    times, psi = np.asarray(arrays["saddle_times"]), np.asarray(arrays["saddle_psi"])
    if times.ndim != 1 or psi.ndim != 2 or len(psi) != len(times) + 1:
        raise ValueError(f"saddle_psi must have a row more than the {times.shape} saddle_times, got {psi.shape}")
    return PredictedSaddles(times, psi)


def predicted_saddles(problem: Problem, summary: Mapping[str, Any]) -> PredictedSaddles | None:
    """The saddles of a run by plain SGD from one number α; None where theory has none, or where they would take long.

    Args:
        problem: The run's data.
        summary: Its summary.
    """
    alpha, p = summary.get("alpha"), summary.get("p")
    plain = summary.get("optimizer", {}).get("name", "SGD") == "SGD"
    if p is None or alpha is None or not plain or not problem.dense or problem.m * problem.n > MOST_ENTRIES:
        return None
    from dlntorch.reference.saddles import saddle_path

    try:
        path = saddle_path(problem, p)
        times = path.jump_times(alpha, corrected=False).numpy()
    except (InputError, ArithmeticError):  # the run itself is shown all the same
        return None
    psi = path.psi.numpy()
    # where α is too large for the clock of a depth to run, times are negative or infinite
    whole = np.isfinite(times).all() and np.isfinite(psi).all() and np.all(times > 0) and np.all(np.diff(times) >= 0)
    return PredictedSaddles(times, psi) if len(times) and whole else None
