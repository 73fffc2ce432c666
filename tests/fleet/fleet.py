"""The runs of the fleet, each a function that trains and returns θ; and the file that keeps them."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dlntorch as dln
from dlntorch.store.provenance import versions
from tests.problems import gaussian, line

#: θ of every run as it was when the fleet was frozen, and the processor that computed it.
FROZEN = Path(__file__).with_name("fleet.npz")


def _theta(run) -> np.ndarray:
    return run.theta.numpy()


def _train(
    p: float | dln.Parametrization, alpha: float, schedule: str = "relative", **options
) -> Callable[[], np.ndarray]:
    problem = line() if options.pop("on_line", False) else gaussian(5, 12, seed=3)
    options = {"references": False, "max_steps": 3_000, **options}
    return lambda: _theta(dln.train(problem, p, alpha, schedule, **options))


def _ensemble() -> np.ndarray:
    run = dln.train_ensemble(
        gaussian(5, 12, seed=3), [2, 2.5, 3, 4], [1e-2, 1e-2, 1e-2, 0.1], max_steps=2_000, references=False
    )
    return np.stack([run.theta_plus.numpy(), run.theta_minus.numpy()])


def _resumed() -> np.ndarray:
    """A run that is cut after 700 steps, saved, and continued by another object."""
    from dlntorch.engine import Stopping
    from dlntorch.optim.step_size import make_schedule
    from dlntorch.training.descent import Descent

    def descent(steps: int) -> Descent:
        network = dln.DiagonalLinearNetwork(12, 3, 1e-2)
        return Descent(network, gaussian(5, 12, seed=3), make_schedule("stable", c=0.5), Stopping(max_steps=steps))

    first = descent(700)
    while first.advance() is None:
        pass
    second = descent(2_000)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    while second.advance() is None:
        pass
    return np.stack([second.network.theta_plus.detach().numpy(), second.network.theta_minus.detach().numpy()])


FLEET: dict[str, Callable[[], np.ndarray]] = {
    "fused, relative, p=2": _train(2, 1e-2),
    "fused, relative, p=2.5": _train(2.5, 1e-2),
    "fused, relative, p=2.7": _train(2.7, 1e-2),
    "fused, relative, p=3": _train(3, 1e-2),
    "fused, relative, p=4": _train(4, 0.1),
    "fused, line, to its tolerance": _train(3, 0.1, on_line=True, kappa=0.1, max_steps=200_000),
    "fused, constant": _train(3, 0.1, "constant", eta=1e-3),
    "fused, stable": _train(3, 0.1, "stable", c=0.5),
    "fused, theorem": _train(2, 0.5, "theorem", epsilon=0.1, max_time=1e-3, on_line=True),
    "fused, certified": _train(3, 0.1, "certified", epsilon=0.1),
    "fused, certificate": _train(2, 1e-2, certificate=True),
    "fused, mini-batches": _train(3, 1e-2, batch_size=2, seed=7),
    "fused, mini-batches, stable": _train(3, 0.1, "stable", c=0.02, batch_size=3, seed=1, max_steps=300),
    "fused, float32": _train(3, 1e-2, dtype="float32"),
    "eager, relative, p=2.5": _train(2.5, 1e-2, engine="eager", max_steps=500),
    "eager, stable, mini-batches": _train(3, 1e-2, "stable", engine="eager", batch_size=2, max_steps=300),
    "eager, certificate": _train(4, 0.1, engine="eager", certificate=True, max_steps=300),
    "autograd, relative, p=3": _train(3, 1e-2, engine="autograd", max_steps=300),
    "autograd, relative, p=2, mini-batches": _train(2, 1e-2, engine="autograd", batch_size=2, max_steps=300),
    "fused, momentum, p=2": _train(2, 0.1, "constant", eta=1e-3, optimizer="momentum", max_steps=500),
    "fused, label noise, mini-batches": _train(
        3, 0.1, "constant", eta=1e-3, optimizer="label_noise", batch_size=2, max_steps=500
    ),
    "fused, weight decay, p=2.5": _train(2.5, 0.1, optimizer="weight_decay", max_steps=500),
    "eager, product": _train(dln.Product(3), 0.3, engine="eager", max_steps=300),
    "ensemble": _ensemble,
    "resumed": _resumed,
}


def processor() -> str:
    """What the bits depend on beside the code: the processor's kind and features, and the libraries that use them."""
    from llvmlite import binding

    features = sorted(name for name, has in binding.get_host_cpu_features().items() if has)
    digest = hashlib.sha256(" ".join(features).encode()).hexdigest()[:8]
    kernels = os.environ.get("OPENBLAS_CORETYPE", "OpenBLAS's own choice")
    known = versions()
    libraries = ", ".join(f"{name} {known[name]}" for name in ("torch", "numpy", "numba"))
    return f"{binding.get_host_cpu_name()} {digest}, {kernels}, {libraries}"


def train_fleet() -> dict[str, np.ndarray]:
    """θ of every run, shape (2, n) or (2, networks, n)."""
    return {name: run() for name, run in FLEET.items()}


def save(fleet: dict[str, np.ndarray]) -> None:
    """Freeze the fleet; only where an order of summation has to change, with the difference in the commit."""
    np.savez(FROZEN, processor=np.array(processor()), **fleet)  # pyright: ignore[reportArgumentType]


def frozen() -> tuple[str, dict[str, np.ndarray]]:
    """The processor that the fleet was frozen on, and θ of every run."""
    with np.load(FROZEN) as file:
        return str(file["processor"]), {name: file[name] for name in FLEET}
