"""Peak memory of a whole run on a large dense A, as a multiple of A: made, checked, trained on, measured, saved.

    python -m tests.benchmarks.large_dense                     # 2000 x 200000, 3.2 GB, minutes
    python -m tests.benchmarks.large_dense 500 50000 --steps 20

A child process first runs a tiny problem, so that everything is imported and compiled, and notes its peak; the rest of
its peak belongs to the large problem. The ask is at most 1.3 times A.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ASK = 1.3


def peak_bytes() -> int:
    """The largest resident set of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(m: int, n: int, steps: int, folder: str) -> dict[str, Any]:
    """One run of ``problem=gaussian`` through the same code as the command line; its summary."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from dlntorch.run import run_experiment
    from dlntorch.run.configuration import config_directory

    words = [f"problem.m={m}", f"problem.n={n}", f"max_steps={steps}", "logger=none", "trainer.progress=false"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", overrides=words), resolve=True)
    config.pop("experiment", None)
    return run_experiment(config, folder).summary


def _child(m: int, n: int, steps: int, pipe: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(10, 30, 5, f"{folder}/small")
        before, began = peak_bytes(), time.perf_counter()
        summary = run(m, n, steps, f"{folder}/large")
        stored = Path(folder, "large", "problem.npz").stat().st_size
        pipe.send((before, peak_bytes(), time.perf_counter() - began, stored, summary))


def measure(m: int, n: int, steps: int) -> dict[str, Any]:
    """Peak memory beyond the interpreter's, in bytes and as a multiple of A; seconds; the run's summary."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_child, args=(m, n, steps, theirs))
    child.start()
    theirs.close()
    before, peak, seconds, stored, summary = ours.recv()
    child.join()
    return {
        "extra_bytes": peak - before,
        "ratio": (peak - before) / (8 * m * n),
        "seconds": seconds,
        "stored_bytes": stored,
        "summary": summary,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("m", type=int, nargs="?", default=2000)
    parser.add_argument("n", type=int, nargs="?", default=200_000)
    parser.add_argument("--steps", type=int, default=5)
    chosen = parser.parse_args()
    found = measure(chosen.m, chosen.n, chosen.steps)
    summary = found["summary"]
    print(f"A: {chosen.m} x {chosen.n}, {8e-9 * chosen.m * chosen.n:.2f} GB")
    print(f"peak beyond the interpreter: {1e-9 * found['extra_bytes']:.2f} GB = {found['ratio']:.2f} x A (ask {ASK})")
    print(f"{found['seconds']:.0f} s in all; {summary['steps']} steps; residual {summary['residual']:.3g}")
    print(f"distance_to_l1: {summary['distance_to_l1']} ({summary['distance_to_l1_reason']})")


if __name__ == "__main__":
    main()
