"""dln.basis_pursuit beside HiGHS, HiGHS' interior point, Clarabel and SPGL1: time, value and residual, one BLAS thread.

    python -m tests.benchmarks.basis_pursuit_table [--sizes small|large|all] [--rounds 3] [--seed 0]

Every round runs each solver once, in turn, so that a busy machine slows all of them alike; the fastest round counts.
``excess`` is ‖x‖₁ relative to the certified optimum; SPGL1 "reaches the gap" where |excess| and the relative residual
are both below 1e-9.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from threadpoolctl import threadpool_limits

from dlntorch.numerics.trajectory import Status
from dlntorch.reference.basis_pursuit import BasisPursuitResult, basis_pursuit
from tests.problems import gaussian

GAP = 1e-9
CASES = {
    "small": [(200, 1000, 30), (200, 1000, None)],
    "large": [(500, 2000, 80), (500, 2000, None)],
}
FACTOR = {200: 5.0, 500: 8.0}  # asked against the fastest of HiGHS, highs-ipm and Clarabel
SPGL1_FACTOR = 2.0


@dataclass
class Row:
    """One solver on one problem: seconds (fastest round), ‖x‖₁ and ‖Ax − y‖/‖y‖."""

    seconds: float
    value: float
    residual: float


def solve_linprog(method: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """HiGHS on x = x₊ − x₋, by the simplex method or its interior point."""

    def solve(A: np.ndarray, y: np.ndarray) -> np.ndarray:
        n = A.shape[1]
        out = linprog(np.ones(2 * n), A_eq=np.hstack([A, -A]), b_eq=y, method=method)
        return out.x[:n] - out.x[n:]

    return solve


def solve_clarabel(A: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Clarabel through cvxpy."""
    import cvxpy

    x = cvxpy.Variable(A.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "solution may be inaccurate": the table shows how inaccurate
        cvxpy.Problem(cvxpy.Minimize(cvxpy.norm1(x)), [A @ x == y]).solve(solver="CLARABEL")
    return np.asarray(x.value)


def solve_spgl1(A: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SPGL1's basis pursuit with the tolerances of the gap asked for."""
    import spgl1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spgl1.spg_bp(A, y, opt_tol=GAP, bp_tol=GAP, iter_lim=5000, verbosity=0)[0]


SOLVERS = {
    "highs": solve_linprog("highs"),
    "highs-ipm": solve_linprog("highs-ipm"),
    "clarabel": solve_clarabel,
    "spgl1": solve_spgl1,
}


def measure(
    m: int, n: int, nonzeros: int | None, seed: int = 0, rounds: int = 3, solvers: tuple[str, ...] = tuple(SOLVERS)
) -> tuple[BasisPursuitResult, dict[str, Row]]:
    """All solvers on one Gaussian problem, in interleaved rounds; SPGL1 and dln.basis_pursuit run in every round,
    the three general solvers in the first only at the large size (they take seconds to minutes)."""
    problem = gaussian(m, n, seed=seed, nonzeros=nonzeros)
    A, y = problem.A.numpy(), problem.y.numpy()
    rows: dict[str, Row] = {}
    result = basis_pursuit(problem.A, problem.y)

    def ours(A: np.ndarray, y: np.ndarray) -> np.ndarray:
        return basis_pursuit(A, y, tol=GAP).x.numpy()

    with threadpool_limits(1):
        for round_ in range(rounds):
            for name, solve in {"dlntorch": ours, **{k: SOLVERS[k] for k in solvers}}.items():
                if round_ and m > 200 and name not in ("dlntorch", "spgl1"):
                    continue
                start = time.perf_counter()
                x = solve(A, y)
                seconds = time.perf_counter() - start
                if name in rows:
                    rows[name].seconds = min(seconds, rows[name].seconds)
                else:
                    residual = float(np.linalg.norm(A @ x - y) / np.linalg.norm(y))
                    rows[name] = Row(seconds, float(np.abs(x).sum()), residual)
    return result, rows


def verdict(m: int, result: BasisPursuitResult, rows: dict[str, Row]) -> list[str]:
    """The asks, each with its measured number and whether it is met."""
    ours = rows["dlntorch"].seconds
    lines = []
    certified = result.status is Status.CONVERGED and bool(result.is_vertex) and float(result.gap) <= GAP
    lines.append(
        f"  exact vertex with certificate: {'met' if certified else 'MISSED'} (gap {float(result.gap):.0e}, residual "
        f"{float(result.primal_residual):.0e}, |Aᵀλ|−1 {float(result.dual_infeasibility):.0e}, "
        f"{int(result.support.sum())} nonzeros, {result.iterations} Newton matrices)"
    )
    general = {k: r.seconds for k, r in rows.items() if k in ("highs", "highs-ipm", "clarabel")}
    if general:
        fastest = min(general, key=lambda k: general[k])
        ratio = general[fastest] / ours
        lines.append(
            f"  {ratio:.1f} times faster than {fastest}; asked {FACTOR[m]:g}: {'met' if ratio >= FACTOR[m] else 'MISSED'}"
        )
    if "spgl1" in rows:
        excess = rows["spgl1"].value / float(result.value) - 1
        if max(abs(excess), rows["spgl1"].residual) <= GAP:
            ratio = ours / rows["spgl1"].seconds
            lines.append(f"  {ratio:.2f} times spgl1; asked at most 2: {'met' if ratio <= SPGL1_FACTOR else 'MISSED'}")
        else:
            lines.append(f"  spgl1 does not reach the gap; our time is {ours / rows['spgl1'].seconds:.2f} times its")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="basis pursuit: dlntorch beside four solvers")
    parser.add_argument("--sizes", choices=["small", "large", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cases = [c for size in CASES for c in CASES[size] if options.sizes in (size, "all")]
    for m, n, nonzeros in cases:
        result, rows = measure(m, n, nonzeros, options.seed, options.rounds)
        print(f"{m}x{n}, {'generic y' if nonzeros is None else f'{nonzeros} nonzeros'}")
        print(f"  {'solver':10s} {'seconds':>8s} {'excess':>9s} {'residual':>9s}")
        for name, row in rows.items():
            print(
                f"  {name:10s} {row.seconds:8.3f} {row.value / float(result.value) - 1:9.1e} {row.residual:9.1e}",
                flush=True,
            )
        print("\n".join(verdict(m, result, rows)), flush=True)


if __name__ == "__main__":
    main()
