"""Runs that are hit by a signal at a random moment and resumed, many in a row: ``python -m tests.run.interrupted``.

Each run is a fork of a process that has imported and compiled everything, so a disturbed run costs a second, not ten.
Prints one line of JSON: how many were resumed to the same bits, in which phases they were hit, and what was wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dlntorch.cli.drawing import draw_ensemble, draw_matrix, draw_run
from dlntorch.numerics.trajectory import Status
from dlntorch.run import run_ensemble_experiment, run_experiment
from dlntorch.run.configuration import config_directory
from dlntorch.run.matrix_run import run_matrix_experiment
from dlntorch.store.folder import RunFolder
from dlntorch.sweep.packing import run_pack

TIMINGS = ("wall_seconds", "logging_seconds")
FILES = (
    "config.yaml", "problem.npz", "result.npz", "trajectory.csv", "networks.csv", "summary.json", "checkpoints/last.ckpt",
)  # fmt: skip
#: Words of a run of about half a second that writes a checkpoint every few milliseconds.
COMMON = (
    "alpha=1e-2", "tol=0", "references=false", "logger=csv", "trainer.progress=false", "trainer.block_seconds=0.004",
    "callbacks.checkpoint_seconds=0.005",
)  # fmt: skip
#: What is run -> the words it has beside.
KINDS: dict[str, tuple[str, ...]] = {
    "sgd": ("max_steps=600000",),
    "momentum": ("max_steps=400000", "optimizer=momentum"),
    "label_noise": ("max_steps=300000", "optimizer=label_noise", "schedule=constant", "schedule.eta=1e-3"),
    "adam": ("max_steps=200000", "p=4", "optimizer=adam", "schedule=constant", "schedule.eta=1e-3"),
    "product": ("max_steps=300000", "model=product"),
    "ensemble": ("max_steps=200000", "ensemble.alpha=[1e-2,2e-2]"),
    "pack": ("max_steps=200000",),
    "matrix": ("max_steps=3000", "problem=sensing", "model=factorization"),
}
Config = dict[str, Any]


def configuration(kind: str) -> Config:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", [*COMMON, *KINDS[kind]]), resolve=True)
    assert isinstance(plain, dict)
    plain.pop("experiment", None)
    return {str(key): value for key, value in plain.items()}


def run(kind: str, config: Config, folder: Path, draw: bool) -> bool:
    """Run, or go on where ``config["resume"]`` says so; returns whether it ended as it should."""

    def drawn(how: Callable[[Any], Any]) -> Any:
        return how if draw else lambda result: {}

    if kind == "pack":
        points = [{**config, "alpha": alpha} for alpha in (1e-2, 2e-2)]
        return run_pack(points, [folder / "0", folder / "1"], drawn(draw_run))
    if kind == "ensemble":
        networks = run_ensemble_experiment(config, folder, draw=drawn(draw_ensemble))
        return all(network.status is not Status.INTERRUPTED for network in networks)
    if kind == "matrix":
        return not run_matrix_experiment(config, folder, draw=drawn(draw_matrix)).status.ended_badly
    return not run_experiment(config, folder, draw=drawn(draw_run)).status.ended_badly


def forked(kind: str, config: Config, folder: Path, draw: bool) -> int:
    """Start the run in a child process; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        warnings.simplefilter("ignore")
        code = 0 if run(kind, config, folder, draw) else 3
    finally:
        os._exit(code)


