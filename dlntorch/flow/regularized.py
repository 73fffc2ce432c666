"""Flows of other optimizers, and what each of them does to the answer, by integrals along the flow.

With θ = θ±, g = Aᵀ(y − Aψ), c = p(p − 2), and ± in the order θ₊, θ₋:

* heavy ball (momentum): mθ̈ + θ̇ = −∇L(θ), from rest;
* decay (weight decay until T): θ̇ = −∇L(θ) − λθ while t < T, the plain flow from then on;
* SAM (unnormalised): θ̇ = −∇L(θ + ρ∇L(θ)).

Each is driven by a ν in range(Aᵀ), with which w± = θ±^{2−p} ± cν (p = 2: ln α± = ln θ± ∓ 2ν) stands still along the plain
flow (:mod:`dlntorch.bounds.effective`). Along these it moves, by an integral that is known:

* heavy ball, ν̇ = g, r = θ̇/θ: the equation times θ^{1−p} and one integration by parts give, for every p > 2,
  Δw± = (p−2)m [θ^{2−p} r] + (p−1)(p−2)m ∫θ^{2−p} r²;  p = 2: Δ ln α± = −m r − m∫r². At rest the first term is 0: momentum
  only ever shrinks the start, as discrete steps do;
* decay: θe^{λt} is the plain flow driven by ν̇ = e^{−(p−2)λt} g, so θ(T) is a point of the flow from αe^{−λT}: exact;
* SAM, ν̇ = g̃ = g at θ + ρ∇L: Δw± = ±c∫g̃ (1 − (1 ∓ ρpθ^{p−2}g)^{p−1}); p = 2: Δ ln α± = −4ρ∫g g̃ for both, no tilt.

Sources: Papazov, Pesme and Flammarion 2024 (heavy ball at p = 2); Andriushchenko and Flammarion 2022 (SAM). The forms for
p > 2 are derived above, and the tests hold them against :func:`dlntorch.flow_limit`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.flow.stepping import Solver, step_along
from dlntorch.model import Initialization, as_parametrization, check_start
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, Trajectory, short_repr
from dlntorch.numerics.validation import InputError, check_alpha, check_choice, check_count, check_number, check_times
from dlntorch.problem import Problem

__all__ = ["DecayFlow", "HeavyBallFlow", "SAMFlow", "UpdateFlow", "UpdateFlowResult", "integrate_update_flow"]

SIGNS = np.array([[1.0], [-1.0]])
METHODS = ("DOP853", "Radau", "LSODA")
#: A parameter that changes by its own size so many times in the memory m of heavy ball is about to cross zero.
CROSSING = 1e6


class UpdateFlow(ABC):
    """A flow of log θ±, with the integrals that its prediction needs: subclass it for another."""

    #: Rows (n,) of the state after log θ₊ and log θ₋.
    extra: int

    @abstractmethod
    def rates(self, p: float, log_theta: np.ndarray, rows: np.ndarray, force: Force, t: float) -> tuple[Any, Any, Any]:
        """(d log θ/dt (2, n), d rows/dt (extra, n), ṡ (m,)); force(θ) is (y − Aψ, g)."""

    @abstractmethod
    def drift(self, p: float, theta: np.ndarray, rows: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Δw±/(2 − p) (p = 2: Δ ln α±), shape (k, 2, n), from the integrals; decay has :meth:`shrinking` in its place."""

    def shrinking(self, p: float, t: np.ndarray) -> np.ndarray:
        """ln of the factor that all of α is multiplied by, shape (k,)."""
        return np.zeros_like(t)

    def knots(self) -> tuple[float, ...]:
        """Times at which the right-hand side jumps."""
        return ()


