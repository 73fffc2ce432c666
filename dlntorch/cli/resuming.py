"""Runs that take their configuration from a run folder: ``resume=FOLDER`` goes on there, ``repeat=FOLDER`` does it anew.

A repeated run writes a folder of its own and is compared with the first: the same seed, code and machine give the same
bits, times aside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlntorch.numerics.validation import InputError
from dlntorch.problem.formats import KEPT_KEYS, one_line
from dlntorch.store.folder import atomic_write
from dlntorch.store.inputs import with_kept_data
from dlntorch.store.reading import DAMAGE, read_arrays_of, read_json, read_yaml, refuse_damage

__all__ = ["Comparison", "compare_runs", "repeated_settings", "resumed_settings", "write_comparison"]

#: Keys that a resumed run may change, and those that a repeated one may.
RESUME_KEYS = ("resume", "max_steps", "max_time", "max_wall_seconds", "tol", "debug")
REPEAT_KEYS = ("repeat", "debug")
#: Groups that either may change: they do not touch what is computed (but for trainer.shards, which stays).
FREE_GROUPS = ("logger", "trainer", "callbacks", "hydra")
#: Entries of a summary that differ from run to run: times; and the versions, which are compared by themselves.
TIMES = ("wall_seconds", "logging_seconds", "versions")
#: Arrays are compared under their names in these files.
ARRAYS = ("problem.npz", "result.npz")


@dataclass(frozen=True)
class Comparison:
    """What a repeated run has otherwise than the first.

    Attributes:
        first: The folder that was repeated.
        equal: How many entries and arrays are the same to the last bit.
        different: Name -> (first, repeated); an array as (0, the largest absolute difference), a file as its digests.
        versions: Those libraries and parts of the machine that are not the same, name -> (first, repeated).
    """

    first: Path
    equal: int
    different: dict[str, tuple[Any, Any]]
    versions: dict[str, tuple[Any, Any]]

    def __str__(self) -> str:
        changed = ", ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in self.versions.items())
        reason = f"; {changed}" if changed else ""
        if not self.different:
            return f"repeat: equal to {self.first} in all {self.equal} entries, bit for bit{reason}"
        shown = list(self.different.items())[:4]
        listed = ", ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in shown)
        more = f" and {len(self.different) - len(shown)} more" if len(self.different) > len(shown) else ""
        total = self.equal + len(self.different)
        return f"repeat: {len(self.different)} of {total} entries differ from {self.first}: {listed}{more}{reason}"


def resumed_settings(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The saved configuration of the run to resume, with the budgets and outputs given now.

    ``max_steps`` and ``max_time`` are those of the whole run and stay as saved unless they are given; ``max_wall_seconds``
    is that of one command: a resumed run has none unless it is given now.

    Args:
        settings: The configuration as composed now, with ``resume`` a folder.
        overrides: What the command line names, ``key=value`` each.

    Raises:
        InputError: for a folder that is not a run's, or for a key that would make it another run.
    """
    saved = _saved("resume", "continues the run as it was", settings, overrides, RESUME_KEYS)
    return {**saved, "max_wall_seconds": settings["max_wall_seconds"]}


