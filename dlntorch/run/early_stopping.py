"""Where a run on a planted problem was nearest to the truth, whether it has passed that point, and the lasso's best beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.metrics import distance
from dlntorch.problem import Problem

__all__ = ["nearest_to_truth"]

#: A run has passed its nearest point to the truth where that is nearer than its end by more than this share.
PASSED = 0.05
#: The lasso's path is followed for problems of so many entries: it takes a second there.
MOST_ENTRIES = 400_000


def nearest_to_truth(
    problem: Problem, history: Mapping[str, np.ndarray], limit: Tensor | None, with_lasso: bool
) -> tuple[dict[str, Any] | None, str]:
    """``summary["nearest_to_truth"]``, and advice where the run has passed that point.

    With noise in y the end of a long run fits the noise: the best run is then a shorter one.

    Args:
        problem: The data; without a truth there is None.
        history: The measured columns of the run.
        limit: The flow's limit (n,), where it is known: a run that would come nearer yet has passed nothing.
        with_lasso: Whether the best point of the lasso's path is computed too.
    """
    t, values = history.get("t"), history.get("distance_to_truth")
    if problem.truth is None or t is None or values is None or not np.isfinite(values).any():
        return None, ""
    best = int(np.nanargmin(np.where(np.isfinite(values), values, np.nan)))
    near, end, time = float(values[best]), float(values[-1]), float(t[best])
    truth = problem.truth.to("cpu", torch.float64)
    after = end if limit is None else min(end, float(distance(limit, truth)))
    passed = near < (1 - PASSED) * after
    report = {"time": time, "distance": near, "passed": passed, **_of_lasso(problem, truth, with_lasso)}
    if not passed:
        return report, ""
    return report, (
        f"longer than is best for the planted signal: at t = {time:.3g} the run was {near:.2g} from it, and at its end it "
        f"is {end:.2g}; a longer run would not help, max_time={time:.3g} would"
    )


def _of_lasso(problem: Problem, truth: Tensor, wanted: bool) -> dict[str, Any]:
    """The smallest distance of the lasso's path from the truth, and its λ; or None and why."""
    reason = "not asked for: early_stopping=true adds it"
    if wanted and (not problem.dense or problem.m * problem.n > MOST_ENTRIES):
        reason = f"the lasso's path is followed for a dense A of up to {MOST_ENTRIES} entries"
    elif wanted:
        from dlntorch.reference.lasso import lasso_path

        path = lasso_path(problem)
        reason = path.reason
        if not reason:
            least, strength = path.nearest(truth.numpy())
            return {"lasso_distance": least, "lasso_strength": strength}
    keys = ("lasso_distance", "lasso_strength")
    return dict.fromkeys(keys) | {f"{key}_reason": reason for key in keys}
