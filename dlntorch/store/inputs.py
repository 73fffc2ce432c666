"""The files that a run reads: named so that the run can be found again from any folder, and kept beside its results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, load_problem, make_problem
from dlntorch.store.identity import problem_digest
from dlntorch.store.reading import array_limit

__all__ = ["absolute_inputs", "kept_problems", "named_files", "with_kept_data"]

#: Keys of ``problem=file`` that say how a table is read.
_OF_TABLES = ("y", "columns", "delimiter", "header")


def absolute_inputs(config: Mapping[str, Any], start: str | Path | None = None) -> dict[str, Any]:
    """The configuration with the files of its problems, and of its start, named from the root on.

    Args:
        config: A resolved configuration; what is no string in the place of a path is left as it is.
        start: The folder that relative names are relative to; the working folder by default.
    """
    absolute = dict(config)
    for group, key in (("problem", "path"), ("ensemble", "problem_path")):
        inside = config.get(group)
        if isinstance(inside, Mapping) and inside.get(key) is not None:
            absolute[group] = {**inside, key: _absolute(inside[key], start)}
    for key in ("alpha", "alpha_minus"):  # a word is a file of numbers
        if isinstance(config.get(key), str):
            absolute[key] = _absolute(os.path.expanduser(config[key]), start)
    return absolute


def _absolute(named: Any, start: str | Path | None) -> Any:
    if isinstance(named, list | tuple):
        return [_absolute(one, start) for one in named]
    if not isinstance(named, str) or not named.strip():
        return named  # reading it says what is wrong
    return os.path.abspath(named if start is None else os.path.join(start, named))


def named_files(config: Mapping[str, Any]) -> list[str]:
    """The problem file of each network of a run, one for a single run; none where the problem is generated."""
    several = (config.get("ensemble") or {}).get("problem_path")
    if several is not None:
        return [several] if isinstance(several, str) else list(several)
    path = (config.get("problem") or {}).get("path")
    return [] if path is None else [path]


def kept_problems(folder: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """Where a run folder keeps what it read from each of its problem files: file name -> ``problem.npz``.

    One problem for all networks is in the folder itself, several are in ``problems/0``, ``problems/1``, … in the order in
    which they first occur.
    """
    different = list(dict.fromkeys(named_files(config)))
    if len(different) == 1:
        return {different[0]: folder / "problem.npz"}
    return {name: folder / "problems" / str(i) / "problem.npz" for i, name in enumerate(different)}


def with_kept_data(config: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The configuration of a saved run, reading the folder's own copy of each problem whose file is gone or has changed.

    A file is the same where its A and y have the digest of the copy's, and its truth is the same.

    Args:
        config: What the folder's ``config.yaml`` holds.
        folder: The run folder.

    Returns:
        The configuration to run, and one line for each file that is not read.
    """
    kept = {name: copy for name, copy in kept_problems(folder, config).items() if copy.is_file()}
    lost = {name: how for name, copy in kept.items() if (how := _how_lost(config, name, copy))}
    notes = [f"{name} {how}: the data are the run's own, kept in {kept[name]}" for name, how in lost.items()]
    if not lost:
        return dict(config), notes
    # the keys of a table hold for all files or for none, so where one is lost, all are read from their copies
    return _reading(config, {name: copy.absolute() for name, copy in kept.items()}), notes


def _how_lost(config: Mapping[str, Any], name: str, copy: Path) -> str:
    """How a problem file is no longer what was read from it; empty where it still is, or the copy cannot be read."""
    try:
        known = load_problem(copy, max_bytes=array_limit(copy))
    except InputError:
        return ""  # a damaged copy is of no use; the checkpoint's digest guards the file
    if not Path(name).is_file() and not _is_pair(name):
        return "is gone"
    try:
        found = make_problem(**{**config["problem"], "path": name})
    except InputError:
        return "can no longer be read"
    return "" if _same(found, known) else "has changed since"


def _is_pair(name: str) -> bool:
    return name.lower().endswith(".npy")  # NAME.npy need not exist: NAME_A.npy and NAME_y.npy do


def _same(found: Problem, known: Problem) -> bool:
    if problem_digest(found) != problem_digest(known) or found.precision != known.precision:
        return False
    truths = found.truth, known.truth
    return truths[0] is truths[1] is None or (
        truths[0] is not None and truths[1] is not None and torch.equal(truths[0].double(), truths[1].double())
    )


def _reading(config: Mapping[str, Any], instead: Mapping[str, Path]) -> dict[str, Any]:
    """The configuration with other files in the place of those named."""
    plain = {"name": "file", **dict.fromkeys(_OF_TABLES)}
    limit = max(array_limit(copy) for copy in instead.values())
    problem = {**plain, "max_bytes": max(limit, config["problem"].get("max_bytes") or 0)}
    changed = dict(config)
    several = (config.get("ensemble") or {}).get("problem_path")
    if several is None:
        changed["problem"] = {**problem, "path": str(instead[config["problem"]["path"]])}
        return changed
    one = isinstance(several, str)
    paths = [str(instead.get(name, name)) for name in ([several] if one else several)]
    changed["ensemble"] = {**config["ensemble"], "problem_path": paths[0] if one else paths}
    return changed
