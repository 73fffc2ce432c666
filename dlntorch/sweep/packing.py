"""Points of a sweep packed into batched runs: the networks of one shape trained side by side, on all cores.

What each point leaves in its folder is what it leaves alone (:func:`~dlntorch.run.from_config.run_experiments`); packing
saves the references that points share and trains on several cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlntorch.engine import CAPABILITIES
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, make_problem
from dlntorch.run.configuration import check_keys
from dlntorch.run.from_config import run_experiments
from dlntorch.run.members import is_ensemble
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.run.watched import training_options

__all__ = ["packs", "run_pack"]

#: Points of one batched run: what a crash can cost, and what is held in memory at once.
LARGEST = 128

#: Rules that are ready before training: the others choose their steps by a run of their own.
RULES = ("relative", "constant", "stable")


def packs(configs: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Numbers of the points that are faster together, pack by pack; the others are left to run alone.

    Together are points of one shape (m, n) on the compiled CPU engine, at least two, unless ``pack=false``. A point with
    a mistake in it is left alone too, where the mistake is reported as always.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, config in enumerate(configs):
        shape = _shape(config)
        if shape is not None:
            groups.setdefault(shape, []).append(i)
    found: list[list[int]] = []
    for group in groups.values():
        parts = -(-len(group) // LARGEST)
        found += [group[part::parts] for part in range(parts)]
    return [sorted(pack) for pack in found if len(pack) > 1]


def _shape(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """The shape of a point that can be packed, None for others."""
    try:
        check_keys({key: value for key, value in config.items() if key != "experiment"})
        if (
            config["pack"] is False
            or config["dry_run"]
            or config["repeat"] is not None  # refused, as each point says for itself
            or config["resume"] is not None
            or config["accuracy"] is not None  # planned where it is run
            or is_ensemble(config)
            or config["schedule"]["name"] not in RULES
        ):
            return None
        if config["max_wall_seconds"] is not None:  # a budget of each run alone
            return None
        training_options(config)
        problem: Problem = make_problem(**config["problem"])
        settings = RunSettings.from_config(problem, config)
    except (InputError, KeyError, TypeError):
        return None
    return (problem.m, problem.n) if CAPABILITIES[settings.engine].compiled else None


def run_pack(
    configs: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    draw: Callable[[RunResult], Mapping[str, Path]],
) -> bool:
    """Run the points of a pack, each in its folder, continuing those that have been cut; False where a signal ended them."""
    resumed = [
        {**config, "resume": str(folder) if (folder / "checkpoints" / "last.ckpt").is_file() else None}
        for config, folder in zip(configs, folders, strict=True)
    ]
    results = run_experiments(resumed, folders, draw=draw)
    return all(result.status is not Status.INTERRUPTED for result in results)
