"""The figures of the studies, one module for each: ``charts(rows, settings)``, a list of charts, from the data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from dlntorch.report.chart import Chart

__all__ = ["study_charts"]


def study_charts(name: str, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    """The charts of a study."""
    return import_module(f"dlntorch.report.study_figures.{name}").charts(rows, settings)
