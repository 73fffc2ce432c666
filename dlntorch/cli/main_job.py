"""The main job without a checkout: ``dlntorch train p=3 alpha=1e-3`` is ``train.py`` from an installed package."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from dlntorch.cli.command_line import exit_status_of, run_point
from dlntorch.run.configuration import config_directory

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the main job with these arguments, which Hydra reads from ``sys.argv``; returns the exit status."""
    sys.argv[1:] = arguments
    return exit_status_of(main_job)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="train")
def main_job(config: DictConfig) -> float | None:
    """Make the problem, compute the references, train by plain SGD, compare, report."""
    return run_point(config)
