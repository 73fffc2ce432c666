"""Seconds of ``integrate_flow`` beside scipy's LSODA on θ with a Python right-hand side, at LSODA's own accuracy.

    python -m tests.benchmarks.flow_table [--sizes 10x30,50x200] [--depths 2,3,4] [--repeats 3] [--methods]

Each LSODA run is measured against the flow at a tolerance of 1e-13; ``integrate_flow`` then gets the loosest tolerance that
is at least as accurate. Both are timed in turn, and the least of the repeats counts. ``--methods`` adds the other methods
that ``integrate_flow`` offers, each at the tolerance that has been given to LSODA, with its own accuracy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

import dlntorch as dln
from tests import problems

ALPHA, OUTPUTS = 1e-3, 50
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12)


def on_theta(problem: dln.Problem, p: float, t: np.ndarray, rtol: float) -> np.ndarray:
    """ψ by scipy's LSODA on the 2n numbers θ±, as a user would write it."""
    A, y, n = problem.A.numpy(), problem.y.numpy(), problem.n

    def velocity(_: float, theta: np.ndarray) -> np.ndarray:
        plus, minus = theta[:n], theta[n:]
        g = A.T @ (y - A @ (plus**p - minus**p))
        return np.concatenate([p * plus ** (p - 1) * g, -p * minus ** (p - 1) * g])

    path = solve_ivp(
        velocity, (0, t[-1]), np.full(2 * n, ALPHA), method="LSODA", t_eval=t, rtol=rtol, atol=rtol * ALPHA
    )
    return (path.y[:n] ** p - path.y[n:] ** p).T


def times(p: float) -> np.ndarray:
    """From before the first jump to after the last."""
    return np.geomspace(0.05, 50, OUTPUTS) * ALPHA ** (2 - p) * (10 if p == 2 else 1)


def seconds(function: Callable[[], np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    """The least time of the repeats, and the last result."""
    best, result = np.inf, np.empty(0)
    for _ in range(repeats):
        begin = time.process_time()
        result = function()
        best = min(best, time.process_time() - begin)
    return best, result


def rows(problem: dln.Problem, p: float, repeats: int, methods: bool) -> list[str]:
    """The lines of one size and depth."""
    t = times(p)
    best = dln.integrate_flow(problem, p, ALPHA, t, rtol=1e-13).psi.numpy()
    scale = np.abs(best).max(axis=1)

    def flow(rtol: float, method: str | None = None) -> np.ndarray:
        return dln.integrate_flow(problem, p, ALPHA, t, rtol=rtol, method=method).psi.numpy()

    def error(psi: np.ndarray) -> float:
        return float((np.abs(psi - best[: len(psi)]).max(axis=1) / scale[: len(psi)]).max())

    name, out = f"{problem.m}×{problem.n}, p = {p:g}", []
    for rtol in (1e-8, 1e-11):
        theirs, psi = seconds(lambda r=rtol: on_theta(problem, p, t, r), min(repeats, 2))
        accuracy = error(psi)
        enough = next((r for r in TOLERANCES if error(flow(r)) <= accuracy), TOLERANCES[-1])
        ours, psi = seconds(lambda r=enough: flow(r), repeats)
        out.append(
            f"| {name} | LSODA on θ, {rtol:g} | {theirs:.3f} | {accuracy:.0e} | {ours:.3f} | {error(psi):.0e} | "
            f"{theirs / ours:.1f} |"
        )
        for method in ("BDF", "LSODA", "Radau") if methods else ():
            theirs, psi = seconds(lambda r=rtol, m=method: flow(r, m), 1)
            out.append(f"| {name} | {method}, {rtol:g} | {theirs:.3f} | {error(psi):.0e} | | | {theirs / ours:.1f} |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10x30,50x200")
    parser.add_argument("--depths", default="2,3,4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", action="store_true")
    options = parser.parse_args()
    print("| problem | peer | seconds | error | integrate_flow | error | ratio |\n| - | - | - | - | - | - | - |")
    for size in options.sizes.split(","):
        m, n = map(int, size.split("x"))
        problem = problems.gaussian(m, n, 0)
        for p in map(float, options.depths.split(",")):
            print("\n".join(rows(problem, p, options.repeats, options.methods)), flush=True)


if __name__ == "__main__":
    main()
