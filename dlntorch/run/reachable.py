"""An accuracy that can be had where the one asked for cannot: what refusals name is tried until a plan is found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from dlntorch.numerics.trajectory import Status

__all__ = ["Refusals", "first_reachable"]

#: So many accuracies are tried, each at least so many times the one before.
TRIALS, GROWTH = 6, 2.0


@dataclass
class Refusals:
    """Why there is no plan, for each candidate: a status, a reason, and an accuracy that this part would allow or None."""

    found: list[tuple[Status, str, float | None]] = field(default_factory=list)

    def add(self, status: Status, reason: str, reachable: float | None = None) -> None:
        self.found.append((status, reason, reachable))

    @property
    def mildest(self) -> tuple[Status, str, float | None]:
        """The one that allows the smallest accuracy."""
        return min(self.found, key=lambda refusal: refusal[2] or math.inf)


def first_reachable(named: float | None, refused: Callable[[float], Refusals | None]) -> float | None:
    """The first accuracy that has a plan, of those that refusals name one after the other; None where none was found.

    A refusal speaks of one part of the error alone, so that another may refuse what it names.

    Args:
        named: What the first refusal names.
        refused: The refusals at an accuracy, None where it has a plan.
    """
    for _ in range(TRIALS):
        if named is None or not math.isfinite(named):
            return None
        wanted = _rounded_up(named)
        refusals = refused(wanted)
        if refusals is None:
            return wanted
        named = max(GROWTH * named, refusals.mildest[2] or 0.0)
    return None


def _rounded_up(value: float) -> float:
    """The next number of two digits, which is what is shown."""
    shown = float(f"{value:.1e}")
    return shown if shown >= value else float(f"{value + 10.0 ** (math.floor(math.log10(value)) - 1):.1e}")
