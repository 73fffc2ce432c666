"""The points of a sweep: each ends by itself, what went wrong is kept beside it, and those of one shape run together.

Under ``-m`` a bad point never stops the others. A sweep that is run again skips points that are done, resumes those that
were cut and tries again those that failed (:mod:`dlntorch.sweep.points`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlntorch.cli.drawing import draw_run
from dlntorch.cli.messages import about, hydra_message, mistake, print_warning, quiet
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem.formats import one_line
from dlntorch.store.folder import drop_if_empty
from dlntorch.sweep.launcher import plain_settings, result_overrides
from dlntorch.sweep.points import (
    PointState,
    check_code,
    clear_failure,
    objective,
    point_labels,
    point_state,
    read_points,
    read_summary,
    same_point,
    write_failure,
)

__all__ = ["run_packs", "sweep_point", "sweep_point_settings"]


#: Runs a point; returns its exit status, what sweepers minimise, and the message where it ended in an error.
RunAndReport = Callable[[DictConfig, Path, bool], tuple[int, float | None, str]]


def sweep_point(config: DictConfig, folder: Path, run_and_report: RunAndReport) -> tuple[int, float | None]:
    """A point of a sweep: skipped where it is done, resumed where it was cut; what went wrong is kept beside it.

    Returns:
        Its exit status, and what sweepers minimise.
    """
    with about(f"point {' '.join(result_overrides(HydraConfig.get().overrides.task))}"):
        try:
            check_code(folder.parent)
            plain = plain_settings(config, throw_on_missing=True)
            if same_point(folder, plain) and point_state(folder) is PointState.DONE:  # meanwhile, by another process
                summary = read_summary(folder) or {}
                return 3 if Status(summary["status"]).ended_badly else 0, objective(summary)
            outcome, value, message = run_and_report(config, folder, same_point(folder, plain))
        except (InputError, OmegaConfBaseException) as error:
            message = hydra_message(error) if isinstance(error, OmegaConfBaseException) else str(error)
            outcome, value = mistake(message, False), None
            drop_if_empty(folder)
    with contextlib.suppress(OSError):  # a full disk has been reported already
        if message:
            write_failure(folder, outcome, message)
        else:
            clear_failure(folder)
    return outcome, value


def run_packs(points: list[tuple[DictConfig, Path]]) -> set[int]:
    """Run those points together that are faster so; returns their numbers, the others are run one by one."""
    from dlntorch.sweep.packing import packs, run_pack

    configs = [_settings(config, folder) for config, folder in points]
    ran: set[int] = set()
    with quiet():
        found = packs([config or {} for config in configs])
    for pack in found:
        folders = [points[i][1] for i in pack]
        began = time.perf_counter()
        try:
            with quiet():
                finished = run_pack([configs[i] or {} for i in pack], folders, draw_run)
        except Exception as error:  # each point then says it for itself
            print_warning(
                f"{len(pack)} points are run one by one, since together they could not be ({one_line(error)})"
            )
            continue
        if not finished:
            raise KeyboardInterrupt
        for folder in folders:
            clear_failure(folder)
        ran.update(pack)
        seconds = time.perf_counter() - began
        print(f"{len(pack)} points of one shape ran packed in one batch, in {seconds:.1f} s", flush=True)
    return ran


def _settings(config: DictConfig, folder: Path) -> dict[str, Any] | None:
    """The settings of a point of a sweep, None where they cannot be resolved."""
    try:
        settings = plain_settings(config, throw_on_missing=True)
    except (InputError, OmegaConfBaseException):
        return None
    settings.pop("experiment", None)
    logger = settings.get("logger")
    if isinstance(logger, dict) and "group" in logger:  # W&B's
        logger["group"] = folder.parent.name if logger["group"] is None else logger["group"]
        if logger["run_name"] is None:
            logger["run_name"] = point_labels(read_points(folder.parent)).get(folder.name)
    return settings


def sweep_point_settings(settings: dict[str, Any], config: DictConfig, folder: Path, resume: bool) -> dict[str, Any]:
    """The settings of a point under ``-m``, which resumes by itself."""
    for key in ("resume", "repeat"):
        if settings[key] is not None:
            does = "which resumes by itself" if key == "resume" else "one run at a time"
            raise InputError(f"{key} must be left out with -m, {does}, got {settings[key]!r}")
    settings["resume"] = str(folder) if resume else None
    settings["logger"] = (_settings(config, folder) or settings)["logger"]
    return settings
