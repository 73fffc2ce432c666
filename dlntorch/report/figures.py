"""The five figures of a run, by name. Each draws from saved results; what cannot be drawn is replaced by the reason."""

from __future__ import annotations

from dlntorch.report.budget import draw_budget
from dlntorch.report.coefficients import draw_coefficients
from dlntorch.report.curves import draw_distances, draw_residual, draw_steps
from dlntorch.report.data import RunData
from dlntorch.report.drawing import ReportFigure

__all__ = ["RUN_FIGURES"]

RUN_FIGURES: dict[str, ReportFigure[RunData]] = {
    "distances": ReportFigure(
        "Distance to the references",
        "How far ψ is from each reference, against time. The dashed floor is what α alone costs: no longer run gets "
        "below it. The dotted line is the theorem's prediction of that floor. Curves that coincide are drawn as one. Like all "
        "figures over time, it begins shortly before ψ first moves.",
        draw_distances,
    ),
    "residual": ReportFigure(
        "Residual and ℓ₁ gap",
        "The residual, and the distance of ‖ψ‖₁ from the minimum, below it while ψ does not interpolate yet and above it "
        "where ψ interpolates with a larger norm.",
        draw_residual,
    ),
    "coefficients": ReportFigure(
        "Coefficients of the network",
        "Every coefficient against time: coordinates switch on one after the other. The support is highlighted, the other "
        "coordinates are grey; triangles at the right edge are the planted signal's values, where there is one. Dotted are the "
        "saddles of the flow for α → 0 and the times of its jumps for this α, to leading order. The figure is of the time in "
        "which ψ moves.",
        draw_coefficients,
    ),
    "steps": ReportFigure(
        "Step size, stability, positivity",
        "Above: the step size used, and the largest that is stable at that point. Below: the smallest parameter, which has "
        "to stay positive for descent to follow the flow.",
        draw_steps,
    ),
    "budget": ReportFigure(
        "Where the error comes from",
        "The three parts of the error against time. The shading below the largest part says which one dominates; the wide "
        "grey line is their sum, which bounds the distance to W_p.",
        draw_budget,
    ),
}