class HeavyBallFlow(UpdateFlow):
    """mθ̈ + θ̇ = −∇L(θ), θ̇(0) = 0. Heavy ball with η and β follows it in time ηk/(1−β) with m = ηβ/(1−β)².

    Args:
        mass: m > 0.
    """

    extra = 4  # r₊, r₋, and ∫ of what the prediction needs

    def __init__(self, mass: Any) -> None:
        self.mass = check_number("mass", mass, above=0)

    @classmethod
    def of(cls, eta: Any, beta: Any) -> HeavyBallFlow:
        """The flow of ``optimizer=momentum`` with step η and β in (0, 1), in the time t' = t/(1−β), t = Σ η.

        b̄ = (1−β)b has b̄_{k+1} − b̄_k = −(1−β)(b̄_k − ∇L), θ moves by −h b̄ with h = η/(1−β): β h/(1−β) θ̈ + θ̇ = −∇L.
        """
        eta, beta = check_number("eta", eta, above=0), check_number("beta", beta, above=0, below=1)
        return cls(eta * beta / (1 - beta) ** 2)

    def rates(self, p: float, log_theta: np.ndarray, rows: np.ndarray, force: Force, t: float) -> tuple[Any, Any, Any]:
        theta, r = np.exp(log_theta), rows[:2]
        residual, g = force(theta)
        push = SIGNS * p * theta ** (p - 2) * g
        return r, np.concatenate([(push - r) / self.mass - r * r, theta ** (2 - p) * r * r]), residual

    def drift(self, p: float, theta: np.ndarray, rows: np.ndarray, t: np.ndarray) -> np.ndarray:
        r, integral = rows[:, :2], rows[:, 2:]
        return -self.mass * (theta ** (2 - p) * r + (p - 1) * integral)


