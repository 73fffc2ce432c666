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

from dlntorch.report import write_run_report
from dlntorch.run import run_experiment
from dlntorch.run.configuration import config_directory
from dlntorch.store.folder import RunFolder

TIMINGS = ("wall_seconds", "logging_seconds")
FILES = ("config.yaml", "problem.npz", "result.npz", "trajectory.csv", "summary.json", "checkpoints/last.ckpt")


def configuration() -> dict[str, Any]:
    """A run of about half a second that writes a checkpoint every few milliseconds."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    words = [
        "alpha=1e-2", "tol=0", "max_steps=600000", "references=false", "logger=csv", "trainer.progress=false",
        "trainer.block_seconds=0.004", "callbacks.checkpoint_seconds=0.005",
    ]  # fmt: skip
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", words), resolve=True)
    assert isinstance(plain, dict)
    plain.pop("experiment", None)
    return {str(key): value for key, value in plain.items()}


def forked(config: dict[str, Any], folder: Path, draw: bool) -> int:
    """Start the run in a child process; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        warnings.simplefilter("ignore")
        result = run_experiment(config, folder, draw=write_run_report if draw else lambda result: {})
        code = 3 if result.status.ended_badly else 0
    finally:
        os._exit(code)


def finished(child: int) -> int:
    """The child's exit status, minus the signal's number where one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read(folder: Path) -> dict[str, Any]:
    """Every file of a folder that has its final name, read whole; raises where one is not."""
    from dlntorch.numerics.validation import InputError

    found: dict[str, Any] = {}
    for name in FILES:
        if not (folder / name).exists():
            continue
        if name.endswith(".npz"):
            with np.load(folder / name) as file:
                found[name] = {key: file[key].tobytes() for key in file.files}
        elif name.endswith(".json"):
            found[name] = {k: v for k, v in json.loads((folder / name).read_text()).items() if k not in TIMINGS}
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
    for path in folder.glob("figures/*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), path
    return found


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
    summary = folder / "summary.json"
    if summary.exists() and json.loads(summary.read_text())["status"] == "interrupted":
        return "training"
    for name, doing in (("summary.json", "done"), ("result.npz", "writing"), ("checkpoints/last.ckpt", "training")):
        if (folder / name).exists():
            return doing
    return "starting"


def disturb(number: int, count: int, seed: int, report: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Hit ``count`` runs with a signal and resume each.

    Args:
        number: The signal.
        count: How many runs.
        seed: Of the random moments.
        report: Gets a line for each run.
    """
    config, chance = configuration(), random.Random(seed)
    phases: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        whole: dict[bool, dict[str, Any]] = {}
        seconds: dict[bool, float] = {}
        run_experiment({**config, "logger": {"name": "none"}}, Path(place) / "compiled", draw=write_run_report)
        for draw in (False, True):
            folder = Path(place) / f"whole{draw}"
            began = time.monotonic()
            assert finished(forked(config, folder, draw)) == 0
            seconds[draw] = time.monotonic() - began
            whole[draw] = read(folder)
        for i in range(count):
            folder, draw = Path(place) / str(i), i % 4 == 0
            child = forked(config, folder, draw)
            time.sleep(chance.uniform(0, 1.05 * seconds[draw]))
            os.kill(child, number)
            finished(child)
            hit = phase(folder)
            phases[hit] += 1
            try:
                read(folder)
                code = finished(forked({**config, "resume": str(folder)}, folder, draw))
                assert code == 0, f"the resumed run exited with {code}"
                assert not (found := differing(read(folder), whole[draw])), f"the resumed run differs in {found}"
                assert not list(folder.rglob("*.tmp")), "a temporary file was left"
            except Exception as error:
                wrong.append(f"run {i}, hit while {hit}: {type(error).__name__}: {error}")
            report(f"{i + 1} of {count}: {dict(phases)}, wrong: {len(wrong)}")
    return {"equal": count - len(wrong), "of": count, "phases": dict(phases), "wrong": wrong}


def main() -> int:
    """SIGNAL COUNT [SEED]"""
    name, count, *seed = sys.argv[1:]
    found = disturb(
        int(getattr(signal, name)), int(count), int(seed[0]) if seed else 0, lambda t: print(t, file=sys.stderr)
    )
    print(json.dumps(found))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
