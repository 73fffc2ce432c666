"""A whole ensemble through :func:`dlntorch.train_ensemble` on a GPU and on two CPU threads: seconds and steps/s.

python -m tests.benchmarks.gpu_ensemble [--networks 4096] [--cpu-networks 64]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import dlntorch as dln
from tests.problems import gaussian


def run(count: int, device: str, max_steps: int) -> tuple[float, float, float]:
    """(seconds, steps/s, Σ steps) of ``count`` networks 50×200 at α between 1e-2 and 1e-1, one problem."""
    problem = gaussian(50, 200, 0).to(device, "float64")
    began = time.perf_counter()
    result = dln.train_ensemble(
        problem, 3, np.logspace(-2, -1, count).tolist(), references=False, max_steps=max_steps, threads=2
    )
    seconds = time.perf_counter() - began
    steps = sum(network.summary["steps"] for network in result.networks)
    return seconds, steps / seconds, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=4096)
    parser.add_argument("--cpu-networks", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| where | networks | seconds | steps | steps/s |\n| --- | --- | --- | --- | --- |")
    for where, count in (("cpu", given.cpu_networks), ("cuda", given.networks)):
        if where == "cuda" and not torch.cuda.is_available():
            continue
        run(4, where, 100)
        seconds, speed, steps = run(count, where, given.steps)
        print(f"| {where} | {count} | {seconds:.1f} | {steps:.3g} | {speed:.3g} |", flush=True)


if __name__ == "__main__":
    main()
