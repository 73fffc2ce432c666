"""What many large networks need on many GPUs, from what was measured: the numbers of ``docs/run/clusters.md``.

    python -m tests.benchmarks.cluster_plan [--networks 10000] [--m 2000] [--n 20000] [--gpus 64]

Measured here: the steps that a run takes, by size. Measured before, on one H200 (``gpu_table``): ``GPU_STEPS`` a second of
4,096 networks 50×200. From the data sheet: its memory's bandwidth. Everything at another size is extrapolated, and says so.
"""

from __future__ import annotations

import argparse

import numpy as np

import dlntorch as dln
from dlntorch.problem import make_problem

#: Steps a second in float64 of 4,096 networks 50×200 on one H200, measured by ``gpu_table``.
GPU_STEPS, GPU_M, GPU_N = 41e6, 50, 200
#: Bytes a second from the memory of an H200, and its size: the data sheet.
BANDWIDTH, MEMORY = 4.8e12, 141e9
P, ALPHA, TOL = 3, 1e-2, 1e-6


def steps(m: int, seeds: int = 3) -> float:
    """The median number of steps to a residual of ``TOL`` at m×10m, of Gaussian problems with a generic y."""
    found = []
    for seed in range(seeds):
        problem = make_problem("gaussian", m=m, n=10 * m, seed=seed)
        run = dln.train(problem, P, ALPHA, tol=TOL, max_steps=20_000_000, references=False, engine="fused")
        if run.status is not dln.Status.CONVERGED:
            raise RuntimeError(f"{m}×{10 * m}, seed {seed}: {run.status}")
        found.append(run.summary["steps"])
    return float(np.median(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("networks", 10_000), ("m", 2000), ("n", 20_000), ("gpus", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    sizes = [10, 20, 40, 80]
    counts = [steps(m) for m in sizes]
    slope, origin = np.polyfit(np.log(sizes), np.log(counts), 1)
    needed = float(np.exp(origin + slope * np.log(given.m)))
    print("| m | " + " | ".join(map(str, sizes)) + " |\n| --- | " + " | ".join("---" for _ in sizes) + " |")
    print("| steps | " + " | ".join(f"{count:,.0f}" for count in counts) + " |")
    print(f"\nexponent {slope:.2f}; {needed:,.0f} steps at m = {given.m} (extrapolated)")
    work = 4 * given.m * given.n  # operations a step
    shared = GPU_STEPS * 4 * GPU_M * GPU_N / work
    own = BANDWIDTH / (2 * 8 * given.m * given.n)
    print(
        "\n| A | steps a second and GPU | limited by | hours on all GPUs | GPU hours |\n| --- | --- | --- | --- | --- |"
    )
    for name, rate, cause in (("one for all", shared, "operations"), ("its own", own, "bandwidth")):
        hours = given.networks * needed / rate / given.gpus / 3600
        print(f"| {name} | {rate:,.0f} | {cause} | {hours:,.0f} | {hours * given.gpus:,.0f} |")
    size = 8 * given.m * given.n
    parameters = 8 * 2 * given.n * given.networks / given.gpus
    print(
        f"\nA: {size / 1e6:,.0f} MB; {int(MEMORY / size):,} of them fit on a GPU; theta of a GPU's share: "
        f"{parameters / 1e6:,.0f} MB; results: {8 * 3 * given.n * given.networks / 1e9:,.1f} GB"
    )


if __name__ == "__main__":
    main()