def repeated_settings(settings: Mapping[str, Any], overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """The saved configuration of the run to repeat, to be run in ``folder``; outputs may be others.

    Raises:
        InputError: as :func:`resumed_settings`, and for the folder of the first run itself.
    """
    if folder.resolve() == _folder("repeat", settings).resolve():
        raise InputError(f"repeat must be another folder than hydra.run.dir, got {settings['repeat']!r} for both")
    saved = _saved("repeat", "repeats the run as it was", settings, overrides, REPEAT_KEYS)
    if not (Path(settings["repeat"]) / "summary.json").is_file():
        raise InputError(
            f"repeat must be the folder of a finished run, got {settings['repeat']!r} without summary.json"
        )
    return saved


def _saved(
    key: str, does: str, settings: Mapping[str, Any], overrides: Sequence[str], free: tuple[str, ...]
) -> dict[str, Any]:
    folder = _folder(key, settings)
    try:
        saved = read_yaml(folder / "config.yaml")
        shards = saved.get("trainer", settings["trainer"])["shards"]
    except DAMAGE as error:
        rule = f"{key} must be a run folder with a readable config.yaml"
        raise InputError(f"{rule}, got {str(folder)!r} ({one_line(error)})") from None
    if set(saved) != set(settings):
        raise InputError(f"{key} must be a run folder written by this version, got {str(folder)!r}")
    for override in overrides:
        name, _, value = override.lstrip("+").partition("=")
        root = name.split(".")[0]
        if name == "trainer.shards" and settings["trainer"]["shards"] != shards:
            raise InputError(f"{name} must be left out with {key}, which {does} ({shards}); got {value}")
        if root in free or root in FREE_GROUPS:
            saved[root] = settings[root]
        elif name != "dry_run":
            raise InputError(f"{name} must be left out with {key}, which {does}; got {value}")
    saved, notes = with_kept_data(saved, folder)
    for note in notes:
        print(note, flush=True)
    # the only one of the trainer's keys that changes what is computed: the order of a sum
    saved["trainer"] = {**saved["trainer"], "shards": shards}
    saved["dry_run"] = settings["dry_run"]
    saved["repeat"] = None  # the folder that is written can itself be repeated
    return saved


def _folder(key: str, settings: Mapping[str, Any]) -> Path:
    """The folder that the key names."""
    if not isinstance(settings[key], str):  # Hydra reads digits as a number
        raise InputError(
            f"{key} must be a run folder, got {settings[key]!r}; one of that name is written ./{settings[key]}"
        )
    return Path(settings[key])


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare two finished runs, or ensembles, file by file: data, θ, every recorded step and the summary."""
    with refuse_damage("a whole run", first):
        old, before = _entries(first), _versions(first)
    new, after = _entries(second), _versions(second)
    different, equal = {}, 0
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
            a, b = _apart(a, b)
        else:
            a, b = (f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else x for x in (a, b))
            same = a == b
        if same:
            equal += 1
        else:
            different[name] = (a, b)
    changed = {name: (before.get(name), value) for name, value in after.items() if before.get(name) != value}
    return Comparison(first, equal, different, changed)


def _apart(a: np.ndarray, b: np.ndarray) -> tuple[Any, Any]:
    """How two arrays differ: 0 and the largest difference, or in words where there is no such number."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype} {a.shape}", f"{b.dtype} {b.shape}"
    with np.errstate(all="ignore"):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    largest = float(np.max(difference, initial=0.0))
    return (0.0, largest) if np.isfinite(largest) else ("other bits", "other bits, some of them not finite")


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write ``repeat.json``; returns its path."""
    record = {
        "of": str(comparison.first.absolute()),
        "equal": comparison.equal,
        "different": comparison.different,
        "versions": comparison.versions,
    }
    path = folder / "repeat.json"
    atomic_write(path, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    return path


def _versions(folder: Path) -> dict[str, Any]:
    """What computed a run; of an ensemble, each network says it."""
    summary = read_json(folder / "summary.json")
    return dict((summary["networks"][0] if "networks" in summary else summary).get("versions", {}))


def _entries(folder: Path) -> dict[str, Any]:
    """Everything that has to be the same, by name."""
    found = dict(_flat("", read_json(folder / "summary.json")))
    for file in (folder / name for name in ARRAYS):
        if file.is_file():
            arrays = read_arrays_of(file).items()
            found |= {f"{file.name}: {name}": array for name, array in arrays if name not in KEPT_KEYS}
    trajectory = folder / "trajectory.csv"
    if trajectory.is_file():
        found["trajectory.csv"] = hashlib.sha256(trajectory.read_bytes()).hexdigest()[:10]
    return found


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings and lists, without the times."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in TIMES:
                yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value):
            yield from _flat(f"{prefix}[{number}]", inner)
    else:
        yield prefix, value
