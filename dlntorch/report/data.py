"""A run's saved results, as figures need them: columns beside their abscissa, reasons for what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.run.result import RunResult, network_words

__all__ = ["RunData", "coincide", "movement"]

#: ψ moves where it is further from its start than this share of the longest way from it.
MOVED = 0.01
#: So much of a logarithmic axis may be left for ψ standing still, before it first moves or after it last does.
STILL = 0.2

_PLAIN = ("the ℓ₁ vertex", "W_p", "the limit ψ_α(∞)", "the planted signal")


def coincide(left: np.ndarray, right: np.ndarray, tolerance: float = 0.01) -> bool:
    """Whether two curves could not be told apart on a logarithmic axis (within 1 % wherever both are shown)."""
    if left.shape != right.shape or not left.size:
        return False
    both = np.isfinite(left) & np.isfinite(right)
    with np.errstate(over="ignore"):
        return bool(both.any() and np.all(np.abs(left - right)[both] <= tolerance * np.minimum(left, right)[both]))


def movement(t: np.ndarray, psi: np.ndarray) -> tuple[float, float]:
    """The part of t > 0, shape (k,), to be shown of a path ψ (k, n): where ψ moves, and a fifth of log t around it.

    Where ψ never moves, or begins at once and never stops, that is all of it.
    """
    t, psi = t[t > 0], psi[t > 0]
    if len(t) < 3:
        return (float(t[0]), float(t[-1])) if len(t) else (0.0, 0.0)
    from_start, to_end = np.abs(psi - psi[0]).max(axis=1), np.abs(psi - psi[-1]).max(axis=1)
    moved, moving = from_start > MOVED * from_start.max(), to_end > MOVED * to_end.max()
    if not moved.any() or not moving.any():
        return float(t[0]), float(t[-1])
    last = len(t) - 1
    first, stop = int(np.argmax(moved)), min(last - int(np.argmax(moving[::-1])) + 1, last)
    low, high = np.log(t[max(first - 1, 0)]), np.log(t[max(stop, first)])
    room = STILL * max(high - low, np.log(2.0))
    return float(np.exp(max(low - room, np.log(t[0])))), float(np.exp(min(high + room, np.log(t[-1]))))


class RunData:
    """What the figures and the page of a run are drawn from.

    Args:
        result: A finished run, in memory or loaded.
    """

    def __init__(self, result: RunResult) -> None:
        self.summary: Mapping[str, Any] = result.summary
        self.result = result
        self.t = _numbers(result.history.get("t", result.trajectory.t.numpy()))
        t, psi = self.coefficients()
        #: From and to which t ψ moves. A run that diverged does so at its end: all of it is to be seen.
        self.moves = movement(t, psi if not result.status.ended_badly else 0 * psi)
        step = result.trajectory.step
        self.step = _numbers(result.history.get("step", np.arange(len(self.t)) if step is None else step.numpy()))

    @property
    def heading(self) -> str:
        """Which run this is, in a line: problem, shape, p, α, schedule."""
        summary = self.summary
        problem, schedule = summary["problem"], summary["schedule"]
        kappa = schedule.get("kappa")
        steps = "schedule " + schedule["name"] + ("" if kappa is None else f" (κ = {kappa:g})")
        batch = "" if summary.get("batch_size") is None else f", batches of {summary['batch_size']}"
        network = network_words(summary).replace(", alpha", " · α")
        name = problem["name"] if len(problem["name"]) <= 24 else problem["name"][:23] + "…"
        shape = f"{problem['m']}×{problem['n']}"
        return f"{name} {shape} · {network} · {steps}{batch}"

    @property
    def in_view(self) -> np.ndarray:
        """Which recorded times are shown: all after ψ begins to move, and shortly before."""
        return (self.t > 0) & (self.t >= min(self.moves[0], np.nanmax(self.t, initial=0.0)))

    def column(self, name: str) -> np.ndarray | None:
        """A column of the history, as long as ``t``, with NaN where it is not a finite number; None without it."""
        found = self.result.history.get(name)
        if found is None or len(found) != len(self.t):
            return None
        return _numbers(found)

    def why_missing(self, *names: str) -> str:
        """The summary's reason for the first of ``names`` that has one."""
        for place in (self.summary, self.summary["budget"], self.summary["predicted"], self.summary["references"]):
            for name in names:
                reason = place.get(f"{name}_reason")
                if reason:
                    return str(reason)
        return "not recorded"

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """t (k,) and ψ (k, n) of the recorded path, without the rows that are not finite."""
        t, psi = _numbers(self.result.trajectory.t.numpy()), self.result.trajectory.psi.numpy()
        finite = np.isfinite(t) & np.isfinite(psi).all(axis=1)
        return t[finite], psi[finite]

    def truth(self) -> np.ndarray | None:
        """The planted signal, the one vector to compare the coefficients with that a run saves."""
        truth = self.result.problem.truth
        return None if truth is None else truth.detach().cpu().double().numpy()

    def budget_curves(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """The three parts of the error along the run, and the reasons for those that are missing."""
        curves: dict[str, np.ndarray] = {}
        reasons: dict[str, str] = {}
        flow, limit = self.column("distance_to_flow"), self.column("flow_to_limit")
        constant = self.summary["budget"].get("initialization")
        found = {
            "discretization": flow,
            "finite_time": limit,
            "initialization": None if constant is None else np.full(len(self.t), float(constant)),
        }
        for name, values in found.items():
            if values is None:
                reasons[name] = self.why_missing(name, "distance_to_flow", "distance_to_limit")
            else:
                curves[name] = values
        return curves, reasons

    def distances(self) -> list[tuple[str, np.ndarray]]:
        """Curves of the distances to the references, each named; those that coincide are one curve."""
        groups: list[tuple[list[str], np.ndarray]] = []
        for column, name in zip(("l1", "selected", "limit", "truth"), _PLAIN, strict=True):
            values = self.column(f"distance_to_{column}")
            if values is None:
                continue
            for names, other in groups:
                if coincide(values, other):
                    names.append(name)
                    break
            else:
                groups.append(([name], values))
        return [("to " + _joined(names), values) for names, values in groups]


def _joined(names: Sequence[str]) -> str:
    return " = ".join(names)


def _numbers(values: Any) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    array[~np.isfinite(array)] = np.nan
    return array
