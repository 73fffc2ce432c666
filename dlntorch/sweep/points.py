"""The points of a sweep: what identifies one, the folder it has, and whether it is done.

A point's id is a digest of its resolved configuration and of the code that computes it; its folder is named by it. So a
sweep that is run again finds each point where it left it: ``done`` points are skipped, ``cut`` ones go on from their
checkpoint, ``failed`` ones are tried again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dlntorch.numerics.validation import InputError
from dlntorch.problem.formats import pair_files
from dlntorch.run.configuration import NOUNS
from dlntorch.store.folder import atomic_write
from dlntorch.store.inputs import absolute_inputs
from dlntorch.store.provenance import code_version
from dlntorch.store.reading import DAMAGE, read_yaml

__all__ = [
    "WITHOUT_EFFECT",
    "PointState",
    "changes_result",
    "check_code",
    "clear_failure",
    "objective",
    "point_id",
    "point_labels",
    "point_name",
    "point_state",
    "read_failure",
    "read_points",
    "read_summary",
    "same_point",
    "split_overrides",
    "varying",
    "write_failure",
    "write_points",
]

#: Keys of a configuration that change neither what is computed nor its value.
WITHOUT_EFFECT = (
    "logger",
    "trainer",
    "callbacks",
    "resume",
    "repeat",
    "pack",
    "dry_run",
    "debug",
    "experiment",
    "hydra",
)


class PointState(StrEnum):
    """Where a point of a sweep stands."""

    DONE = "done"
    CUT = "cut"
    FAILED = "failed"
    WAITING = "waiting"


def changes_result(key: str) -> bool:
    """Whether an override of ``key`` changes what is computed; an experiment's file does, under its own name."""
    return key in ("experiment", "trainer.shards") or key.split(".")[0] not in WITHOUT_EFFECT


