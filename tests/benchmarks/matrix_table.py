"""Steps of completion, 60×60 through four layers, against a plain autograd loop: ``python -m tests.benchmarks.matrix_table``.

Seconds of a core and of the wall for one step of one network; the least of some rounds, interleaved.
"""

from __future__ import annotations

import time

import numpy as np
import torch

import dlntorch as dln
from dlntorch.matrix import MatrixFactorization, generators, train_matrix

LAYERS, ALPHA, ROUNDS, STEPS = 4, 0.05, 5, 4000


def _autograd(problem: dln.MatrixProblem, steps: int) -> None:
    layers = [torch.nn.Parameter(torch.eye(60, dtype=torch.float64) * ALPHA) for _ in range(LAYERS)]
    optimizer = torch.optim.SGD(layers, lr=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        X = layers[0]
        for layer in layers[1:]:
            X = layer @ X
        problem.loss(X).backward()
        optimizer.step()


def _ours(problem: dln.MatrixProblem, networks: int, **rule: object) -> None:
    alpha = [ALPHA] * networks if networks > 1 else ALPHA
    train_matrix(problem, MatrixFactorization((60, 60), LAYERS, alpha), max_steps=STEPS, tol=0, **rule)  # type: ignore[arg-type]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    problem = generators.completion()
    cases = {
        "autograd, one network": (lambda: _autograd(problem, STEPS // 8), STEPS // 8),
        "relative, one network": (lambda: _ours(problem, 1), STEPS),
        "constant, one network": (lambda: _ours(problem, 1, schedule="constant", eta=1e-4), STEPS),
        "relative, eight networks": (lambda: _ours(problem, 8), 8 * STEPS),
    }
    _autograd(problem, 20)  # what only the first steps cost
    train_matrix(problem, MatrixFactorization((60, 60), LAYERS, [ALPHA] * 2), max_steps=20)
    seconds = np.full((len(cases), 2), np.inf)
    for _ in range(ROUNDS):
        for i, (run, steps) in enumerate(cases.values()):
            core, wall = time.process_time(), time.perf_counter()
            run()
            taken = np.array([time.process_time() - core, time.perf_counter() - wall]) / steps
            seconds[i] = np.minimum(seconds[i], taken)
    for name, (core, wall) in zip(cases, seconds, strict=True):
        ratio = seconds[0] / (core, wall)
        print(f"{name:26} core {1e6 * core:7.1f} µs ({ratio[0]:.1f} x)  wall {1e6 * wall:7.1f} µs ({ratio[1]:.1f} x)")


if __name__ == "__main__":
    main()
