"""Where the compiled kernel takes the place of the loop's steps: products of layers, entries of X, plain gradient descent."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from dlntorch.matrix.factorization import ProductOfLayers
from dlntorch.matrix.problem import EntriesOperator
from dlntorch.matrix.product_kernel import (
    CONVERGED,
    GOING,
    MAX_TIME,
    NO_STEP,
    WILD,
    Layers,
    Observed,
    product_steps,
)
from dlntorch.numerics.compiling import compiles
from dlntorch.numerics.trajectory import Status

__all__ = ["FusedProduct", "applies"]

#: Steps of the first call; later ones last about a block, so that budgets of time and Ctrl-C are seen.
FIRST_CHUNK = 16
#: Larger layers spend their time in products anyway.
LARGEST_SIDE = 2000
_STATUS = {CONVERGED: Status.CONVERGED, MAX_TIME: Status.MAX_TIME, WILD: Status.DIVERGED, NO_STEP: Status.FAILED}


def applies(network: Any, layers: list[torch.Tensor], data: Any, rule: Any) -> bool:
    """Whether the kernel can run this descent."""
    operator = getattr(data, "operator", None)
    return (
        isinstance(network, ProductOfLayers)
        and isinstance(operator, EntriesOperator)
        and hasattr(rule, "numbers")
        and layers[0].dtype == torch.float64
        and layers[0].device.type == "cpu"
        and max(side for layer in layers for side in layer.shape[1:]) <= LARGEST_SIDE
        and compiles()
    )


class FusedProduct:
    """Steps of every network of a batch, each in a thread of its own where there are cores for it."""

    def __init__(self, run: Any, rule: Any) -> None:
        self.run = run
        rows = np.array([layer.shape[1] for layer in run.layers])
        columns = np.array([layer.shape[2] for layer in run.layers])
        self.layers = Layers(np.concatenate([[0], np.cumsum(rows * columns)]), rows, columns)
        self.where = _observed(run.problem, run.scale)
        B = run.layers[0].shape[0]
        self.bounds, self.reference = np.zeros((B, 4, rows.size)), np.zeros((B, self.where.places.size))
        self.numbers = rule.numbers()
        self.chunk = FIRST_CHUNK
        self.threads = min(run.layers[0].shape[0], len(os.sched_getaffinity(0)))

    def advance(self, at_most: int) -> None:
        """Go on for so many steps at most, not beyond the next record, and for about a block's time."""
        run, began = self.run, time.perf_counter()
        room = max(run.recorder.next_step - run.step, 1)
        steps = min(room, self.chunk, at_most, run.budget.max_steps - run.step)
        active = [int(b) for b in torch.nonzero(run.active).flatten()]
        flat = torch.cat([layer.flatten(1) for layer in run.layers], dim=1).numpy()
        work = [(b, flat[b], steps) for b in active]
        if self.threads > 1 and len(work) > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                done = list(pool.map(self._one, work))
        else:
            done = [self._one(item) for item in work]
        parts = torch.from_numpy(flat).split(np.diff(self.layers.begins).tolist(), dim=1)
        run.layers = [part.reshape(layer.shape).clone() for part, layer in zip(parts, run.layers, strict=True)]
        run.before = run.layers
        before = run.step
        run.step += max((taken for taken, _, _ in done), default=0)
        self._adapt(run.step - before, time.perf_counter() - began)
        for b, (taken, (run.time[b], run.eta[b]), stands) in zip(active, done, strict=True):
            run.taken[b] += taken
            if stands != GOING:
                which = torch.zeros_like(run.active)
                which[b] = True
                reason = "the step size must be finite and > 0" if stands == NO_STEP else ""
                run.end(which, _STATUS[stands], reason)

    def _adapt(self, steps: int, seconds: float) -> None:
        """Let a call last about a block; θ does not depend on it."""
        if steps > 0:
            self.chunk = max(1, min(2 * self.chunk, int(steps * self.run.block_seconds / max(seconds, 1e-9))))

    def _one(self, item: tuple[int, np.ndarray, int]) -> tuple[int, tuple[float, float], int]:
        b, theta, steps = item
        run = self.run
        state = np.array([float(run.time[b]), float(run.eta[b])])
        numbers = np.array([*self.numbers, run.budget.tol, run.budget.max_time, float(run.first[b])])
        kept = (state, self.bounds[b], self.reference[b])
        taken, stands = product_steps(theta, self.layers, self.where, numbers, *kept, steps)
        return int(taken), (float(state[0]), float(state[1])), int(stands)


def _observed(data: Any, scale: float) -> Observed:
    places = data.operator.places.numpy()
    order = np.argsort(places, kind="stable")
    places = places[order]
    rows, columns = np.divmod(places, data.shape[1])
    down = np.argsort(columns, kind="stable")
    row_begins = np.searchsorted(rows, np.arange(data.shape[0] + 1))
    column_begins = np.searchsorted(columns[down], np.arange(data.shape[1] + 1))
    return Observed(places, data.y.numpy()[order], scale, columns, row_begins, down, rows[down], column_begins)
