"""Plain gradient descent with the relative schedule, compiled, with and without the certificate: a driver for tests."""

from __future__ import annotations

import numpy as np
from numba import njit

from dlntorch.bounds.certificate import Certificate
from dlntorch.bounds.certificate_kernel import certificate_step
from dlntorch.model.initialization import Initialization


@njit(error_model="numpy")  # not cached: numba would not notice that the kernel it calls has changed
def _descend(plus, minus, p, kappa, c, stop, steps, arguments, certified):
    """At most ``steps`` steps, until ‖r‖ <= ``stop``; returns the number taken and their total length."""
    A, y = arguments[0], arguments[1]
    AT = np.ascontiguousarray(A.T)
    norm2 = np.linalg.norm(A, 2) ** 2
    time = 0.0
    for step in range(steps):
        r = y - np.dot(A, plus**p - minus**p)
        if np.linalg.norm(r) <= stop:
            return step, time
        g = np.dot(AT, r)
        rho, top = 0.0, 0.0
        for i in range(g.size):
            rho = max(rho, p * max(plus[i], minus[i]) ** (p - 2) * abs(g[i]))
            top = max(top, plus[i] ** (2 * p - 2) + minus[i] ** (2 * p - 2))
        eta = min(c / (p * p * norm2 * top + (p - 1) * rho), kappa / rho)
        if certified:
            certificate_step(plus, minus, eta, *arguments)
        for i in range(g.size):
            plus[i] += eta * p * plus[i] ** (p - 1) * g[i]
            minus[i] -= eta * p * minus[i] ** (p - 1) * g[i]
        time += eta
    return steps, time


class Descent:
    """θ, the time Σ η and the certificate of one run; :meth:`run` goes on from where it stopped."""

    def __init__(self, problem, p: float, alpha, kappa: float = 0.01, c: float = 1.0, certified: bool = True):
        self.problem, self.p, self.alpha, self.kappa, self.c = problem, p, alpha, kappa, c
        self.certificate = Certificate(problem, p, alpha)
        self.certified = certified
        self.plus, self.minus = (side.numpy() for side in Initialization.of(alpha).expanded(problem.n))
        self.time, self.steps = 0.0, 0

    def run(self, steps: int, residual: float = 0.0) -> bool:
        """At most ``steps`` more steps; whether the relative residual was reached."""
        stop = residual * float(np.linalg.norm(self.certificate.y))
        taken, time = _descend(
            self.plus, self.minus, float(self.p), self.kappa, self.c, stop, steps,
            self.certificate.arguments(), self.certified,
        )  # fmt: skip
        self.time += time
        self.steps += taken
        return taken < steps

    def theta(self) -> np.ndarray:
        return np.concatenate([self.plus, self.minus])