def point_id(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits that identify a resolved configuration under this code.

    Numbers count by value (``p=3`` is ``p=3.0``), a data file by its contents, an object of the user's (``_target_``) by its
    import path, its keys and the source of its module.
    """
    kept = {key: _plain(value) for key, value in absolute_inputs(config).items() if key not in WITHOUT_EFFECT}
    problem = config.get("problem")
    path = problem.get("path") if isinstance(problem, Mapping) else None
    ensemble, trainer = config.get("ensemble"), config.get("trainer")
    members = ensemble.get("problem_path") if isinstance(ensemble, Mapping) else None
    shards = trainer.get("shards", 1) if isinstance(trainer, Mapping) else 1
    # what most points do not have is left out, so that these keep the folders they have
    extra = [_file_digest(members)] if members is not None else []
    extra += [f"{shards} shards"] if shards != 1 else []
    extra += [found for group in NOUNS if (found := _source_digest(config.get(group)))]
    content = json.dumps([code_version(), kept, _file_digest(path), *extra], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def _source_digest(group: Any) -> str | None:
    """SHA-256 of the module that a ``_target_`` is in, which is not imported for it; None without one."""
    target = group.get("_target_") if isinstance(group, Mapping) else None
    if not isinstance(target, str) or "." not in target:
        return None
    module = target.rpartition(".")[0]
    try:
        spec = find_spec(module) or find_spec(module.rpartition(".")[0])
        file = Path(str(spec.origin)) if spec is not None else Path()
        return _digest(file, (stat := file.stat()).st_mtime_ns, stat.st_size)
    except (ImportError, OSError, ValueError):  # the run itself says that there is none
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _file_digest(named: Any) -> str | None:
    """SHA-256 of what is read where a data file, or a list of them, is named; None without one."""
    if named is None:
        return None
    names = named if isinstance(named, Sequence) and not isinstance(named, str) else [named]
    found = []
    for name in names:
        file = Path(str(name))
        parts = pair_files(file).values() if file.suffix.lower() == ".npy" else [file]
        for part in parts:
            try:
                found.append(_digest(part, (stat := part.stat()).st_mtime_ns, stat.st_size))
            except OSError:  # a truth may be missing; of what must not be, the run itself says so
                found.append("")
    return "".join(found) or None


@cache
def _digest(path: Path, changed: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def point_name(config: Mapping[str, Any]) -> str:
    """The name of a point's folder: what a person looks for, then the id, as in ``gaussian-p3-alpha0.001-seed0-0f3a…``."""
    problem = config.get("problem")
    name = problem.get("name", "problem") if isinstance(problem, Mapping) else problem
    shown = [str(name)]
    for key in ("accuracy", "p", "alpha", "seed"):
        value = config.get(key)
        if value is None:  # chosen by the accuracy, or none is asked
            continue
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = f"{len(value)}values"
        shown.append(f"{key}{value:g}" if isinstance(value, int | float) else f"{key}{value}")
    return re.sub(r"[^\w.+-]+", "_", "-".join(shown))[:80] + "-" + point_id(config)


def same_point(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether ``folder`` is that of this point: by its name, or, where the user named it, by the configuration in it."""
    identity = point_id(config)
    if folder.name.endswith(identity):
        return True
    try:
        saved = read_yaml(folder / "config.yaml")
        if saved.get("accuracy") is not None:
            from dlntorch.run.asked_accuracy import as_asked

            saved = as_asked(saved, folder)
        return point_id(saved) == identity
    except DAMAGE:
        return False


def read_summary(folder: Path) -> dict[str, Any] | None:
    """``summary.json`` of a run folder, None where there is none that can be read."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and "status" in summary else None


def point_state(folder: Path) -> PointState:
    """Where a point stands.

    A run that diverged or left the positive orthant is done: run again, it would end the same. One that was interrupted,
    or that has a checkpoint and no summary, is cut.
    """
    if read_failure(folder) is not None:
        return PointState.FAILED
    summary = read_summary(folder)
    if summary is not None and summary["status"] not in ("interrupted", "failed"):
        return PointState.DONE
    if summary is not None and summary["status"] == "failed":
        return PointState.FAILED
    return PointState.CUT if (folder / "config.yaml").is_file() else PointState.WAITING


def objective(summary: Mapping[str, Any]) -> float | None:
    """What sweepers minimise: the distance to W_p, of factorizations that to the minimiser of the nuclear norm."""
    return summary.get("distance_to_nuclear", summary.get("distance_to_selected"))


# -- files of a sweep folder ------------------------------------------------------------------------------------------


def check_code(sweep: Path) -> None:
    """Refuse a sweep folder that other code began; mark a new one as this code's.

    Raises:
        InputError: naming both versions.
    """
    file = sweep / "sweep.json"
    try:
        began = json.loads(file.read_text())["code"]
    except (OSError, ValueError, KeyError, TypeError):
        atomic_write(file, json.dumps({"code": code_version()}).encode())
        return
    if began != code_version():
        raise InputError(
            f"hydra.sweep.dir must be a sweep of this code, dlntorch {code_version()}, got {str(sweep)!r}, which "
            f"{began} began; name another folder, or go back to that code to continue it"
        )


def write_points(sweep: Path, points: Mapping[str, str]) -> None:
    """Add points, folder name to overrides, to ``points.json``: what a sweep has to do, done or not."""
    known = read_points(sweep)
    if any(known.get(name) != overrides for name, overrides in points.items()):
        atomic_write(sweep / "points.json", json.dumps({**known, **points}, indent=0).encode())


def read_points(sweep: Path) -> dict[str, str]:
    """Points of a sweep, folder name to overrides; empty where none were written."""
    try:
        points = json.loads((sweep / "points.json").read_text())
    except (OSError, ValueError):
        return {}
    return points if isinstance(points, dict) else {}


def split_overrides(words: str) -> dict[str, str]:
    """Key -> value of overrides that :func:`write_points` has joined; a value may have spaces in it."""
    pairs = (word.partition("=") for word in re.split(r"\s+(?=[+~]*[\w./@]+=)", words.strip()) if word)
    return {key.lstrip("+~"): value for key, _, value in pairs}


def varying(points: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that not all points have with the same value, in the order in which they occur first."""
    keys = dict.fromkeys(key for one in points for key in one)
    return [key for key in keys if len({one.get(key) for one in points}) > 1]


def point_labels(points: Mapping[str, str]) -> dict[str, str]:
    """A short name for each point, of what varies among them; of a single one, of all that is set.

    Args:
        points: Overrides by name, as :func:`read_points` has them.
    """
    values = {name: split_overrides(words) for name, words in points.items()}
    keys = varying([*values.values()])
    labels = {}
    for name, one in values.items():
        told = [key for key in keys if key in one] or list(one)
        labels[name] = " ".join(f"{key}={one[key]}" for key in told) or name
    return labels


def _failure_file(folder: Path) -> Path:
    return folder.parent / "failed" / f"{folder.name}.json"


def write_failure(folder: Path, exit_status: int, reason: str) -> None:
    """Remember that a point ended in an error, and which, until it is run again."""
    record = {"exit_status": exit_status, "reason": " ".join(reason.split())}
    atomic_write(_failure_file(folder), json.dumps(record).encode())


def read_failure(folder: Path) -> dict[str, Any] | None:
    """The error that a point ended in, or None."""
    try:
        record = json.loads(_failure_file(folder).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def clear_failure(folder: Path) -> None:
    """Forget the error that a point ended in."""
    _failure_file(folder).unlink(missing_ok=True)
