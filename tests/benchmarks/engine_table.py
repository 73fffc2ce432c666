"""Steps per second of every engine, beside the BLAS floor, and what issue 5 asks of them.

    python -m tests.benchmarks.engine_table [--rounds 5] [--quick] [--cpu] [--only engines,scaling,asks,ensemble,…]

Every round runs each of the compared loops once, in turn, so that a busy machine slows all of them alike; the fastest
round counts, and ratios are taken within one process. One thread, except for the ensemble. The BLAS floor is one gemv
and one transposed gemv of the same size in a loop, by the faster of two libraries (scipy's OpenBLAS from a compiled
loop, torch's MKL): what a step that reads A twice cannot do without. On a machine that others use as well, ``--cpu``
counts this process's CPU time instead of the wall clock; the ensemble's two threads are then taken to be always busy.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from dlntorch.bounds.certificate import Certificate
from dlntorch.engine import Engine, RowBatches, Stopping, engine_class
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.optim.step_size import make_schedule
from dlntorch.optim.update import make_update
from dlntorch.problem import Problem
from dlntorch.studies.benchmark import blas_floors
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.measure import Measurer
from tests.engine.bare_loop import bare_loop
from tests.problems import gaussian

RELATIVE = make_schedule("relative")
PARTS = ("engines", "updates", "scaling", "asks", "ensemble", "memory", "compile")
#: Updates whose fused steps are compared with those of plain SGD, by name, options and the share of its speed asked for.
UPDATES: dict[str, tuple[str, dict[str, Any], float]] = {
    "momentum": ("momentum", {"beta": 0.9}, 0.8),
    "Nesterov": ("momentum", {"beta": 0.9, "nesterov": True}, 0.8),
    "weight decay": ("weight_decay", {"strength": 1e-6}, 0.8),
    "label noise": ("label_noise", {"sigma": 1e-6}, 0.8),
}
ENSEMBLE, MEMBER = 64, (10, 30)
#: What time is taken by; ``--cpu`` replaces it.
_clock = time.perf_counter


@cache
def problem_of(m: int, n: int) -> Problem:
    """One problem for each shape."""
    return gaussian(m, n, 0)


def engine_of(
    problem: Problem,
    p: float = 3,
    kind: str = "fused",
    *,
    batch: int | None = None,
    certificate: bool = False,
    dtype: str = "float64",
) -> Engine:
    """An engine that never ends by itself, at α = 0.1, compiled."""
    data = problem.to(dtype=dtype)
    network = DiagonalLinearNetwork(data.n, p, 0.1, dtype=data.dtype)
    batches = None if batch is None else RowBatches(data.m, batch, 0)
    proof = Certificate(problem, p, 0.1) if certificate else None
    stopping = Stopping(tol=0, max_steps=10**12)
    engine = engine_class(kind)(network, data, RELATIVE, stopping, batches, proof)
    engine.advance(3)
    return engine


def update_loops(problem: Problem, p: float, count: int) -> dict[str, tuple[Callable[[int], Any], int]]:
    """``count`` fused steps of plain SGD and of :data:`UPDATES`, all at one constant step, which costs least beside them."""
    loops = {}
    for name, (kind, options, _) in {"SGD": ("sgd", {}, 1.0), **UPDATES}.items():
        network, schedule = DiagonalLinearNetwork(problem.n, p, 0.1), make_schedule("constant", eta=1e-7)
        stopping = Stopping(tol=0, max_steps=10**12)
        engine = engine_class("fused")(network, problem, schedule, stopping, update=make_update(kind, options))
        engine.advance(3)
        loops[name] = (engine.advance, count)
    return loops


def counted_floors(problem: Problem, count: int) -> dict[str, tuple[Callable[[int], Any], int]]:
    """``count`` pairs of a gemv and a transposed gemv with A, by each of two libraries."""
    floors = blas_floors(problem)
    for loop in floors.values():
        loop(1)  # compiled, and its library loaded
    return {f"BLAS floor, {name}": (loop, count) for name, loop in floors.items()}


def floor_of(times: dict[str, float]) -> float:
    """The faster of the two."""
    return min(seconds for name, seconds in times.items() if name.startswith("BLAS floor"))


def lightning_autograd(problem: Problem) -> Callable[[int], Any]:
    """``count`` steps of engine=autograd through a Lightning trainer, one step a ``training_step``."""
    from dlntorch.training.fit import fit_descent

    def run(count: int) -> None:
        network = DiagonalLinearNetwork(problem.n, 3, 0.1)
        stopping = Stopping(tol=0, max_steps=count)
        fit_descent(Descent(network, problem, RELATIVE, stopping, engine="autograd"), [])

    return run


def best(loops: dict[str, tuple[Callable[[int], Any], int]], rounds: int) -> dict[str, float]:
    """Seconds per step of each loop, given with its number of steps: the fastest of interleaved rounds."""
    found = dict.fromkeys(loops, np.inf)
    for _ in range(rounds):
        for name, (loop, count) in loops.items():
            began = _clock()
            loop(count)
            found[name] = min(found[name], (_clock() - began) / count)
    return found


def steps_for(problem: Problem, seconds: float) -> int:
    """About how many fused steps take ``seconds``."""
    return max(5, int(seconds / (1e-6 + 1.2e-9 * problem.m * problem.n)))


def engine_loops(problem: Problem, seconds: float) -> dict[str, tuple[Callable[[int], Any], int]]:
    """Everything that makes steps on a problem, with a number of steps that takes about ``seconds``."""
    count = steps_for(problem, seconds)
    batch = max(1, problem.m // 5)
    slow = max(3, count // 100)
    return {
        **counted_floors(problem, count),
        "fused": (engine_of(problem).advance, count),
        f"fused, batches of {batch}": (engine_of(problem, batch=batch).advance, count),
        "fused, float32": (engine_of(problem, dtype="float32").advance, count),
        "fused, p = 2": (engine_of(problem, 2).advance, count),
        "fused, p = 4": (engine_of(problem, 4).advance, count),
        "fused, p = 2.7": (engine_of(problem, 2.7).advance, count),
        "fused, certificate": (engine_of(problem, certificate=True).advance, max(3, count // 10)),
        "eager": (engine_of(problem, kind="eager").advance, slow),
        "autograd, bare loop + optim.SGD": (lambda k: bare_loop(problem, 3, RELATIVE, None, k, 0.1), slow),
        "autograd through Lightning": (lightning_autograd(problem), slow),
    }


def show(title: str, rows: list[tuple[Any, ...]], head: tuple[str, ...]) -> None:
    """A table in Markdown."""
    print(f"\n## {title}\n\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{cell:,.4g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    sys.stdout.flush()


def engines(rounds: int, seconds: float) -> None:
    for m, n in ((50, 200), (500, 5000)):
        times = best(engine_loops(problem_of(m, n), seconds), rounds)
        floor = floor_of(times)
        rows = [(name, 1 / t, t / floor) for name, t in times.items()]
        show(f"{m}×{n}, p = 3, relative schedule", rows, ("engine", "steps/s", "time / BLAS floor"))


def updates(rounds: int, seconds: float) -> list[tuple[str, str, str, str]]:
    """Speed of fused updates over that of fused SGD; short loops and many rounds, since a step takes 0.2 µs."""
    rows = []
    for m, n in ((10, 30), (50, 200)):
        for p in (2, 2.7, 3):
            loops = update_loops(problem_of(m, n), p, steps_for(problem_of(m, n), seconds / 20))
            times = best(loops, 20 * rounds)
            for name, (_, _, asked) in UPDATES.items():
                what = f"fused {name}, speed / fused SGD, {m}×{n}, p = {p:g}"
                rows.append(verdict(what, asked, times["SGD"] / times[name], True))
    return rows


def scaling(rounds: int, seconds: float) -> None:
    rows = []
    for m, n in ((5, 200), (20, 200), (50, 200), (100, 200), (50, 50), (50, 800), (50, 3200), (200, 1000)):
        problem = problem_of(m, n)
        count = steps_for(problem, seconds)
        times = best({"fused": (engine_of(problem).advance, count), **counted_floors(problem, count)}, rounds)
        rows.append((m, n, 1 / times["fused"], times["fused"] / floor_of(times)))
    show("Scaling in m and n", rows, ("m", "n", "steps/s", "time / BLAS floor"))
    problem = problem_of(50, 200)
    count = steps_for(problem, seconds)
    sizes = (1, 2, 5, 10, 25, 50)
    times = best({str(b): (engine_of(problem, batch=b).advance, count) for b in sizes}, rounds)
    show("Scaling in the batch, 50×200", [(b, 1 / times[str(b)]) for b in sizes], ("rows", "steps/s"))


def verdict(what: str, asked: float, measured: float, at_least: bool) -> tuple[str, str, str, str]:
    """A row: what, asked, measured, and whether it is reached."""
    reached = measured >= asked if at_least else measured <= asked
    sign = "≥" if at_least else "≤"
    return what, f"{sign} {asked:g}", f"{measured:.3g}", "reached" if reached else "NOT reached"


def asks(rounds: int, seconds: float) -> list[tuple[str, str, str, str]]:
    small, large = problem_of(50, 200), problem_of(500, 5000)
    count = steps_for(small, seconds)
    loops = {
        **counted_floors(small, count),
        "fused": (engine_of(small).advance, count),
        "p = 2.7": (engine_of(small, 2.7).advance, count),
        "bare": (lambda k: bare_loop(small, 3, RELATIVE, None, k, 0.1), max(3, count // 100)),
    }
    t = best(loops, rounds)
    few = steps_for(large, seconds)
    big = best({**counted_floors(large, few), "fused": (engine_of(large).advance, few)}, rounds)
    return [
        verdict("fused, speed / bare autograd + optim.SGD, 50×200", 35, t["bare"] / t["fused"], True),
        verdict("fused, time / BLAS floor, 50×200", 1.5, t["fused"] / floor_of(t), False),
        verdict("fused, time / BLAS floor, 500×5000", 1.5, big["fused"] / floor_of(big), False),
        verdict("p = 2.7, time / p = 3, 50×200", 3, t["p = 2.7"] / t["fused"], False),
        *(verdict(f"whole fit, share of the raw loop's speed, {m}×{n}", 0.9, fit_share(m, n, rounds), True)
          for m, n in ((10, 30), (50, 200))),
    ]  # fmt: skip


def fit_share(m: int, n: int, rounds: int, steps: int = 1_000_000) -> float:
    """Raw fused loop's time over that of the fit of ``train.py`` (Lightning, metrics, checkpoints), both 1e6 steps."""
    from dlntorch.store.folder import RunFolder
    from dlntorch.training.callbacks import CheckpointCallback, MetricsCallback, SignalCallback
    from dlntorch.training.fit import fit_descent

    problem = problem_of(m, n)

    def fit(count: int) -> None:
        network = DiagonalLinearNetwork(n, 3, 0.1)
        descent = Descent(network, problem, RELATIVE, Stopping(tol=0, max_steps=count))
        with tempfile.TemporaryDirectory() as folder:
            write = RunFolder(folder).write_checkpoint
            callbacks = [SignalCallback(), MetricsCallback(Measurer(problem, 3, {}))]
            fit_descent(descent, [*callbacks, CheckpointCallback(lambda state: write(state, {}))])

    fit(1000)
    raw = lambda count: engine_of(problem).advance(count)  # noqa: E731
    times = best({"raw": (raw, steps), "fit": (fit, steps)}, rounds)
    return times["raw"] / times["fit"]


