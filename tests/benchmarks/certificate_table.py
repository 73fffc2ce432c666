"""What issue 4 asks of the flow, the certificate and ``schedule=certified``, measured: asked | measured | verdict.

    python -m tests.benchmarks.certificate_table [--lines flow,evaluations,bounds,certified,cost,slope] [--runs 300]

The 300 random runs take the fused engine, as a user's run does; the truth is the flow at a tolerance of 1e-11. The
asks but the cost are asserted by the slow tests of ``tests/bounds/test_certificate_asks.py``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

import dlntorch as dln
from dlntorch.bounds.certificate import Certificate
from dlntorch.engine import Stopping
from dlntorch.flow.integrate import flow_path, integrate_flow
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.dual import relaxation_time
from dlntorch.model.metrics import distance
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.optim.step_size import Schedule, make_schedule
from dlntorch.problem import Problem
from dlntorch.training.descent import Descent
from tests import problems

DEPTHS, ALPHAS = (2.0, 2.5, 3.0, 4.0), (1e-1, 1e-2, 1e-3)


@dataclass
class Ask:
    """One line of the table."""

    what: str
    asked: str
    measured: str
    met: bool


# -- the flow ---------------------------------------------------------------------------------------------------------


def flow_problems() -> list[Problem]:
    """The paper's cases, a generic and a planted random problem."""
    return [
        problems.paper_random(),
        problems.line(),
        problems.plane(),
        problems.gaussian(6, 14, 1),
        problems.gaussian(6, 14, 1, nonzeros=3),
    ]


@dataclass
class FlowGaps:
    """Distances relative to ‖ψ‖_∞ in one case, and what θ-coordinates can reach in it.

    At a size (θ/α)^{p−2} of a coordinate its 1 − |τ| is the inverse of that. log θ in float64 keeps 1 − |τ| to an absolute
    error of some 1e-14 of all steps' rounding, and where there is a face, ψ keeps that error for good.
    """

    case: str
    apart: float
    dual_end: float
    theta_end: float
    reachable: float

    @property
    def worst(self) -> float:
        return max(self.apart, self.dual_end, self.theta_end)


def flow_gaps(problem: Problem, p: float, alpha: float) -> FlowGaps:
    """Relative to ‖ψ‖_∞: dual against θ at 7 times over [0.05, 50]·α^{2−p}; each against ``flow_limit`` at the end.

    The end is the later of 100·α^{2−p} and 100 times the slowest relaxation at the limit, where the flow has arrived.
    """
    limit = flow_limit(problem, p, alpha).psi
    unit = alpha ** (2 - p)
    end = 100 * max(unit, relaxation_time(problem, p, alpha, limit))
    times = [*(np.geomspace(0.05, 50, 7) * unit), end]
    dual = integrate_flow(problem, p, alpha, times, rtol=1e-12).psi
    theta = integrate_flow(problem, p, alpha, times, rtol=1e-12, coordinates="theta").psi
    case = f"{problem.name}, p = {p:g}, alpha = {alpha:g}"
    if len(dual) < 8 or len(theta) < 8:
        return FlowGaps(case, float("inf"), float("inf"), float("inf"), 0.0)
    size = dual.abs().amax(dim=1)
    apart = float(((dual - theta).abs().amax(dim=1) / size)[:7].max())
    ends = [float((path[-1] - limit).abs().max() / limit.abs().max()) for path in (dual, theta)]
    growth = (float(limit.abs().max()) ** (1 / p) / alpha) ** (p - 2)
    return FlowGaps(case, apart, *ends, reachable=max(1e-8, 3e-13 * growth))


def flow() -> Iterator[Ask]:
    """Line 1."""
    gaps = [flow_gaps(q, p, alpha) for q in flow_problems() for p in DEPTHS for alpha in ALPHAS]
    within = sum(gap.worst <= 1e-8 for gap in gaps)
    rest = "; ".join(f"{gap.case}: {gap.worst:.0e}, by theta" for gap in gaps if gap.worst > 1e-8)
    ends = max(gap.dual_end for gap in gaps)
    text = f"{within} of {len(gaps)} cases; dual against flow_limit {ends:.0e} at most; beyond: {rest or 'none'}"
    yield Ask("flow: dual, theta, flow_limit", "1e-8", text, within == len(gaps))


def evaluations() -> Iterator[Ask]:
    """Line 2, on the problems above and two larger ones."""
    cases = [*flow_problems(), problems.gaussian(10, 30, 0), problems.gaussian(10, 30, 1, nonzeros=3)]
    counts = [integrate_flow(q, 3, 1e-3, 1e5, rtol=1e-8).evaluations or 0 for q in cases]
    yield Ask("right-hand sides to 100 alpha^(2-p)", "5000", f"{max(counts)} at most of {counts}", max(counts) <= 5000)


# -- the certificate --------------------------------------------------------------------------------------------------


