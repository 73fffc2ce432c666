"""Steps per second: every engine beside the BLAS floor, scaling in the size, the mini-batch and the ensemble.

All loops of a comparison are run in turn in one process on one thread, and the fastest round of each counts, so that what
else the machine does slows all of them alike. The numbers are those of this machine now: the one study that is not pure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dlntorch.engine import RowBatches, Stopping, engine_class
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.optim.step_size import make_schedule
from dlntorch.problem import Problem, make_problem
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, at_most, numbers, pick, select
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent, available_cores

__all__ = ["STUDY", "blas_floors"]

ABOUT = (
    "Plain SGD makes 10⁵ to 10⁸ steps here, each of two matrix-vector products. The BLAS floor is one product with A and "
    "one with Aᵀ, by the faster of two libraries, and nothing else; the fused engine reads A once a step, and can be below "
    "it where A does not fit the fastest cache. The engine autograd makes each step by torch's autograd and "
    "torch.optim.SGD, as a training loop would.",
    "An ensemble trains networks side by side, one for each thread; on a GPU all of them in one kernel. Ratios are of one "
    "run in one process; steps per second are this machine's.",
)
ENDLESS = Stopping(tol=0, max_steps=10**12)
ALPHA = 0.1

Loop = Callable[[int], Any]


def points(settings: Settings) -> list[Point]:
    seconds = check_number("study.seconds", settings["seconds"], above=0, at_most=60)
    rounds = check_count("study.rounds", settings["rounds"], at_most=1000)
    p = check_number("study.p", settings["p"], at_least=2)
    shapes = numbers(settings, "shapes", _shape)
    if len(set(shapes)) < len(shapes):
        raise InputError(f"study.shapes must be different pairs, got {settings['shapes']}")
    common = {"p": p, "seconds": seconds, "rounds": rounds}
    found: list[Point] = [{"kind": "engine", "m": m, "n": n, **common} for m, n in shapes]
    m, n = shapes[min(1, len(shapes) - 1)]
    rows = numbers(settings, "batches", lambda name, value: check_count(name, value, at_most=m))
    found += [{"kind": "batch", "m": m, "n": n, "batch": batch, **common} for batch in rows]
    m, n = shapes[0]
    sizes = numbers(settings, "networks", check_count)
    return found + [{"kind": "ensemble", "m": m, "n": n, "networks": size, **common} for size in sizes]


def _shape(name: str, value: Any) -> tuple[int, int]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise InputError(f"{name} must be a pair [m, n], got {value!r}")
    m, n = (check_count(name, size) for size in value)
    return m, n


def compute(point: Point) -> list[Row]:
    """The rates at one size."""
    with numeric_threads(1):
        problem = make_problem("gaussian", m=point["m"], n=point["n"])
        if point["kind"] == "ensemble":
            return [_ensemble(problem, point)]
        if point["kind"] == "batch":
            batches = RowBatches(problem.m, point["batch"], 0)
            times = _fastest({"fused": _engine("fused", problem, point["p"], batches)}, point)
            return [{"engine": "fused", "rate": 1 / times["fused"]}]
        return _engines(problem, point)


def _engines(problem: Problem, point: Point) -> list[Row]:
    """Every engine that runs here, and the floor."""
    p = point["p"]
    loops: dict[str, Loop] = {kind: _engine(kind, problem, p) for kind in ("fused", "eager", "autograd")}
    if torch.cuda.is_available():
        loops["cuda"] = _engine("cuda", problem.to("cuda", "float64"), p)
    loops |= blas_floors(problem)
    times = _fastest(loops, point)
    times["BLAS floor"] = min(times.pop("OpenBLAS"), times.pop("torch"))
    return [
        {"engine": name, "rate": 1 / seconds, "over_floor": seconds / times["BLAS floor"]}
        for name, seconds in times.items()
    ]


def _engine(kind: str, problem: Problem, p: float, batches: RowBatches | None = None) -> Loop:
    """An engine that never ends by itself."""
    network = DiagonalLinearNetwork(problem.n, p, ALPHA, dtype=problem.dtype, device=problem.device)
    return engine_class(kind)(network, problem, make_schedule(), ENDLESS, batches).advance


@kernel
def _gemv_pairs(A: Any, x: Any, r: Any, g: Any, count: int) -> None:
    for _ in range(count):
        np.dot(A, x, r)
        np.dot(A.T, r, g)


def blas_floors(problem: Problem) -> dict[str, Loop]:
    """Pairs of a product with A and one with Aᵀ: by SciPy's OpenBLAS in a compiled loop, and by torch's library."""
    A, rows = problem.A, np.ascontiguousarray(problem.A.numpy())
    x, r, g = np.ones(problem.n, rows.dtype), np.empty(problem.m, rows.dtype), np.empty(problem.n, rows.dtype)
    torch_x, torch_r, torch_g = (torch.from_numpy(v.copy()) for v in (x, r, g))

    def by_torch(count: int) -> None:
        for _ in range(count):
            torch.mv(A, torch_x, out=torch_r)
            torch.mv(A.mT, torch_r, out=torch_g)

    return {"OpenBLAS": lambda count: _gemv_pairs(rows, x, r, g, count), "torch": by_torch}


def _fastest(loops: Mapping[str, Loop], point: Point) -> dict[str, float]:
    """Seconds per step of each: the fastest of interleaved rounds, each as many steps as take about ``seconds``."""
    counts = {}
    for name, loop in loops.items():
        loop(3)  # what is compiled or allocated at the first call
        count, took = 1, 0.0
        while took < 0.1 * point["seconds"]:
            count *= 4
            began = time.perf_counter()
            loop(count)
            took = time.perf_counter() - began
        counts[name] = max(1, math.ceil(count * point["seconds"] / took))
    best = dict.fromkeys(loops, math.inf)
    for _ in range(point["rounds"]):
        for name, loop in loops.items():
            began = time.perf_counter()
            loop(counts[name])
            best[name] = min(best[name], (time.perf_counter() - began) / counts[name])
    return best


def _ensemble(problem: Problem, point: Point) -> Row:
    """Steps per second of all networks together, on every core, against one after the other on one thread."""
    count, threads = point["networks"], available_cores()
    alphas = np.logspace(-3, -1, count)
    single = _fastest({"fused": _engine("fused", problem, point["p"])}, {**point, "rounds": 1})["fused"]
    steps = max(100, math.ceil(4 * point["seconds"] / (single * count)))

    def run(workers: int) -> float:
        stopping = Stopping(tol=0, max_steps=steps)
        descents = [
            Descent(DiagonalLinearNetwork(problem.n, point["p"], alpha), problem, make_schedule(), stopping)
            for alpha in alphas
        ]
        began = time.perf_counter()
        if workers == 1:
            for descent in descents:
                while descent.advance() is None:
                    pass
        else:
            ensemble = EnsembleDescent(descents, threads=workers)
            while ensemble.advance() is None:
                pass
        return time.perf_counter() - began

    one, together = math.inf, math.inf
    for _ in range(point["rounds"]):
        one, together = min(one, run(1)), min(together, run(threads))
    return {"engine": "fused", "threads": threads, "rate": count * steps / together, "gain": one / together}


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for m, n in settings["shapes"]:
        fused = pick(rows, kind="engine", m=m, n=n, engine="fused")
        autograd = pick(rows, kind="engine", m=m, n=n, engine="autograd")
        found.append(at_most(f"fused, time over the BLAS floor's, {m}×{n}", fused["over_floor"], 1.5))
        if m * n <= 10_000:
            gain = autograd["rate"] / fused["rate"]
            found.append(at_most(f"fused, time over autograd and torch.optim.SGD, {m}×{n}", gain, 1 / 35))
    largest = select(rows, kind="ensemble")[-1]
    if largest["threads"] > 1 and largest["networks"] >= largest["threads"]:
        text = f"{largest['networks']} networks on {largest['threads']} threads: time over one at a time"
        found.append(at_most(text, 1 / largest["gain"], 1 / (0.95 * largest["threads"])))
    return found


STUDY = Study(
    summary="steps per second of every engine, beside the BLAS floor",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