def ensemble(rounds: int, steps: int = 30_000) -> list[tuple[str, str, str, str]]:
    """Throughput of 64 networks on two threads against one network after the other on one."""
    problem = problem_of(*MEMBER)
    alphas = np.logspace(-3, -1, ENSEMBLE)

    def run(threads: int) -> None:
        descents = [
            Descent(DiagonalLinearNetwork(problem.n, 3, a), problem, RELATIVE, Stopping(tol=0, max_steps=steps))
            for a in alphas
        ]
        if threads == 1:
            for descent in descents:
                while descent.advance() is None:
                    pass
            return
        together = EnsembleDescent(descents, threads=threads)
        while together.advance() is None:
            pass

    times = best({"one": (lambda _: run(1), 1), "two": (lambda _: run(2), 1)}, rounds)
    if _clock is time.process_time:
        times["two"] /= 2
    speed = ENSEMBLE * steps / times["two"]
    rows = [("one at a time", ENSEMBLE * steps / times["one"]), ("ensemble, two threads", speed)]
    show(f"{ENSEMBLE} networks, {MEMBER[0]}×{MEMBER[1]}, p = 3", rows, ("how", "steps/s in all"))
    return [
        verdict("ensemble of 64, 10×30, two cores, throughput / one at a time", 1.9, times["one"] / times["two"], True)
    ]