class DecayFlow(UpdateFlow):
    """θ̇ = −∇L(θ) − λθ while t < until, the plain flow from then on.

    Args:
        strength: λ >= 0.
        until: T, or None for never switched off.
    """

    extra = 0

    def __init__(self, strength: Any, until: Any = None) -> None:
        self.strength = check_number("strength", strength, at_least=0)
        self.until = math.inf if until is None else check_number("until", until, at_least=0)

    def rates(self, p: float, log_theta: np.ndarray, rows: np.ndarray, force: Force, t: float) -> tuple[Any, Any, Any]:
        theta = np.exp(log_theta)
        residual, g = force(theta)
        # s carries the factor that makes it the driver of the flow from αe^{−λ min(t, T)}, at every t.
        rate = SIGNS * p * theta ** (p - 2) * g - self._on(t)
        return rate, rows, residual * math.exp((2 - p) * self.strength * min(t, self.until))

    def _on(self, t: float) -> float:
        return self.strength if t < self.until else 0.0

    def knots(self) -> tuple[float, ...]:
        return (self.until,)

    def drift(self, p: float, theta: np.ndarray, rows: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.zeros_like(theta)

    def shrinking(self, p: float, t: np.ndarray) -> np.ndarray:
        return -self.strength * np.minimum(t, self.until)


class SAMFlow(UpdateFlow):
    """θ̇ = −∇L(θ + ρ∇L(θ)).

    Args:
        rho: ρ >= 0.
    """

    extra = 2

    def __init__(self, rho: Any) -> None:
        self.rho = check_number("rho", rho, at_least=0)

    def rates(self, p: float, log_theta: np.ndarray, rows: np.ndarray, force: Force, t: float) -> tuple[Any, Any, Any]:
        theta = np.exp(log_theta)
        _, g = force(theta)
        ratio = 1 - SIGNS * self.rho * p * theta ** (p - 2) * g  # of the probed θ to θ
        residual, probed = force(theta * ratio)
        power = np.abs(ratio) ** (p - 1) * np.sign(ratio)  # even p: θ^{p−1} is odd; others keep ratio > 0
        rate = SIGNS * p * theta ** (p - 2) * power * probed
        return rate, SIGNS * p * (power - 1) * probed, residual

    def drift(self, p: float, theta: np.ndarray, rows: np.ndarray, t: np.ndarray) -> np.ndarray:
        return rows


class Force:
    """y − Aψ and g at a θ of either sign."""

    def __init__(self, A: np.ndarray, y: np.ndarray, p: float) -> None:
        self.A, self.y, self.p = A, y, p
        self.evaluations = 0
        self.even = float(p).is_integer() and int(p) % 2 == 0

    def __call__(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.evaluations += 1
        if not self.even and np.any(theta <= 0):
            return np.full(self.A.shape[0], np.nan), np.full(self.A.shape[1], np.nan)  # the solver's step is refused
        psi = theta[0] ** self.p - theta[1] ** self.p
        residual = self.y - self.A @ psi
        return residual, self.A.T @ residual


@dataclass(frozen=True)
class UpdateFlowResult:
    """A path, and the start that its integrals predict; vectors are float64 on the CPU.

    Attributes:
        trajectory: ψ(t) with its status.
        theta: θ₊ and θ₋, shape (k, 2, n).
        s: With ν = Aᵀs of the reduced problem, θ^{2−p} ± cν = α±_eff(t)^{2−p} (p = 2: ln θ ∓ 2ν = ln α±_eff); shape
            (k, m); None where it leaves float64, as after much decay.
        initialization: α±_eff predicted at the last time: where Aψ = y, ψ is the plain flow's limit from here. None with
            ``reason`` where the integrals leave no positive weight (before the end of heavy ball it may happen).
        log_start: ln α±_eff(t), shape (k, 2, n), or None likewise.
        reason: One line, or empty.
    """

    trajectory: Trajectory
    theta: Tensor
    s: Tensor | None
    initialization: Initialization | None
    log_start: Tensor | None
    reason: str = ""

    __repr__ = short_repr


@with_few_threads
def integrate_update_flow(
    problem: Problem,
    p: Any,
    alpha: Any,
    t: Any,
    update: UpdateFlow,
    *,
    rtol: float = 1e-11,
    method: str = "DOP853",
    max_evaluations: int = 1_000_000,
    stop_residual: float | None = None,
) -> UpdateFlowResult:
    """The flow of an optimizer with momentum, weight decay or SAM's probe, and the initialization that it amounts to.

    Args:
        problem: The data, dense.
        p: Depth >= 2 (or :class:`~dlntorch.model.Power`).
        alpha: A number > 0, or an :class:`~dlntorch.model.Initialization` with positive entries.
        t: Times, finite, >= 0, strictly increasing.
        update: :class:`HeavyBallFlow`, :class:`DecayFlow`, :class:`SAMFlow`, or one of your own.
        rtol: Tolerance of a step on log θ and on the integrals.
        method: DOP853 (explicit), or scipy's Radau or LSODA where A or the decay make it stiff.
        max_evaluations: Budget of evaluations of the right-hand side.
        stop_residual: Stop where ‖Aψ − y‖₂ <= stop_residual·‖y‖₂, at the end of a step, which is appended.

    Returns:
        :class:`UpdateFlowResult`. Status: ``converged`` (``stop_residual``), ``max_time``, ``max_steps`` (the budget),
        ``left_positive_orthant`` where a parameter of heavy ball crosses zero, ``failed`` with a reason.

    Raises:
        InputError: An argument out of range.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> path = integrate_update_flow(problem, 2, 0.1, [20.0], HeavyBallFlow(0.1))
        >>> bool(path.initialization.plus[0] < 0.1)
        True
    """
    form = as_parametrization(p)
    if form.depth is None:
        raise InputError(f"p must be a depth or a Power for the flow of an optimizer, got {form.name}")
    if not isinstance(update, UpdateFlow):
        raise InputError(
            f"update must be a HeavyBallFlow, DecayFlow, SAMFlow or another UpdateFlow, got {type(update).__name__}"
        )
    start = form.start_from(alpha, problem.n) if isinstance(alpha, Initialization) else None
    start = form.start(check_alpha(alpha), problem.n) if start is None else start
    theta0 = check_start(form, start, problem.n).to("cpu", torch.float64).numpy()
    if np.any(theta0 <= 0):
        raise InputError("alpha must be > 0 in every entry for the flow of an optimizer, got 0")
    times, rtol = check_times(t), check_number("rtol", rtol, above=0, at_most=0.1)
    check_choice("method", method, METHODS)
    full = problem.reduced().to("cpu", "float64")
    A, y, depth = full.A.numpy(), full.y.numpy(), form.depth
    goal = 0.0 if stop_residual is None else check_number("stop_residual", stop_residual, above=0)
    solver = Solver(method, rtol, check_count("max_evaluations", max_evaluations))
    state, end = _follow(A, y, depth, theta0, times, update, solver, goal * float(np.linalg.norm(y)))
    return _result(problem, A, depth, theta0, update, state, end)


def _follow(
    A: np.ndarray,
    y: np.ndarray,
    p: float,
    theta0: np.ndarray,
    times: np.ndarray,
    update: UpdateFlow,
    solver: Solver,
    goal: float,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[Status, str, int]]:
    """(times, states) and (status, reason, evaluations)."""
    n, m = A.shape[1], A.shape[0]
    rows, force = 2 + update.extra, Force(A, y, p)

    def rhs(t: float, x: np.ndarray) -> np.ndarray:
        block = x[: rows * n].reshape(rows, n)
        with np.errstate(over="ignore", invalid="ignore"):
            rate, more, residual = update.rates(p, block[:2], block[2:], force, t)
        return np.concatenate([rate.ravel(), more.ravel(), residual])

    def stop(x: np.ndarray) -> tuple[Status, str] | None:
        block = x[: rows * n].reshape(rows, n)
        if isinstance(update, HeavyBallFlow) and np.any(block[2:4] * update.mass < -CROSSING):
            side, i = np.unravel_index(int(np.argmin(block[2:4])), (2, n))
            name = ("theta_plus", "theta_minus")[side]
            return Status.LEFT_POSITIVE_ORTHANT, f"heavy ball carries {name}[{i}] through zero"
        if goal > 0 and float(np.linalg.norm(force(np.exp(block[:2]))[0])) <= goal:
            return Status.CONVERGED, ""
        return None

    x0 = np.concatenate([np.log(theta0).ravel(), np.zeros(update.extra * n + m)])
    # ‖·‖ of w± is α^{2−p}: the integrals get an absolute tolerance in that unit, log θ and r in their own.
    unit = float(np.max(theta0)) ** (2 - p)
    atol = (
        np.concatenate([np.full(2 * n, 1e-2), np.full((rows - 2) * n, 1e-2 * unit), np.full(m, 1e-2 * unit)])
        * solver.rtol
    )
    if isinstance(update, HeavyBallFlow):
        atol[2 * n : 4 * n] = 1e-2 * solver.rtol
    return step_along(rhs, x0, times, update.knots(), stop, solver, atol, lambda: force.evaluations)


def _result(
    problem: Problem,
    A: np.ndarray,
    p: float,
    theta0: np.ndarray,
    update: UpdateFlow,
    state: tuple[np.ndarray, np.ndarray],
    end: tuple[Status, str, int],
) -> UpdateFlowResult:
    t, x = state
    n, rows = A.shape[1], 2 + update.extra
    block = x[:, : rows * n].reshape(len(t), rows, n)
    theta, s = np.exp(block[:, :2]), x[:, rows * n :]
    psi = torch.from_numpy(theta[:, 0] ** p - theta[:, 1] ** p)
    exact = problem.to("cpu", "float64")
    status, reason, evaluations = end
    path = Trajectory(torch.from_numpy(t), psi, exact.loss(psi), status, reason, evaluations=evaluations)
    drift = update.drift(p, theta, block[:, 2:], t)
    shrinking = update.shrinking(p, t)[:, None, None]
    with np.errstate(over="ignore", invalid="ignore"):
        s = s * np.exp((2 - p) * shrinking[:, 0])  # decay: from the driver of θe^{λt} to that of θ
    driver = torch.from_numpy(s) if np.all(np.isfinite(s)) else None
    log_start = np.log(theta0) + depth_law(p).log_moved(theta0 ** (p - 2) * drift) + shrinking
    if not np.all(np.isfinite(log_start)):
        words = "the integrals leave a weight theta^(2-p) that is not positive"
        return UpdateFlowResult(path, torch.from_numpy(theta), driver, None, None, words)
    start = Initialization(*np.exp(log_start[-1])) if len(t) and np.all(np.exp(log_start[-1]) > 0) else None
    words = (
        "" if start is not None else "no time was reached" if not len(t) else "alpha_eff is below the range of float64"
    )
    return UpdateFlowResult(path, torch.from_numpy(theta), driver, start, torch.from_numpy(log_start), words)
