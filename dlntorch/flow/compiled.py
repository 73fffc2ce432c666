"""Integrations of two-sided networks, one or many, in one compiled call: from cells to paths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlntorch.flow.cells import TwoSided
from dlntorch.flow.collocation import Path, note_blur, stages_for
from dlntorch.flow.loop_kernel import integrate_all
from dlntorch.flow.radau import tableau
from dlntorch.flow.records import (
    CONVERGED,
    FAILED,
    LEFT_FLOAT64,
    MAX_STEPS,
    STATE,
    Batch,
    Curves,
    Found,
    Sides,
    make_method,
    make_work,
)
from dlntorch.numerics.trajectory import Status

__all__ = ["integrate_cells"]

_ENDS = {
    CONVERGED: Status.CONVERGED,
    MAX_STEPS: Status.MAX_STEPS,
    FAILED: Status.FAILED,
    LEFT_FLOAT64: Status.FAILED,
}


def integrate_cells(
    A: np.ndarray,
    y: np.ndarray,
    cells: Sequence[TwoSided],
    times: np.ndarray,
    sizes: np.ndarray,
    *,
    rtol: float,
    max_evaluations: float = math.inf,
    stop_norms: np.ndarray | None = None,
    stages: int | None = None,
) -> list[Path]:
    """The flows of networks of one parametrization, from the points of their cells, which are moved along.

    Args:
        A: Full row rank, (1, m, n) or one a network, (N, m, n).
        y: (1, m) or (N, m).
        cells: Where the N flows start; of one kind.
        times: Increasing, >= 0, (1, k) or (N, k).
        sizes: The ‖ψ‖_∞ to expect, (N,).
        rtol: What ψ may be wrong by in a step, relative to ‖ψ‖_∞.
        max_evaluations: Budget of evaluations of a network's residual.
        stop_norms: ‖y − Aψ‖₂ at which the paths end, (N,); None or negative where none does.
        stages: Of the method; None chooses.
    """
    count, n = len(cells), A.shape[2]
    method = make_method(tableau(stages or stages_for(rtol)))
    curves = [cell.curves for cell in cells]
    kind = curves[0].kind if all(one.kind == curves[0].kind for one in curves) else 0
    shape = curves[0].c.shape
    states = np.zeros(count, STATE)
    states["largest"] = sizes
    k = times.shape[1] + 1
    batch = Batch(
        A=np.ascontiguousarray(A),
        y=np.ascontiguousarray(y),
        times=np.ascontiguousarray(times),
        method=method,
        curves=Curves(kind, curves[0].k, *(np.stack([one[part] for one in curves]) for part in (2, 3))),
        sides=Sides(*(np.stack([cell.sides[part] for cell in cells]) for part in range(2))),
        found=Found(np.empty((count, k)), np.empty((count, k, n)), np.empty((count, k, *shape))),
        work=make_work(A.shape[1], n, method),
        rtol=rtol,
        max_evaluations=int(min(max_evaluations, 2**62)),
        stop_norms=np.full(count, -1.0) if stop_norms is None else stop_norms,
    )
    integrate_all(batch, states)
    return [_path(batch, index, states[index], cell) for index, cell in enumerate(cells)]


def _path(batch: Batch, index: int, state: np.void, cell: TwoSided) -> Path:
    """What was found for one network; its cell becomes the point reached."""
    for part, one in zip(cell.sides, batch.sides, strict=True):
        part[:] = one[index]
    reached = int(state["count"])
    t, psi, u = (one[index, :reached] for one in batch.found)
    path = Path([t], [psi], [cell.theta_at(u, psi)], reached, _ENDS.get(int(state["status"]), Status.MAX_TIME))
    path.evaluations, path.steps, path.rejected = (int(state[key]) for key in ("evaluations", "steps", "rejected"))
    now = f"t = {state['t']:.6g}"
    if state["status"] == MAX_STEPS:
        path.reason = f"the budget of {batch.max_evaluations} evaluations of the right-hand side was used up"
    elif state["status"] == FAILED:
        path.reason = f"the integration stopped at {now}: no step is short enough"
    elif state["status"] == LEFT_FLOAT64:
        path.reason = f"the integration left the range of float64 at {now}"
    elif state["rough"] > 0:
        path.note(f"psi at t = {state['rough']:.6g} is interpolated: its own step does not converge")
    note_blur(path, float(state["blur"]), float(state["blur_time"]), batch.rtol)
    return path
