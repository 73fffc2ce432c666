"""4,096 networks 50×200 on a GPU against two CPU threads of the same machine, beside the chip's limits.

    python -m tests.benchmarks.gpu_table [--networks 4096] [--steps 2000] [--m 50] [--n 200]

One problem for each network ("own A": the Triton kernel that keeps A and θ on chip) and one for all ("shared A", where
replayed matrix products compete with it). The two-core CPU is the fused engine's ensemble on two threads, on as many
networks as finish in a few seconds; its throughput does not depend on their number. The limit on chip is that of the
multiprocessors' float64 (or float32) units: 2·m·n fused multiply-adds a step, 64 (128) a clock and multiprocessor.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import torch

from dlntorch.engine import Stopping
from dlntorch.engine.cuda import CudaBatch, GraphSteps
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.optim.step_size import make_schedule
from dlntorch.problem import Problem
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from tests.problems import gaussian

ENDLESS = Stopping(tol=0, max_steps=10**12)
UNITS = {torch.float64: 64, torch.float32: 128}


def rate(problems: list[Problem], count: int, p: float, steps: int, runner: Any) -> float:
    """Steps per second of ``count`` networks at α between 1e-2 and 1e-1 together, the fastest of three."""
    data, best = problems[0], 0.0
    networks = [
        DiagonalLinearNetwork(data.n, p, a, dtype=data.dtype, device=data.device)
        for a in torch.logspace(-2, -1, count).tolist()
    ]
    runners: list[Any] = []

    def kept(state: Any) -> Any:
        runners.append(runner(state))
        return runners[0]

    batch = CudaBatch(networks, problems if len(problems) > 1 else data, make_schedule(), ENDLESS, kept)
    for repeat in range(4):
        batch.state.until.copy_(batch.state.step + steps)
        torch.cuda.synchronize()
        began = time.perf_counter()
        runners[0](steps)
        torch.cuda.synchronize()
        if repeat:
            best = max(best, len(batch.state) * steps / (time.perf_counter() - began))
    if int(batch.state.step.min()) != 4 * steps:
        raise RuntimeError("a network did not make its steps")
    return best


def cpu_rate(problems: list[Problem], p: float, steps: int) -> float:
    """Steps per second of 64 networks on two threads of the fused engine."""
    chosen = [problems[i % len(problems)] for i in range(64)]

    def run(count: int) -> float:
        stopping = Stopping(tol=0, max_steps=count)
        descents = [
            Descent(DiagonalLinearNetwork(one.n, p, 0.05, dtype=one.dtype), one, make_schedule(), stopping)
            for one in chosen
        ]
        together = EnsembleDescent(descents, threads=2)
        began = time.perf_counter()
        while together.advance() is None:
            pass
        return len(chosen) * count / (time.perf_counter() - began)

    run(1000)
    return max(run(steps) for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("networks", 4096), ("steps", 2000), ("m", 50), ("n", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--tune", action="store_true", help="every way to run the kernel")
    given = parser.parse_args()
    from dlntorch.engine.triton_kernel import OnChip, fits_on_chip

    torch.set_num_threads(1)
    properties = torch.cuda.get_device_properties(0)
    clock = 1e3 * properties.clock_rate if hasattr(properties, "clock_rate") else 1.98e9
    print(f"{properties.name}, {properties.multi_processor_count} multiprocessors, {clock / 1e9:.2f} GHz")
    print("| precision | p | A | how | steps/s in all | / two CPU threads | share of the units' limit |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    own = [gaussian(given.m, given.n, seed) for seed in range(64)]
    for dtype in (torch.float64, torch.float32):
        limit = properties.multi_processor_count * UNITS[dtype] * clock / (2 * given.m * given.n)
        name = str(dtype).removeprefix("torch.")
        for p in (3.0, 2.0, 2.7) if dtype == torch.float64 else (3.0,):
            base = cpu_rate([one.to(dtype=name) for one in own], p, 20_000)
            print(f"| {name} | {p:g} | own | CPU, two threads | {base:.3g} | 1 | |", flush=True)
            placed = [one.to("cuda", name) for one in own]
            many = [placed[i % 64] for i in range(given.networks)]
            for kind, problems in (("own", many), ("shared", placed[:1])):
                runs: list[tuple[str, Any]] = [("graph", GraphSteps)]
                if fits_on_chip(given.m, given.n, own[0].A.to(dtype).element_size()):
                    runs.append(("on chip", OnChip))
                    if given.tune:
                        runs += [(f"{warps} warps", partial(OnChip, warps=warps)) for warps in (4, 8, 16)]
                for how, runner in runs:
                    steps = 320 if runner is GraphSteps else given.steps
                    speed = rate(problems, given.networks, p, steps, runner)
                    row = (
                        f"| {name} | {p:g} | {kind} | {how} | {speed:.3g} | {speed / base:.1f} | {speed / limit:.3f} |"
                    )
                    print(row, flush=True)


if __name__ == "__main__":
    main()
