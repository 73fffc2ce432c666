"""dln.basis_pursuit with operators beside SPGL1: seconds, products and relative error, one thread, in the same run.

    python -m tests.benchmarks.operator_table [--exponents 15,17] [--rounds 1] [--peer no]

SPGL1 (``pip install spgl1``) runs where it can be imported, with its tolerances at 1e-9: it then ends at errors of 1e-10 to
1e-11. Where the planted truth is not the minimiser (m/3.5 nonzeros of a partial cosine with m = n/4 are above the
threshold of recovery) ``error`` is the relative duality gap reached. The last lines fit seconds ~ n^e.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from threadpoolctl import threadpool_limits

from dlntorch.problem.implicit import partial_cosine, sparse_csr
from dlntorch.problem.operators import Operator
from dlntorch.reference.basis_pursuit_operator import pursue

CASES = ("cosine m/10", "cosine m/5", "cosine m/10 decaying", "cosine m/5 decaying", "csr m/10", "cosine m/3.5")
#: Steps for the case that is above the threshold of recovery.
HARD_STEPS = 300


@dataclass
class Row:
    """One solver on one case."""

    seconds: float
    products: int
    error: float
    status: str


def problem_of(case: str, n: int) -> tuple[Operator, torch.Tensor, torch.Tensor]:
    """A, y and the planted truth."""
    kind, share, *more = case.split()
    m = n // 4
    make = partial_cosine if kind == "cosine" else sparse_csr
    problem = make(m=m, n=n, nonzeros=int(m / float(share[2:])))
    assert problem.truth is not None
    truth = problem.truth.clone()
    if more:
        support = torch.nonzero(truth).squeeze(-1)
        sizes = torch.logspace(0, -4, support.numel(), dtype=torch.float64)
        order = np.random.default_rng(0).permutation(support.numel())
        truth[support] = sizes[torch.from_numpy(order)] * truth[support].sign()
    return problem.operator, problem.operator.apply(truth), truth


def ours(operator: Operator, y: torch.Tensor, truth: torch.Tensor, hard: bool) -> Row:
    """Our time, to a gap of 1e-10 with its certificate."""
    start = time.perf_counter()
    found = pursue(operator, y, tol=1e-10, max_steps=HARD_STEPS if hard else None)
    seconds = time.perf_counter() - start
    error = abs(found.gap) if hard else float((found.x - truth).norm() / truth.norm())
    return Row(seconds, found.products.count, error, str(found.status))


def peer(operator: Operator, y: torch.Tensor, truth: torch.Tensor) -> Row:
    """SPGL1's time."""
    import spgl1

    count = 0

    def product(function: Any) -> Any:
        def apply(v: np.ndarray) -> np.ndarray:
            nonlocal count
            count += 1
            return function(torch.from_numpy(np.ascontiguousarray(v.ravel()))).numpy()

        return apply

    A = LinearOperator(operator.shape, product(operator.apply), product(operator.adjoint), dtype=np.float64)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = spgl1.spg_bp(A, y.numpy(), opt_tol=1e-9, bp_tol=1e-9, iter_lim=5000, verbosity=0)[0]
    seconds = time.perf_counter() - start
    return Row(seconds, count, float(np.linalg.norm(x - truth.numpy()) / truth.norm()), "")


def main() -> None:
    parser = argparse.ArgumentParser(description="basis pursuit with operators beside SPGL1")
    parser.add_argument("--exponents", default="15,17")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--peer", choices=["yes", "no"], default="yes")
    options = parser.parse_args()
    with_peer = options.peer == "yes" and find_spec("spgl1") is not None
    if not with_peer:
        print("spgl1 is not run" + ("" if options.peer == "no" else ": it is not installed"))
    exponents = [int(e) for e in options.exponents.split(",")]
    torch.set_num_threads(1)
    print(f"{'case':22s} {'n':>8s} {'solver':8s} {'seconds':>8s} {'products':>8s} {'error':>8s}")
    with threadpool_limits(1):
        for case in options.cases.split(","):
            times = []
            for exponent in exponents:
                operator, y, truth = problem_of(case, 2**exponent)
                hard = "3.5" in case
                best: dict[str, Row] = {}
                for _ in range(options.rounds):
                    rows = {"dlntorch": ours(operator, y, truth, hard)}
                    if with_peer and not hard:
                        rows["spgl1"] = peer(operator, y, truth)
                    best = {k: min(r, best.get(k, r), key=lambda row: row.seconds) for k, r in rows.items()}
                for name, row in best.items():
                    shown = f"{row.seconds:8.2f} {row.products:8d} {row.error:8.0e} {row.status}"
                    print(f"{case:22s} {2**exponent:8d} {name:8s} {shown}", flush=True)
                if len(best) == 2:
                    print(
                        f"{'':31s} {best['dlntorch'].seconds / best['spgl1'].seconds:.2f} times spgl1's time",
                        flush=True,
                    )
                times.append(best["dlntorch"].seconds)
            if len(times) > 1:
                slope = np.polyfit(np.log(2.0) * np.array(exponents), np.log(times), 1)[0]
                print(f"{'':31s} seconds ~ n^{slope:.2f}", flush=True)


if __name__ == "__main__":
    main()
