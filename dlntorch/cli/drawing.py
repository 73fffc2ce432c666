"""The figures and the page of a finished run, where matplotlib is installed and they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlntorch.cli.messages import print_warning

__all__ = ["draw_ensemble", "draw_matrix", "draw_run"]


def draw_run(result: Any) -> Mapping[str, Path]:
    if not result.config["callbacks"]["figures"] or not _can_draw():
        return {}
    from dlntorch.report import write_run_report

    return write_run_report(result)


def draw_ensemble(result: Any) -> Mapping[str, Path]:
    if not result.config["callbacks"]["figures"] or not _can_draw():
        return {}
    from dlntorch.report import write_ensemble_report

    return write_ensemble_report(result)


def draw_matrix(result: Any) -> Mapping[str, Path]:
    if not result.config["callbacks"]["figures"] or not _can_draw():
        return {}
    from dlntorch.report.matrix import write_matrix_report

    return write_matrix_report(result)


def _can_draw() -> bool:
    from dlntorch.report import INSTALL, can_draw

    if can_draw():
        return True
    print_warning(f"there are no figures and no page, which need matplotlib: {INSTALL}")
    return False
