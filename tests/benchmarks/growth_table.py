"""How seconds and memory grow with m, n, the outputs and the networks: flow, limit, training, references.

    python -m tests.benchmarks.growth_table [--quick]

Each row is one thing that grows, everything else fixed; n = 4m where m grows. Seconds are the least of three, of the
processor; memory is what the peak of the process rises by (Linux). The exponent is the slope of log seconds over the upper
half of the sizes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import dlntorch as dln
from tests.problems import gaussian

P, ALPHA = 3, 1e-2
Work = Callable[[], object]


def times(outputs: int) -> np.ndarray:
    return np.geomspace(0.05, 50, outputs) * ALPHA ** (2 - P)


def flow(m: int, n: int, outputs: int = 50) -> Work:
    problem, t = gaussian(m, n, 0), times(outputs)
    return lambda: dln.integrate_flow(problem, P, ALPHA, t, rtol=1e-6)


def flows(count: int) -> Work:
    problem, t = gaussian(10, 30, 0), times(50)
    alphas = np.geomspace(1e-2, 1e-1, count).tolist()
    return lambda: dln.integrate_flows(problem, P, alphas, t, rtol=1e-6)


def limit(m: int, n: int) -> Work:
    problem = gaussian(m, n, 0)
    return lambda: dln.flow_limit(problem, P, ALPHA)


def training(m: int, n: int) -> Work:
    """2,000 steps."""
    problem = gaussian(m, n, 0)
    return lambda: dln.train(problem, P, ALPHA, max_steps=2000, tol=0, references=False, engine="fused")


def l1(m: int, n: int) -> Work:
    problem = gaussian(m, n, 0)
    return lambda: dln.l1_minimizer(problem)


def selected(m: int, n: int) -> Work:
    problem = gaussian(m, n, 0)
    return lambda: dln.selected_minimizer(problem, P)


def seconds(work: Work) -> float:
    """The least of three, after one that compiles."""
    work()
    best = math.inf
    for _ in range(3):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def megabytes(work: Work) -> float:
    """What the process's peak rises by; not a number where the system does not say."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return math.nan
    clear.write_text("5")  # the peak begins anew
    read = lambda key: int(status.read_text().split(key)[1].split()[0]) / 1024  # noqa: E731
    before = read("VmRSS:")
    kept = work()
    peak = read("VmHWM:") - before
    del kept
    return peak


def exponent(sizes: Sequence[int], found: Sequence[float]) -> float:
    """The slope of log seconds over the upper half of the sizes."""
    upper = max(2, (len(sizes) + 1) // 2)
    return float(np.polyfit(np.log(sizes[-upper:]), np.log(found[-upper:]), 1)[0])


def rows(quick: bool) -> list[tuple[str, Sequence[int], Callable[[int], Work]]]:
    """(what grows, its sizes, the work at a size)."""
    m = [10, 20, 40] if quick else [10, 20, 40, 80, 160, 320]
    n = [80, 160] if quick else [80, 160, 320, 640, 1280]
    many = [50, 100] if quick else [50, 500, 5000]
    return [
        ("flow, m (n = 4m)", m, lambda size: flow(size, 4 * size)),
        ("flow, n (m = 20)", n, lambda size: flow(20, size)),
        ("flow, outputs (20×80)", many, lambda size: flow(20, 80, size)),
        ("flow, networks (10×30)", [10, 20] if quick else [10, 100, 1000], flows),
        ("limit, m (n = 4m)", m, lambda size: limit(size, 4 * size)),
        ("limit, n (m = 20)", n, lambda size: limit(20, size)),
        ("2,000 steps, m (n = 4m)", m, lambda size: training(size, 4 * size)),
        ("2,000 steps, n (m = 20)", n, lambda size: training(20, size)),
        ("ℓ1-minimiser, m (n = 4m)", m, lambda size: l1(size, 4 * size)),
        ("selected minimiser, m (n = 4m)", m, lambda size: selected(size, 4 * size)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    given = parser.parse_args()
    print("| what grows | sizes | seconds | MB | exponent |\n| --- | --- | --- | --- | --- |")
    for name, sizes, at in rows(given.quick):
        found = [seconds(at(size)) for size in sizes]
        print(
            f"| {name} | {', '.join(map(str, sizes))} | {', '.join(f'{value:.2g}' for value in found)} | "
            f"{megabytes(at(sizes[-1])):.0f} | {exponent(sizes, found):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