def random_case(seed: int) -> tuple[Problem, float, float]:
    """A problem, depth and α; planted in every second case."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(3, 9))
    n = int(rng.integers(m + 2, 3 * m + 3))
    nonzeros = int(rng.integers(1, m)) if seed % 2 else None
    problem = problems.gaussian(m, n, seed, nonzeros, scale=float(rng.choice([0.3, 1.0, 2.0])))
    return problem, float(rng.choice(DEPTHS)), float(10 ** rng.uniform(-2, -1))


def new_run(
    problem: Problem, p: float, alpha: float, schedule: Schedule, certified: bool = True, **stopping: float
) -> Descent:
    """A full-batch run with the fused engine."""
    network = DiagonalLinearNetwork(problem.n, p, alpha, dtype=torch.float64)
    certificate = Certificate(problem, p, alpha) if certified else None
    return Descent(network, problem, schedule, Stopping(**stopping), engine="fused", certificate=certificate)  # type: ignore[arg-type]


def errors_and_bounds(run: Descent, p: float, alpha: float, marks: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """‖θ_k − θ(t_k)‖ against the flow at 1e-11, and the certified bounds, at up to ``marks`` steps k and the last."""
    times, thetas, bounds = [], [], []
    steps, status = 1, None
    while status is None:
        status = run.engine.advance(max(1, steps))
        steps = steps if status is not None else max(1, int(run.progress.step * (10 ** (7 / marks) - 1)))
        network = run.network
        if times and run.progress.time == times[-1]:
            continue
        times.append(run.progress.time)
        thetas.append(torch.cat([network.theta_plus, network.theta_minus]).detach().numpy().copy())
        assert run.engine.certificate is not None
        bounds.append(run.engine.certificate.theta_error(network.theta_plus, network.theta_minus))
    errors = np.linalg.norm(np.array(thetas) - true_flow(run.problem, p, alpha, times), axis=1)
    if np.any(errors > bounds):  # settled by the other, slower method
        errors = np.linalg.norm(np.array(thetas) - true_flow(run.problem, p, alpha, times, ("BDF",)), axis=1)
    return errors, np.array(bounds)


def true_flow(
    problem: Problem, p: float, alpha: float, times: list[float], methods: tuple[str, ...] = ("LSODA", "BDF")
) -> np.ndarray:
    """(θ₊, θ₋) of the flow, shape (k, 2n), at a tolerance of 1e-11, by the first method that reaches the last time."""
    for method in methods:
        path = flow_path(problem, p, alpha, times, rtol=1e-11, method=method)
        if len(path.t) == len(times):
            return torch.cat([path.theta_plus, path.theta_minus], dim=1).numpy()
    raise RuntimeError(f"no truth: {path.reason}")


def progress(seed: int, runs: int) -> None:
    """A sign of life every 25 runs."""
    if seed % 25 == 0:
        print(f"{seed} of {runs}", file=sys.stderr, flush=True)


def random_bounds(runs: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Of each random run: bound / truth at the end, whether its bound was finite to the end; and the seeds violated."""
    ratios, finite, violated = [], [], []
    for seed in range(runs):
        problem, p, alpha = random_case(seed)
        kappa = float(np.random.default_rng(1000 + seed).choice([0.01, 0.03]))
        run = new_run(problem, p, alpha, make_schedule(kappa=kappa), tol=1e-6, max_steps=400_000)
        progress(seed, runs)
        errors, bounds = errors_and_bounds(run, p, alpha)
        if not np.all(errors <= bounds):
            violated.append(seed)
        ratios.append(bounds[-1] / errors[-1])
        finite.append(np.isfinite(bounds).all())
    return np.array(ratios), np.array(finite), violated


def bounds(runs: int) -> Iterator[Ask]:
    """Lines 3 and 4."""
    ratios, finite, violated = random_bounds(runs)
    yield Ask(f"true error <= bound, {runs} runs", "always", f"{runs - len(violated)} of {runs}", not violated)
    quantiles = ", ".join(f"{q:.3g}" for q in np.quantile(ratios, [0.75, 0.9, 0.99, 1.0]))
    middle = float(np.median(ratios))
    yield Ask("bound / true at the end, median", "1.5", f"{middle:.4g} (75, 90, 99, 100 %: {quantiles})", middle <= 1.5)
    share = float(finite.mean())
    yield Ask("finite bound to the end", "99 %", f"{100 * share:.1f} %", share >= 0.99)


def certified_outcome(seed: int, epsilon: float = 1e-2) -> tuple[str, float, float]:
    """``schedule=certified`` on a random case: "met", "missed" or the refusal; the certified bound, the true error."""
    problem, p, alpha = random_case(seed)
    try:
        run = dln.train(problem, p, alpha, schedule="certified", epsilon=epsilon, tol=1e-6, references=False)
    except dln.InputError as refusal:
        return str(refusal), float("nan"), float("nan")
    bound = run.summary["schedule"]["certified_theta_error"]
    if bound is None or not bound <= epsilon:
        return f"missed ({run.status}, {bound}): {run.summary['advice']}", float("nan"), float("nan")
    truth = true_flow(problem, p, alpha, [run.summary["time"]])[-1]
    return "met", bound, float(np.linalg.norm(torch.cat([run.theta_plus, run.theta_minus]).numpy() - truth))


