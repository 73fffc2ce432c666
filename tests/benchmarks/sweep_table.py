"""What a sweep saves: workers that import once, batches of networks, and points that are done already.

    python -m tests.benchmarks.sweep_table                       # 200 runs of the main job
    python -m tests.benchmarks.sweep_table --over seed --skip fresh

Four ways to the same points, in one run of this script: ``python train.py`` for each (a sample of them, evenly spread,
whose mean is multiplied), two joblib workers, one packed batch without figures and W&B, and the sweep asked for again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
QUIET = ("trainer.progress=false",)


def command(*words: str) -> float:
    """Seconds that ``python train.py`` takes."""
    # bytecode is written where a test runner's shell says otherwise: users have it
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "train.py", *words, *QUIET], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)[:200]} ended with {done.returncode}: {done.stderr[-500:]}")
    return seconds


def points(over: str, count: int) -> tuple[str, list[str]]:
    """The key that the points differ in, and its values."""
    if over == "alpha":  # near the main job: p = 3, alpha = 1e-3 and the problem as it is
        return "alpha", [f"{value:.6g}" for value in np.geomspace(1e-3, 2e-3, count)]
    return "problem.seed", [str(seed) for seed in range(count)]


def fresh(key: str, values: Sequence[str], sample: int, folder: Path) -> float:
    """Mean seconds of a run of its own, over a sample of the points."""
    chosen = [values[i] for i in np.linspace(0, len(values) - 1, sample).astype(int)]
    command(f"{key}={chosen[0]}", f"hydra.run.dir={folder / 'warm'}")  # compiles, and reads the libraries from the disk
    return float(np.mean([command(f"{key}={value}", f"hydra.run.dir={folder / value}") for value in chosen]))


def training_seconds(sweep: Path) -> float:
    """Seconds of training of all points of a sweep, each in a process of its own thread."""
    return sum(json.loads(path.read_text())["wall_seconds"] for path in sweep.glob("*/summary.json"))


def compose_seconds(key: str, values: Sequence[str]) -> float:
    """Seconds that Hydra itself takes to compose the points, as its launchers do."""
    text = f"""
import time
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.types import RunMode
import dlntorch.cli.command_line
loader = ConfigLoaderImpl(create_config_search_path({str(ROOT / "conf")!r}))
master = loader.load_configuration("train", ["{key}={",".join(values)}"], RunMode.MULTIRUN)
began = time.perf_counter()
for value in {list(values)!r}:
    loader.load_sweep_config(master, ["{key}=" + value])
print(time.perf_counter() - began)
"""
    return float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--over", choices=("alpha", "seed"), default="alpha")
    parser.add_argument("--sample", type=int, default=10, help="runs of their own")
    parser.add_argument("--again", type=int, default=1000, help="points of the sweep that is asked for again")
    parser.add_argument("--skip", nargs="*", default=(), choices=("fresh", "joblib", "packed", "again"))
    asked = parser.parse_args()
    key, values = points(asked.over, asked.count)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = f"{key}={','.join(values)}"
        if "fresh" not in asked.skip:
            one = fresh(key, values, asked.sample, folder / "fresh")
            found["fresh"] = one * asked.count
            print(f"fresh: {one:.2f} s each, {found['fresh']:.0f} s for {asked.count}", flush=True)
        if "joblib" not in asked.skip:
            sweep = folder / "joblib"
            workers = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
            found["joblib"] = command("-m", every, *workers, f"hydra.sweep.dir={sweep}")
            print(f"joblib, two processes: {found['joblib']:.0f} s, {training_seconds(sweep):.0f} s of it training")
        if "packed" not in asked.skip:
            options = ("logger=none", "callbacks.figures=false", "pack=true", f"hydra.sweep.dir={folder / 'packed'}")
            found["packed"] = command("-m", every, *options)
            print(f"packed: {found['packed']:.0f} s", flush=True)
        for slow, fast in (("fresh", "joblib"), ("joblib", "packed"), ("fresh", "packed")):
            if slow in found and fast in found:
                print(f"{slow} / {fast}: {found[slow] / found[fast]:.1f}", flush=True)
        if "again" not in asked.skip:
            key, values = points("alpha", asked.again)
            options = ("logger=none", "callbacks.figures=false", "references=false", "max_steps=100")
            words = ("-m", f"{key}={','.join(values)}", *options, f"hydra.sweep.dir={folder / 'again'}")
            first, again = command(*words), command(*words)
            own = compose_seconds(key, values)
            print(f"{asked.again} points: {first:.1f} s, again {again:.1f} s, of which Hydra composes for {own:.1f} s")


if __name__ == "__main__":
    main()
