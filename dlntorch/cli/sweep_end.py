"""The end of a sweep: a line for each point, how many of them ended badly or used up a budget, and what can be done next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlntorch.cli.next_steps import sync_command
from dlntorch.numerics.trajectory import Status
from dlntorch.run.console import shown
from dlntorch.run.summary import head_of
from dlntorch.run.terminal_table import print_numbers
from dlntorch.sweep.launcher import IdempotentLauncher
from dlntorch.sweep.points import (
    PointState,
    point_labels,
    point_state,
    read_failure,
    read_summary,
    split_overrides,
    varying,
)

__all__ = ["conclude_sweeps"]

#: More points than these are shown by their first and last ones; ``study=collect`` has all.
SHOWN_POINTS = 40
#: Values that are longer are shown by their end.
LONGEST = 32
#: Of so many errors the text is shown.
SHOWN_ERRORS = 3
#: What is measured of a point: the first of these that some point has, besides its residual.
MEASURES = ("distance_to_selected", "l1_gap")


def conclude_sweeps(launchers: Sequence[IdempotentLauncher]) -> None:
    """Print the table of the points that were launched, whichever process ran them, from what is in their folders."""
    for sweep, overrides in _points_of(launchers).items():
        conclude_sweep(sweep, overrides)


def _points_of(launchers: Sequence[IdempotentLauncher]) -> dict[Path, dict[Path, str]]:
    """The points of each sweep, folder -> overrides."""
    found: dict[Path, dict[Path, str]] = {}
    for launcher in launchers:
        for folder, overrides in launcher.points.items():
            found.setdefault(launcher.sweep, {})[folder] = overrides
    return found


def conclude_sweep(sweep: Path, overrides: Mapping[Path, str]) -> None:
    """Print how each point of a sweep ended, in how many what went wrong, and the next steps."""
    folders = list(overrides)
    summaries = [read_summary(folder) for folder in folders]
    endings = [_ending(folder, summary) for folder, summary in zip(folders, summaries, strict=True)]
    counts = Counter(endings)
    listed = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    print(f"sweep {sweep}: {len(folders)} points, {listed}")
    _print_table("how each point ended", list(overrides.values()), endings, summaries)
    labels = point_labels({str(folder): words for folder, words in overrides.items()})
    for line in [*_unconverged(counts, sweep), *_errors(folders, labels)]:
        print(line)
    steps = [shlex.join(["python", "-m", "dlntorch", "study=collect", f"sweep={sweep}"])]
    for line in [*steps, *sync_command(folders, f"{shlex.quote(str(sweep))}/*")]:
        print(f"next: {line}")


def _ending(folder: Path, summary: Mapping[str, Any] | None) -> str:
    """The status of a point, or what became of it instead."""
    state = point_state(folder)
    if state is PointState.FAILED or summary is None:
        return str(state)
    return str(summary["status"])


def _print_table(
    title: str, overrides: Sequence[str], endings: Sequence[str], summaries: Sequence[Mapping[str, Any] | None]
) -> None:
    """A row for each point: what varies, how it ended, steps, residual and error."""
    values = [split_overrides(words) for words in overrides]
    keys = varying(values) or list(dict.fromkeys(key for one in values for key in one))
    measure = next((key for key in MEASURES if any(_measured(one, key) is not None for one in summaries)), None)
    heads = [*keys, "status", "steps", "residual", *([head_of(measure)] if measure else [])]
    numbers = ["steps", "residual", *([measure] if measure else [])]
    rows = []
    for i in _chosen(len(values)):
        cells = [_cut(values[i].get(key, "–")) for key in keys]
        rows.append([*cells, endings[i], *(_short(_measured(summaries[i], key)) for key in numbers)])
    print_numbers(title, heads, rows)
    if len(values) > len(rows):
        print(f"{len(values) - len(rows)} points between are in the table of study=collect")


def _measured(summary: Mapping[str, Any] | None, key: str) -> Any:
    """An entry of a summary; of an ensemble the largest one of its networks."""
    if summary is None:
        return None
    if key in summary or "networks" not in summary:
        return summary.get(key)
    return max((one[key] for one in summary["networks"] if one.get(key) is not None), default=None)


#: How a point ended that did not converge, in a sentence, and what helps.
_ENDINGS = {
    Status.MAX_STEPS: ("ended at max_steps", "python train.py resume={sweep}/POINT max_steps=… goes on with one"),
    Status.MAX_TIME: ("ended at max_time", "python train.py resume={sweep}/POINT max_time=… goes on with one"),
    Status.MAX_WALL_SECONDS: ("ended at max_wall_seconds", "python train.py resume={sweep}/POINT goes on with one"),
    Status.DIVERGED: ("diverged", "smaller steps help, and schedule=relative chooses them"),
    Status.LEFT_POSITIVE_ORTHANT: ("left the positive orthant", "schedule=relative keeps all parameters positive"),
    Status.INTERRUPTED: ("were interrupted", "the same command goes on with them"),
    PointState.CUT: ("were cut", "the same command goes on with them"),
    PointState.WAITING: ("have not begun", "the same command runs them"),
    PointState.FAILED: ("failed", "the same command tries them again"),
}


def _unconverged(counts: Mapping[str, int], sweep: Path) -> list[str]:
    """A line for each ending that is no convergence; failures last, since their reasons come next."""
    total = sum(counts.values())
    return [
        f"{counts[ending]} of {total} points {what}: {helps.format(sweep=shlex.quote(str(sweep)))}"
        for ending, (what, helps) in _ENDINGS.items()
        if counts.get(ending)
    ]


def _errors(folders: Sequence[Path], labels: Mapping[str, str]) -> list[str]:
    """The errors that points ended in, each with the first of its points."""
    reasons: dict[str, list[str]] = {}
    for folder in folders:
        failure = read_failure(folder)
        if failure is not None:
            reasons.setdefault(str(failure.get("reason", "")), []).append(labels[str(folder)])
    lines = [
        f"  {reason} ({points[0]}{f' and {len(points) - 1} more' if len(points) > 1 else ''})"
        for reason, points in list(reasons.items())[:SHOWN_ERRORS]
    ]
    return lines + ([f"  and {len(reasons) - SHOWN_ERRORS} other errors"] if len(reasons) > SHOWN_ERRORS else [])


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else shown(value)


def _cut(text: str) -> str:
    """A value as one word of bounded length, of which the end tells most."""
    word = "_".join(text.split()) or "''"
    return word if len(word) <= LONGEST else "…" + word[1 - LONGEST :]


def _chosen(count: int) -> list[int]:
    """All points, or the first and the last ones of many."""
    if count <= SHOWN_POINTS:
        return list(range(count))
    half = SHOWN_POINTS // 2
    return [*range(half), *range(count - half, count)]
