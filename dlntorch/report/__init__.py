"""Figures and pages, drawn from saved results only: nothing is trained or solved here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

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
    from dlntorch.numerics.validation import InputError
    from dlntorch.report.data import RunData
    from dlntorch.report.figures import RUN_FIGURES
    from dlntorch.report.page import render_page
    from dlntorch.report.style import save_figure
    from dlntorch.store.folder import atomic_write

    if result.folder is None:
        raise InputError("result must be of a run that has a folder, got folder=None")
    data = RunData(result)
    paths: dict[str, Path] = {}
    images: dict[str, bytes] = {}
    for name, figure in RUN_FIGURES.items():
        paths[name] = result.folder / "figures" / f"{name}.png"
        images[name] = save_figure(figure.draw(figure.title, data), paths[name])
    atomic_write(result.folder / "report.html", render_page(data, images).encode("utf-8", "replace"))
    return paths


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
    from dlntorch.numerics.validation import InputError
    from dlntorch.report.ensemble import ENSEMBLE_FIGURES, render_ensemble_page
    from dlntorch.report.style import save_figure
    from dlntorch.store.folder import atomic_write

    if result.folder is None:
        raise InputError("result must be of an ensemble that has a folder, got folder=None")
    paths: dict[str, Path] = {}
    images: dict[str, bytes] = {}
    for name, figure in ENSEMBLE_FIGURES.items():
        paths[name] = result.folder / "figures" / f"{name}.png"
        images[name] = save_figure(figure.draw(figure.title, result), paths[name])
    atomic_write(result.folder / "report.html", render_ensemble_page(result, images).encode("utf-8", "replace"))
    return paths
