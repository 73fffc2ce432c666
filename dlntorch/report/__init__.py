"""Figures and pages, drawn from saved results only: nothing is trained or solved here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dlntorch.numerics.validation import InputError
from dlntorch.run.ensemble_result import EnsembleResult
from dlntorch.run.result import RunResult

__all__ = ["INSTALL", "can_draw", "write_ensemble_report", "write_run_report"]

#: What to do where figures cannot be drawn.
INSTALL = "pip install 'dlntorch[figures]'"


def can_draw() -> bool:
    """Whether matplotlib is installed, which figures and pages need and nothing else."""
    return find_spec("matplotlib") is not None


def write_run_report(result: RunResult) -> dict[str, Path]:
    """Write ``figures/*.png`` and ``report.html`` into a run's folder.

    Args:
        result: A finished run that has a folder.

    Returns:
        The figures' paths by name: ``distances``, ``residual``, ``coefficients``, ``steps``, ``budget``.

    Raises:
        InputError: when the run has no folder.
        OSError: when a file cannot be written.
    """
    from dlntorch.report.data import RunData
    from dlntorch.report.figures import RUN_FIGURES
    from dlntorch.report.page import render_page

    folder = folder_of(result, "a run")
    data = RunData(result)
    figures = {name: partial(figure.draw, figure.title, data) for name, figure in RUN_FIGURES.items()}
    return write_report(folder, figures, partial(render_page, data))


def write_ensemble_report(result: EnsembleResult) -> dict[str, Path]:
    """Write ``figures/*.png`` and ``report.html`` into an ensemble's folder.

    Args:
        result: A finished ensemble that has a folder.

    Returns:
        The figures' paths by name: ``distances``, ``residual``, ``steps``.

    Raises:
        InputError: when the ensemble has no folder.
        OSError: when a file cannot be written.
    """
    from dlntorch.report.ensemble import ENSEMBLE_FIGURES, render_ensemble_page

    figures = {name: partial(figure.draw, figure.title, result) for name, figure in ENSEMBLE_FIGURES.items()}
    return write_report(folder_of(result, "an ensemble"), figures, partial(render_ensemble_page, result))


def folder_of(result: Any, kind: str) -> Path:
    """The folder of a result, which a report is written into; :class:`InputError` where it has none."""
    if result.folder is None:
        raise InputError(f"result must be of {kind} that has a folder, got folder=None")
    return result.folder


def write_report(
    folder: Path, figures: Mapping[str, Callable[[], Any]], page: Callable[[Mapping[str, bytes]], str]
) -> dict[str, Path]:
    """Save the figures, by name what draws each, and the page made of their images; the figures' paths."""
    from dlntorch.report.style import save_figure
    from dlntorch.store.folder import atomic_write

    paths = {name: folder / "figures" / f"{name}.png" for name in figures}
    images = {name: save_figure(draw(), paths[name]) for name, draw in figures.items()}
    atomic_write(folder / "report.html", page(images).encode("utf-8", "replace"))
    return paths