def finished(child: int) -> int:
    """The child's exit status, minus the signal's number where one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read(folder: Path) -> dict[str, Any]:
    """Every file of a folder, or of a pack's folders, that has its final name, read whole; raises where one is not."""
    places = [folder] if not (folder / "0").is_dir() else sorted(folder.iterdir())
    found = {f"{place.relative_to(folder)}/{name}": whole for place in places for name, whole in _read(place).items()}
    for path in folder.rglob("figures/*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), path
    return found


def _read(folder: Path) -> dict[str, Any]:
    from dlntorch.numerics.validation import InputError

    found: dict[str, Any] = {}
    for name in FILES:
        if not (folder / name).exists():
            continue
        if name.endswith(".npz"):
            with np.load(folder / name) as file:
                found[name] = {key: file[key].tobytes() for key in file.files}
        elif name.endswith(".json"):
            found[name] = _untimed(json.loads((folder / name).read_text()))
        elif name.endswith(".yaml"):
            found[name] = yaml.safe_load((folder / name).read_text())
        elif name.endswith(".csv"):
            found[name] = (folder / name).read_text()
            assert found[name].endswith("\n")
        else:
            try:
                RunFolder(folder).read_checkpoint({"p": "another"})  # checksum first, then identity
            except InputError as error:
                if "must continue the same run" not in str(error):
                    raise
    return found


def _untimed(value: Any) -> Any:
    """Without what no two runs share, at any depth."""
    if isinstance(value, list):
        return [_untimed(part) for part in value]
    if isinstance(value, dict):
        return {key: _untimed(part) for key, part in value.items() if key not in TIMINGS}
    return value


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what is not equal, file by file and key by key."""
    found = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if a != b and isinstance(a, dict) and isinstance(b, dict):
            found += [f"{name}: {key}" for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
        elif a != b:
            found.append(name)
    return found


def phase(folder: Path) -> str:
    """What the run was doing when it was hit; one that could end by itself has written its results as ``interrupted``."""
    folder = folder / "0" if (folder / "0").is_dir() else folder
    summary = folder / "summary.json"
    if summary.exists() and json.loads(summary.read_text())["status"] == "interrupted":
        return "training"
    for name, doing in (("summary.json", "done"), ("result.npz", "writing"), ("checkpoints/last.ckpt", "training")):
        if (folder / name).exists():
            return doing
    return "starting"


def disturb(
    kind: str, number: int, count: int, seed: int, report: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Hit ``count`` runs with a signal and resume each.

    Args:
        kind: One of :data:`KINDS`.
        number: The signal.
        count: How many runs.
        seed: Of the random moments.
        report: Gets a line for each run.
    """
    config, chance = configuration(kind), random.Random(seed)
    phases: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        whole: dict[bool, dict[str, Any]] = {}
        seconds: dict[bool, float] = {}
        run(kind, {**config, "logger": {"name": "none"}}, Path(place) / "compiled", True)
        for draw in (False, True):
            folder = Path(place) / f"whole{draw}"
            began = time.monotonic()
            assert finished(forked(kind, config, folder, draw)) == 0
            seconds[draw] = time.monotonic() - began
            whole[draw] = read(folder)
        for i in range(count):
            folder, draw = Path(place) / f"hit{i}", i % 4 == 0
            child = forked(kind, config, folder, draw)
            time.sleep(chance.uniform(0, 1.05 * seconds[draw]))
            os.kill(child, number)
            finished(child)
            hit = phase(folder)
            phases[hit] += 1
            try:
                read(folder)
                code = finished(forked(kind, {**config, "resume": str(folder)}, folder, draw))
                assert code == 0, f"the resumed run exited with {code}"
                assert not (found := differing(read(folder), whole[draw])), f"the resumed run differs in {found}"
                assert not list(folder.rglob("*.tmp")), "a temporary file was left"
            except Exception as error:
                wrong.append(f"run {i}, hit while {hit}: {type(error).__name__}: {error}")
            report(f"{i + 1} of {count}: {dict(phases)}, wrong: {len(wrong)}")
    return {"equal": count - len(wrong), "of": count, "phases": dict(phases), "wrong": wrong}


def main() -> int:
    """KIND SIGNAL COUNT [SEED]"""
    kind, name, count, *seed = sys.argv[1:]
    found = disturb(
        kind, int(getattr(signal, name)), int(count), int((*seed, 0)[0]), lambda t: print(t, file=sys.stderr)
    )
    print(json.dumps(found))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
