"""A saved view of a W&B project for these runs, built with W&B's own library (``pip install wandb-workspaces``)."""

from __future__ import annotations

import warnings
from typing import Any

from dlntorch.numerics.validation import InputError

__all__ = ["wandb_workspace"]

#: Panels against time and against the step: title, metrics.
HISTORY = {
    "distances to the references": ("distance_to_selected", "distance_to_l1", "distance_to_limit"),
    "residual": ("residual",),
    "l1 gap": ("l1_gap",),
    "step size": ("eta",),
    "smallest parameter": ("smallest_parameter",),
}

BUDGET = ("budget.discretization", "budget.finite_time", "budget.initialization")


def wandb_workspace(project: str, entity: str, group: str | None = None) -> Any:
    """A workspace with the panels of a run's page: call ``.save()`` on it (needs ``wandb login``); its URL is returned.

    Every history panel is logarithmic in both axes, once against the time t = Σ η and once against the step; then the
    error budget of each run, and the distance to W_p against α over all of them.

    Args:
        project: The W&B project (``logger.project``).
        entity: Its owner.
        group: Show one sweep only (``logger.group``: by default the sweep folder's name).

    Raises:
        InputError: when ``wandb-workspaces`` is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that library's own deprecations
        try:
            import wandb_workspaces.reports.v2 as panels
            import wandb_workspaces.workspaces as workspaces
        except ImportError:
            raise InputError("wandb_workspace must have its library installed: pip install wandb-workspaces") from None

    def history(axis: str, prefix: str) -> list[Any]:
        return [
            panels.LinePlot(title=title, x=axis, y=[prefix + name for name in names], log_x=True, log_y=True)
            for title, names in HISTORY.items()
        ]

    overview = [
        panels.ScatterPlot(
            title="distance to W_p against alpha", x="alpha", y="distance_to_selected", log_x=True, log_y=True
        ),
        panels.BarPlot(title="error budget", metrics=list(BUDGET)),
    ]
    sections = [
        workspaces.Section(name="Sweep", panels=overview, is_open=True),
        workspaces.Section(name="Against the time t", panels=history("t", "by_t/"), is_open=True),
        workspaces.Section(name="Against the step", panels=history("step", ""), is_open=False),
    ]
    chosen = workspaces.RunsetSettings(filters=[] if group is None else [workspaces.Metric("group") == group])
    return workspaces.Workspace(
        entity=entity, project=project, name=f"dlntorch {group or project}", sections=sections, runset_settings=chosen
    )
