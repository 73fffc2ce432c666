"""The flow in m numbers, integrated by Radau IIA collocation with the tolerance on ψ itself.

With s(t) = ∫₀ᵗ (y − Aψ) and ν = Aᵀs the flow is ṡ = y − Aψ(ν), a stiff equation with the symmetric Jacobian −A diag(D) Aᵀ.
A step moves ν; ψ and the residual move by differences without cancellation (:mod:`.cells`), and the residual is computed
anew only where the two have drifted apart by more than rounding. An error δ of ν_i is allowed where it changes ψ by less
than the tolerance times ‖ψ‖_∞, now and at any later time: close to a pole an early error is what a jump's time is wrong by.

The length of a step follows the estimate of order s as in Hairer and Wanner's RADAU: the estimate may be τ^{(s+1)/2s} where
the result, of order 2s − 1, is to be right to τ. An output inside a step is the collocation polynomial where the estimate
itself is below the tolerance, and otherwise a step of its own that ends there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import brentq

from dlntorch.flow.cell import Cell
from dlntorch.flow.radau import tableau
from dlntorch.flow.stages import Solved, StageSolver
from dlntorch.numerics.trajectory import Status

__all__ = ["Integrator", "Path", "note_blur", "stages_for"]

#: The stages (order 2s − 1) for tolerances down to ``SHARP``, and below it.
STAGES, SHARP_STAGES, SHARP = 5, 7, 3e-6
#: An error of ν that is not asked for less, in units of the scale on which the curve bends.
_FLOOR = 3e-16
_SAFETY, _GROWTH, _SHRINK = 0.9, 6.0, 0.1
_FAILURES = 60
#: The part of the tolerance that an estimate may be: measured, so that ψ is right to a hundred times ``rtol`` in jumps too.
_PART = 0.3
#: A change by rounding that is not worth a word.
_BLUR = 1e-9
_EPS = float(np.finfo(np.float64).eps)
#: From so many outputs in a step on, steps are made so short that all of them are the collocation polynomial.
_MANY_OUTPUTS = 6
#: ψ may fall; its error is relative to no less than this part of what ‖ψ‖_∞ has been.
_FALL = 1e-6


@dataclass
class Path:
    """What an integration found: blocks of times reached, ψ (k, n) and θ (k, width, n) there, and how it ended."""

    times: list[np.ndarray] = field(default_factory=list)
    psi: list[np.ndarray] = field(default_factory=list)
    theta: list[np.ndarray] = field(default_factory=list)
    count: int = 0
    status: Status = Status.MAX_TIME
    reason: str = ""
    evaluations: int = 0
    steps: int = 0
    rejected: int = 0
    #: The largest change of ψ by one rounding of t or of ν, relative to ‖ψ‖_∞, and its time.
    blurred: tuple[float, float] = (0.0, 0.0)

    def note(self, reason: str) -> None:
        """A reason beside the status, where none is."""
        self.reason = self.reason or reason


def note_blur(path: Path, blur: float, when: float, rtol: float) -> None:
    """Note that one rounding of t or of ν changes ψ by ``blur``, relative to ‖ψ‖_∞, where that is worth a word."""
    if blur > max(100 * rtol, _BLUR):
        path.note(f"psi at t = {when:.6g} is known to {blur:.1g} only: one rounding of t or of nu moves it so far")


def stages_for(rtol: float) -> int:
    """How many stages are fastest at a tolerance: measured."""
    return STAGES if rtol > SHARP else SHARP_STAGES


class Integrator:
    """The flow of a full-rank pair from a cell's point, at t = 0.

    Args:
        A: Shape (m, n), full row rank.
        y: Shape (m,).
        cell: Where the flow starts; it is moved along.
        rtol: What ψ may be wrong by in a step, relative to ‖ψ‖_∞.
        size: The ‖ψ‖_∞ to expect.
        max_evaluations: Budget of evaluations of the residual.
        stop_norm: ‖y − Aψ‖₂ at which the path ends, or None.
    """

    def __init__(
        self,
        A: np.ndarray,
        y: np.ndarray,
        cell: Cell,
        rtol: float,
        size: float,
        *,
        max_evaluations: float = math.inf,
        stop_norm: float | None = None,
        stages: int | None = None,
    ) -> None:
        self.A, self.y, self.cell, self.rtol = A, y, cell, rtol
        self.max_evaluations, self.stop_norm = max_evaluations, stop_norm
        self.method = tableau(stages or stages_for(rtol))
        self.solver = StageSolver(A, cell, self.method)
        self.r = y - A @ cell.psi if cell.psi.any() else y.copy()
        self.steps = self.rejected = 0
        self.t = self.t_low = 0.0  # the time is their sum
        self._largest = max(size, float(np.abs(cell.psi).max(initial=0.0)))
        self._sensitivity = cell.sensitivity(self._largest)
        self._absolute = np.abs(A)
        self._lengths = np.linalg.norm(A, axis=0)
        self._last: tuple[np.ndarray, float] | None = None  # the last stages and their step
        self._accepted: tuple[float, float] | None = None  # the last step and the ratio of its error to the tolerance
        self._order = self.method.stages + 1

    @property
    def evaluations(self) -> int:
        """Evaluations of y − Aψ so far."""
        return self.solver.evaluations

    def integrate(self, times: np.ndarray) -> Path:
        """The path at increasing times >= 0; where numbers leave float64, it ends."""
        path = Path()
        try:
            with np.errstate(all="ignore"):
                self._integrate(path, times)
        except (np.linalg.LinAlgError, FloatingPointError, OverflowError) as error:
            path.status = Status.FAILED
            path.reason = f"the integration left the range of float64 at t = {self.t:.6g}: {error}"
        path.evaluations, path.steps, path.rejected = self.evaluations, self.steps, self.rejected
        return path

    def _integrate(self, path: Path, times: np.ndarray) -> None:
        if self.stop_norm is not None and float(np.linalg.norm(self.r)) <= self.stop_norm:
            self._record(path, np.zeros(1))
            path.status = Status.CONVERGED
            return
        self._record(path, times[times == 0])
        end = float(times[-1])
        h = self._first_step(end) if end > 0 else 0.0
        while path.status is Status.MAX_TIME and path.count < times.size:
            h = self._advance(path, times, h, end)
        note_blur(path, *path.blurred, self.rtol)

    # -- one step -----------------------------------------------------------------------------------------------------

    def _advance(self, path: Path, times: np.ndarray, h: float, end: float) -> float:
        """One accepted step and the outputs in it, or the path's end; returns the next step to try."""
        velocity, D = self.solver.velocity(self.r), self.cell.slope()
        straight = self.solver.B @ velocity
        if not self.r.any():  # nothing moves any more
            self._record(path, times[path.count :])
            return h
        guess, offset = self._last, 1.0
        for failures in range(_FAILURES):
            if self.evaluations >= self.max_evaluations:
                path.status = Status.MAX_STEPS
                path.reason = f"the budget of {self.max_evaluations} evaluations of the right-hand side was used up"
                return h
            remaining = (end - self.t) - self.t_low
            ends = h >= remaining * (1 - 1e-10)
            h = remaining if ends else h
            natural, weight = self._weights(D, straight, h)
            limits = 0.3 * self.rtol / weight
            found = self.solver.solve(h, self._guess(guess, offset, h), velocity, D, limits)
            if found is None:
                guess, h = None, 0.3 * h
                self.rejected += 1
                continue
            inside = np.searchsorted(times, self.t + (self.t_low + h)) - path.count
            allowed = self._allowed(found, h * straight, natural, weight, dense=bool(inside > _MANY_OUTPUTS))
            ratio = max(float((found.error / allowed).max(initial=0.0)), 1e-30)
            if not ratio <= 1:
                guess, offset = (found.Z, h), 0.0
                h *= max(_SHRINK, _SAFETY * ratio ** (-1 / self._order)) if math.isfinite(ratio) else _SHRINK
                self.rejected += 1
                continue
            self._outputs(path, times, h, ends, found, (velocity, D, limits), weight)
            growth = self._growth(h, ratio, failures > 0)
            if path.status is Status.MAX_TIME:
                self._accept(found, h, ends, end)
            return h * growth
        path.status = Status.FAILED
        path.reason = f"the integration stopped at t = {self.t:.6g}: no step is short enough"
        return h

    def _weights(self, D: np.ndarray, straight: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
        """(what an error of ν counts on the curve's own scale, what it counts for ψ now and later), (n,) each."""
        size = max(float(np.abs(self.cell.psi).max()), _FALL * self._largest if self.steps else 0.0)
        if self.steps == 0:  # ψ may start at 0: what it will be at the end of the step
            size = max(size, float(np.abs(D * straight).max()) * h)
        now = D / size if size > 0 else np.zeros_like(D)
        natural = np.maximum(self.cell.rate(), now)
        weight = np.maximum(self._sensitivity, natural)
        return natural, np.minimum(weight, natural * (self.rtol / _FLOOR))

    def _allowed(
        self, found: Solved, straight: np.ndarray, natural: np.ndarray, weight: np.ndarray, dense: bool
    ) -> np.ndarray:
        """What the estimate may be, (n,): the tolerance, or more where the step's end is of a higher order.

        By how much a step leaves the straight line is what its errors are a part of: ε^{s+1} in the estimate, ε^{2s} at
        the end. Where outputs are dense, the estimate itself is below the tolerance, and with it the whole polynomial.
        """
        tolerance = self.rtol / weight
        if dense:
            return tolerance
        left = np.abs(found.steps - self.method.nodes[:, None] * straight).max(axis=0)
        order = self._order / (2 * self.method.stages)
        return np.maximum(tolerance, _PART * np.minimum(left, 1 / natural) ** (1 - order) * tolerance**order)

    def _guess(self, last: tuple[np.ndarray, float] | None, offset: float, h: float) -> np.ndarray:
        """Stages from the polynomial of the last step (offset 1), or of a longer try (0); zeros without one."""
        if last is None:
            return np.zeros((self.method.stages, self.y.size))
        Z, before = last
        values = self.method.interpolation(offset + self.method.nodes * (h / before)) @ Z
        return values - Z[-1] if offset else values

    def _growth(self, h: float, ratio: float, failed: bool) -> float:
        """By what the next step is longer: as the error alone has it, or as it is going (Gustafsson 1994)."""
        growth = _SAFETY * ratio ** (-1 / self._order)
        if self._accepted is not None:
            before, error = self._accepted
            growth = min(growth, _SAFETY * h / before * (error / ratio**2) ** (1 / self._order))
        self._accepted = h, max(ratio, 1e-2)
        return min(max(growth, 0.2), 1.0 if failed else _GROWTH)

    def _accept(self, found: Solved, h: float, ends: bool, end: float) -> None:
        """Move to the end of the step."""
        self.r = self.r - self.A @ self.cell.move(found.steps[-1])
        psi = self.cell.psi
        actual = self.y - self.A @ psi
        rounding = 8 * _EPS * (self._absolute @ np.abs(psi) + np.abs(self.y))
        if bool((np.abs(actual - self.r) > rounding).any()):
            self.r = actual
        low = self.t_low + h
        time = self.t + low
        self.t, self.t_low = (end, 0.0) if ends else (time, low - (time - self.t))
        size = float(np.abs(psi).max())
        if size > 1.5 * self._largest:
            self._largest = size
            self._sensitivity = self.cell.sensitivity(size)
        self.steps += 1
        change = self.solver.rebase()
        self._last = (found.Z if change is None else found.Z @ change.T, h)

    def _first_step(self, end: float) -> float:
        """A step over which the curve hardly bends and the fastest direction hardly relaxes."""
        D = self.cell.slope()
        fastest = float((self.cell.rate() * np.abs(self.solver.B @ self.solver.velocity(self.r))).max(initial=0.0))
        stiffness = self.solver.stiffness(D)
        return min(end, 1e-2 / fastest if fastest > 0 else end, 0.1 / stiffness if stiffness > 0 else end)

    # -- what is between two points -----------------------------------------------------------------------------------

    def _outputs(
        self, path: Path, times: np.ndarray, h: float, ends: bool, found: Solved, point: Any, weight: np.ndarray
    ) -> None:
        """Record the outputs in a step, and find the stop where the residual reaches it."""
        exact = float((found.error * weight).max(initial=0.0)) <= self.rtol

        def interpolated(parts: np.ndarray) -> np.ndarray:
            return self.method.interpolation(parts / h) @ found.Z @ self.solver.B.T

        def step_to(part: float) -> np.ndarray:
            if part >= h:
                return found.steps[-1]
            if not exact:
                inside = self.method.interpolation(self.method.nodes * (part / h)) @ found.Z
                solved = self.solver.solve(part, inside, *point)
                if solved is not None:
                    return solved.steps[-1]
                path.note(
                    f"psi at t = {self.t + (self.t_low + part):.6g} is interpolated: its own step does not converge"
                )
            return interpolated(np.array([part]))[0]

        stop = self._stop_inside(h, found, step_to)
        left = times[path.count :]
        parts = np.maximum((left - self.t) - self.t_low, 0.0)
        if ends:
            parts[-1] = h
        inside = parts[: np.searchsorted(parts, h, side="right")]
        if stop is not None:
            inside = inside[inside < stop[0]]
        if exact and inside.size:
            steps = interpolated(inside)
            steps[inside >= h] = found.steps[-1]
            self._record(path, left[: inside.size], steps)
        elif inside.size:
            steps = []
            for part in inside:
                if self.evaluations >= self.max_evaluations:  # the next step says so
                    break
                steps.append(step_to(float(part)))
            self._record(path, left[: len(steps)], np.array(steps).reshape(len(steps), -1))
        if stop is not None and self.evaluations < self.max_evaluations:
            self._record(path, np.array([self.t + (self.t_low + stop[0])]), stop[1][None])
            path.status = Status.CONVERGED

    def _stop_inside(
        self, h: float, found: Solved, step_to: Callable[[float], np.ndarray]
    ) -> tuple[float, np.ndarray] | None:
        """(the part of the step, the step in ν) where the residual, which decreases, reaches the norm to stop at."""
        level = self.stop_norm
        if level is None or self._norm_after(found.steps[-1]) > level:
            return None
        part: Any = brentq(lambda x: self._norm_after(step_to(x)) - level, 0.0, h, xtol=1e-14 * h, rtol=1e-13)  # type: ignore[arg-type]
        return float(part), step_to(float(part))

    def _norm_after(self, step: np.ndarray) -> float:
        return float(np.linalg.norm(self.r - self.A @ self.cell.change(step[None])[0]))

    def _record(self, path: Path, times: np.ndarray, steps: np.ndarray | None = None) -> None:
        """Keep ψ and θ at times (k,), steps (k, n) in ν from the point, or none."""
        if times.size == 0:
            return
        cell = self.cell
        if steps is None:
            steps = np.zeros((times.size, cell.psi.size))
            psi = np.repeat(cell.psi[None], times.size, axis=0)
        else:
            psi = cell.psi + cell.change(steps)
        path.times.append(times)
        path.psi.append(psi)
        path.theta.append(cell.theta(steps))
        path.count += times.size
        self._blur(path, times, steps, psi)

    def _blur(self, path: Path, times: np.ndarray, steps: np.ndarray, psi: np.ndarray) -> None:
        """Note what one rounding of t and of ν makes of ψ."""
        size = np.abs(psi).max(axis=1, initial=0.0)
        travelled = _EPS * self.cell.travelled()
        # the residual never grows: a bound over the step, which spares most outputs the rest
        bound = self._sensitivity * (np.spacing(times[-1]) * self._lengths * np.linalg.norm(self.r) + travelled)
        if size.max(initial=0.0) == 0 or float(bound.max(initial=0.0)) * self._largest <= _BLUR * size.min():
            return
        for time, step, value, scale in zip(times, steps, psi, size, strict=True):
            if scale > 0:
                moving = np.abs(self.A.T @ (self.r - self.A @ (value - self.cell.psi)))
                moved = self.cell.slope(step) * (np.spacing(time) * moving + travelled)
                blur = float(moved.max()) / float(scale)
                if blur > path.blurred[0]:
                    path.blurred = (blur, float(time))
