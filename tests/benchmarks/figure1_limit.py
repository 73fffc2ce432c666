"""The grid of the paper's Figure 1 (arXiv 2307.07410): flow_limit against integrating θ to t = 1e9 α^{2−p}.

    python -m tests.benchmarks.figure1_limit            # LSODA and flow_limit, about ten seconds
    python -m tests.benchmarks.figure1_limit --radau    # with Radau at rtol 2.5e-14, minutes

3 problems × p in {2, 2.5, 3, 4} × 10 values of α^p from 1 to 1e-9. All methods run in one process, interleaved point by
point (flow_limit: sweep by sweep), so that a busy machine slows them alike. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.problem import Problem
from tests import problems

DEPTHS = (2.0, 2.5, 3.0, 4.0)
POWERS = tuple(10.0**-j for j in range(10))
# Radau's atol: θ starts at α, so that scipy's default 1e-6 leaves an error of 1e-4 in ψ, 1e-10 one of 2.5e-5 and 1e-12
# one of 9e-8 (against 40-digit arithmetic; flow_limit's own is 1e-11 there). 5e-15 is right to 1e-9, at three times the
# cost: the timing gives Radau the faster one.
SOLVERS = {"Radau": {"rtol": 2.5e-14, "atol": 1e-12}, "LSODA": {"rtol": 1e-12, "atol": 0.0}}


@dataclass
class Tally:
    """Seconds and worst difference of one method over the grid."""

    seconds: float = 0.0
    worst: float = 0.0
    points: int = 0
    where: str = ""


def integrate(problem: Problem, p: float, alpha: float, method: str, **options: float) -> np.ndarray:
    """ψ at t = 1e9 α^{2−p} from the flow in θ, as the paper does."""
    A, y, n = problem.A.numpy(), problem.y.numpy(), problem.n

    def velocity(_: float, theta: np.ndarray) -> np.ndarray:
        plus, minus = theta[:n], theta[n:]
        g = A.T @ (y - A @ (plus**p - minus**p))
        return np.concatenate([p * plus ** (p - 1) * g, -p * minus ** (p - 1) * g])

    horizon = 1e9 * alpha ** (2 - p)
    solution = solve_ivp(velocity, (0.0, horizon), np.full(2 * n, alpha), method=method, **(SOLVERS[method] | options))
    if not solution.success:
        raise RuntimeError(solution.message)
    end = solution.y[:, -1]
    return end[:n] ** p - end[n:] ** p


def compare(methods: tuple[str, ...], depths: tuple[float, ...] = DEPTHS, powers: tuple[float, ...] = POWERS) -> dict:
    """Run the grid; returns a :class:`Tally` for ``flow_limit`` and for each integrator."""
    tallies = {name: Tally() for name in ("flow_limit", *methods)}
    flow_limit(problems.line(), 3.0, 0.1)  # compile, or load what was compiled
    for make in (problems.line, problems.plane, problems.paper_random):
        for p in depths:
            alphas = [power ** (1 / p) for power in powers]
            start = time.perf_counter()
            limit = flow_limit(make(), p, alphas)
            tallies["flow_limit"].seconds += time.perf_counter() - start
            tallies["flow_limit"].points += len(alphas)
            for method in methods:
                for row, alpha in enumerate(alphas):
                    start = time.perf_counter()
                    psi = integrate(make(), p, alpha, method)
                    tallies[method].seconds += time.perf_counter() - start
                    difference = float(np.max(np.abs(psi - limit.psi[row].numpy())))
                    tallies[method].points += 1
                    if difference > tallies[method].worst:
                        tallies[method].worst = difference
                        tallies[method].where = f"{make.__name__}, p = {p:g}, alpha^p = {powers[row]:g}"
    return tallies


def table(tallies: dict) -> str:
    """The tallies as text: seconds, ratio to flow_limit, worst difference in ψ."""
    own = tallies["flow_limit"].seconds
    lines = [f"{'method':<12}{'points':>8}{'seconds':>12}{'ratio':>10}{'worst difference':>20}"]
    for name, tally in tallies.items():
        worst = f"{tally.worst:.1e}" if tally.worst else ""
        lines.append(
            f"{name:<12}{tally.points:>8}{tally.seconds:>12.4f}{tally.seconds / own:>10.0f}{worst:>20}  {tally.where}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radau", action="store_true", help="also the paper's Radau, which takes minutes")
    chosen = parser.parse_args()
    print(table(compare(("LSODA", "Radau") if chosen.radau else ("LSODA",))))
