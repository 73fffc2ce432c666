"""Published experiments with diagonal networks, one module a paper: its settings, what is computed, what it claims."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["PAPERS", "paper_module"]

#: In the order in which they are listed and run; each has a module here and a block of settings in conf/study/reproduce.yaml.
PAPERS = (
    "even2023",
    "haochen2021",
    "woodworth2020",
    "papazov2024",
    "pesme2021",
    "fojtik2025",
    "azulay2021",
    "andriushchenko2022",
)


def paper_module(name: str) -> ModuleType:
    """The module of a paper: ABOUT, points, compute, claims."""
    return import_module(f"dlntorch.studies.papers.{name}")
