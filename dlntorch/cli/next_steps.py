"""What a person can do next, said where a run or a sweep ends: the page, the command that goes on, and W&B's."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["next_steps", "print_next_steps", "sync_command"]

#: A run that was cut by its budget is offered so much more of it, where nothing is predicted.
MORE = 10
#: A run is predicted to take so many steps at most as its prediction, which is an underestimate for slow tails.
MARGIN = 1.5
#: Ends of runs that a larger budget would let go on.
_BUDGETS = ("max_steps", "max_time")


def print_next_steps(result: Any) -> None:
    """Print the page of a finished run or ensemble, and its :func:`next_steps`."""
    page = result.folder / "report.html"
    if page.is_file():
        print(f"page: {page}")
    for line in next_steps(result.summary, result.config, result.folder):
        print(f"next: {line}")


def next_steps(summary: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> list[str]:
    """The commands that make sense after a run: to go on where it ended early, to send W&B what was logged offline.

    More steps or time are not offered to networks that have passed their nearest point to a planted truth.

    Args:
        summary: The summary of a run, or of an ensemble.
        config: Its configuration.
        folder: Its folder.
    """
    networks = summary.get("networks") or [summary]
    statuses = {network["status"] for network in networks if network["status"] not in _BUDGETS or not _passed(network)}
    words = [f"resume={folder}"]
    if "max_steps" in statuses:
        taken = [network for network in networks if network["status"] == "max_steps"]
        words.append(f"max_steps={_more_steps(taken, int(config['max_steps']))}")
    planned = any(network.get("plan") for network in networks)  # such a run may end at its horizon
    if "max_time" in statuses and not planned and config.get("max_time") is not None:
        words.append(f"max_time={MORE * float(config['max_time']):g}")
    found = []
    if len(words) > 1 or statuses & {"interrupted", "max_wall_seconds"}:
        found.append(shlex.join(["python", "train.py", *words]))
    return [*found, *sync_command([folder])]


def _passed(network: Mapping[str, Any]) -> bool:
    """Whether a run on a planted problem has passed its best point."""
    nearest = network.get("nearest_to_truth")
    return nearest is not None and bool(nearest["passed"])


def _more_steps(networks: Sequence[Mapping[str, Any]], budget: int) -> int:
    """A step budget that is likely to be enough, to two digits: what is predicted, else ten times as many."""
    known = [network.get("predicted_steps") for network in networks]
    predicted = max((float(count) for count in known if count is not None), default=0.0)
    wanted = MARGIN * predicted if predicted > budget else float(MORE * max(budget, 1))
    digits = 10.0 ** (math.floor(math.log10(wanted)) - 1)
    return math.ceil(wanted / digits) * max(1, int(digits)) if digits >= 1 else math.ceil(wanted)


def sync_command(folders: Iterable[Path], shown: str | None = None) -> list[str]:
    """What sends the W&B runs that these folders have from offline runs; nothing where there are none.

    Args:
        folders: Run folders.
        shown: What stands for all the folders; by default the one folder itself.
    """
    for folder in folders:
        if next(folder.glob("wandb/offline-run-*"), None) is not None:
            place = shlex.quote(str(folder)) if shown is None else shown
            return [f"wandb sync {place}/wandb/offline-run-*"]
    return []
