"""How far from W_p a run will end, before it is made: the flow at the time where its tolerance or a budget ends it."""

from __future__ import annotations

import math

import torch

from dlntorch.numerics.trajectory import Status
from dlntorch.run.open_numbers import depth_and_scale
from dlntorch.run.planning import Plan

__all__ = ["expected_error"]

#: Of the flow to that time, and how much work it may be.
_RTOL, _EVALUATIONS = 1e-7, 50_000


def expected_error(plan: Plan) -> str:
    """``‖ψ(t) − W_p‖₂`` of the flow where the run is predicted to end, in words; or why it is not known.

    The end is the first of: the tolerance, ``max_steps``, ``max_time``. What the steps add, the discretization, is not in it,
    except for a run that its accuracy's plan has predicted to its tolerance.

    Args:
        plan: The run, with its references and its prediction.
    """
    from dlntorch.flow.integrate import integrate_flow

    prediction, stopping, selected = plan.prediction, plan.settings.stopping, plan.references.selected
    if prediction.time is None:
        return f"not predicted: {prediction.reason}"
    if selected is None or selected.status is not Status.CONVERGED:
        why = plan.references.reasons.get("selected") or (selected.reason if selected is not None else "")
        return f"not predicted: W_p is not known{f' ({why})' if why else ''}"
    budget = math.inf
    if prediction.steps is not None and stopping.max_steps < prediction.steps:
        budget = prediction.time_of(stopping.max_steps)
    end = min(prediction.time, stopping.max_time, budget)
    if end == prediction.time and prediction.error is not None:
        return f"{prediction.error:.3g}, at t = {end:.4g}"
    if end == 0:
        return f"{float(torch.linalg.vector_norm(selected.psi)):.3g}, at t = 0"
    exact = plan.problem.to("cpu", "float64").reduced()
    p, alpha = depth_and_scale(plan.settings)
    path = integrate_flow(exact, p, alpha, [end], rtol=_RTOL, max_evaluations=_EVALUATIONS)
    if path.status is not Status.MAX_TIME:
        return f"not predicted: {path.reason or 'the flow is too stiff to follow'}"
    return f"{float(torch.linalg.vector_norm(path.psi[-1] - selected.psi)):.3g}, of the flow at t = {end:.4g}"