def certified(runs: int) -> Iterator[Ask]:
    """Line 5."""
    outcomes = []
    for seed in range(runs):
        progress(seed, runs)
        outcomes.append(certified_outcome(seed))
    met = [o for o in outcomes if o[0] == "met"]
    others = [f"{seed}: {o[0]}" for seed, o in enumerate(outcomes) if o[0] != "met"]
    missed = [text for text in others if "missed" in text]
    untrue = [o for o in met if o[2] > o[1]]
    text = f"{100 * len(met) / runs:.1f} % met, {len(others) - len(missed)} refused, {len(missed)} missed"
    if untrue:
        text += f", {len(untrue)} bounds below the truth"
    yield Ask(
        f"schedule=certified, eps = 1e-2, {runs} runs",
        "95 % met, else refused",
        "; ".join([text, *others]),
        len(met) >= 0.95 * runs and not missed and not untrue,
    )


# -- cost and order ---------------------------------------------------------------------------------------------------


def cost_ratio(p: float = 3, rounds: int = 60, steps: int = 1000) -> tuple[float, float]:
    """Time of a step with the certificate over that without, at 50 × 200, fused, one thread; and that without, in s."""
    problem = problems.gaussian(50, 200, 0)
    took: dict[bool, list[float]] = {True: [], False: []}
    runs = {flag: new_run(problem, p, 1e-2, make_schedule(), flag, tol=0) for flag in took}
    for run in runs.values():
        run.engine.advance(100)
    for _ in range(rounds):  # interleaved, so that a busy machine slows both alike; the fastest counts
        for flag, run in runs.items():
            start = time.perf_counter()
            run.engine.advance(steps)
            took[flag].append((time.perf_counter() - start) / steps)
    return min(took[True]) / min(took[False]), min(took[False])


def cost() -> Iterator[Ask]:
    """Line 6."""
    with_one = {p: cost_ratio(p) for p in DEPTHS}
    text = ", ".join(f"p = {p:g}: {ratio:.2f} ({1e6 * base:.1f} us)" for p, (ratio, base) in with_one.items())
    worst = max(ratio for ratio, _ in with_one.values())
    yield Ask("cost of the certificate, 50 x 200", "2.5", text, worst <= 2.5)


def slopes() -> list[float]:
    """Slope of the true discretization error at a fixed time against η, both in logarithms, for constant η."""
    found = []
    # at p = 4 a longer horizon needs smaller steps than these for stability, and the first order shows only below that
    for p, alpha, units in ((2.0, 0.1, 3.0), (2.5, 0.1, 3.0), (3.0, 0.1, 3.0), (4.0, 0.2, 0.3)):
        problem, horizon = problems.gaussian(5, 12, 3), units * alpha ** (2 - p)
        etas, errors = horizon / np.array([1600, 3200, 6400, 12_800]), []
        for eta in etas:
            run = new_run(
                problem,
                p,
                alpha,
                make_schedule("constant", eta=float(eta)),
                False,
                tol=0,
                max_steps=round(horizon / eta),
            )
            while run.engine.advance(100_000) is None:
                pass
            truth = flow_path(problem, p, alpha, [run.progress.time], rtol=1e-12)
            theta = [run.network.theta_plus.detach(), run.network.theta_minus.detach()]
            errors.append(float(distance(torch.cat(theta), torch.cat([truth.theta_plus[-1], truth.theta_minus[-1]]))))
        found.append(float(np.polyfit(np.log(etas), np.log(errors), 1)[0]))
    return found


def slope() -> Iterator[Ask]:
    """Line 7."""
    found = slopes()
    text = ", ".join(f"{value:.3f}" for value in found)
    yield Ask(
        "discretization error against eta, slope", "1.00 +- 0.05", text, all(abs(value - 1) <= 0.05 for value in found)
    )


def main() -> None:
    """Measure the lines asked for and print them as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", default="flow,evaluations,bounds,certified,cost,slope")
    parser.add_argument("--runs", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = {
        "flow": flow,
        "evaluations": evaluations,
        "bounds": lambda: bounds(options.runs),
        "certified": lambda: certified(options.runs),
        "cost": cost,
        "slope": slope,
    }
    print("| what | asked | measured | verdict |\n| --- | --- | --- | --- |")
    for name in options.lines.split(","):
        start = time.perf_counter()
        for ask in lines[name]():
            print(f"| {ask.what} | {ask.asked} | {ask.measured} | {'met' if ask.met else 'NOT MET'} |", flush=True)
        print(f"<!-- {name}: {time.perf_counter() - start:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