def memory(steps: int = 10_000_000) -> list[tuple[str, str, str, str]]:
    """Growth of the process's largest memory over 1e7 steps of a run with its record, after a first tenth of them."""
    problem = problem_of(*MEMBER)
    growth = {}
    for name, batch in (("full batch", None), ("mini-batch", 2)):
        network = DiagonalLinearNetwork(problem.n, 3, 0.1)
        descent = Descent(network, problem, RELATIVE, Stopping(tol=0, max_steps=steps), batch_size=batch)
        while descent.progress.step < steps // 10:
            descent.advance()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        while descent.advance() is None:
            pass
        growth[name] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [verdict(f"memory growth over 1e7 steps, {name}, MiB", 1, mib, False) for name, mib in growth.items()]


_FIRST = (
    "import time; from tests.problems import gaussian; from tests.benchmarks.engine_table import engine_of; "
    "problem = gaussian(10, 30, 0); began = time.{clock}(); engine_of(problem); print(time.{clock}() - began)"
)


def compile_time() -> list[tuple[str, str, str, str]]:
    """Seconds that the engine's compilation adds to the first run on a machine, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache_folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache_folder}
        command = [sys.executable, "-c", _FIRST.format(clock=_clock.__name__)]
        seconds = [
            float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        ]
    return [verdict("engine's part of the first run, s more than the second", 3, seconds[0] - seconds[1], False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="shorter loops")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--cpu", action="store_true", help="count CPU time, on a busy machine")
    given = parser.parse_args()
    global _clock
    _clock = time.process_time if given.cpu else time.perf_counter
    parts = given.only.split(",")
    seconds = 0.05 if given.quick else 0.3
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str, str]] = []
    with threadpool_limits(limits=1):
        if "engines" in parts:
            engines(given.rounds, seconds)
        if "updates" in parts:
            rows += updates(given.rounds, seconds)
        if "scaling" in parts:
            scaling(given.rounds, seconds)
        if "asks" in parts:
            rows += asks(given.rounds, seconds)
        if "ensemble" in parts:
            rows += ensemble(given.rounds)
        if "memory" in parts:
            rows += memory(1_000_000 if given.quick else 10_000_000)
    if "compile" in parts:
        rows += compile_time()
    if rows:
        show("Asked and measured", rows, ("what", "asked", "measured", "verdict"))


if __name__ == "__main__":
    main()
