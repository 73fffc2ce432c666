"""What runs are drawn against: that which varies among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.report.axes import linear_axis, log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Horizontal", "choose_axis", "label_of", "varied_columns"]

#: So many whole numbers have a tick each.
FEW = 10

_LABELS = {"alpha": "initialization α", "p": "depth p", "network": "network"}
_SIGNS = {"alpha": "α"}


def label_of(key: str, value: Any) -> str:
    """``key = value`` as a legend says it."""
    number = isinstance(value, float | int) and not isinstance(value, bool)
    return f"{_SIGNS.get(key, key)} = {f'{value:g}' if number else value}"


def varied_columns(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """The columns that have more than one value (None is none), in the order in which one draws against them.

    α comes first, then other numbers in their order, p, what has names, and the seeds last.
    """

    def rank(key: str) -> int:
        if key == "alpha":
            return 0
        if key.endswith("seed"):
            return 4
        return (2 if key == "p" else 1) if _are_numbers(columns[key]) else 3

    several = [key for key, values in columns.items() if len({repr(v) for v in values if v is not None}) > 1]
    return sorted(several, key=rank)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, float | int) and not isinstance(v, bool) for v in values if v is not None)


@dataclass(frozen=True)
class Horizontal:
    """A horizontal axis.

    Attributes:
        key: The column that it shows.
        x: The place of every run, NaN where it has none.
        logarithmic: Whether the axis is.
        names: What stands at 0, 1, … where the column holds words.
    """

    key: str
    x: np.ndarray
    logarithmic: bool
    names: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the axis shows."""
        return _LABELS.get(self.key, self.key)

    @property
    def ordered(self) -> bool:
        """Whether a line from point to point means anything: between seeds and words it does not."""
        return not self.names and not self.key.endswith("seed") and self.key != "network"

    def draw(self, axes: Axes) -> None:
        """Set the limits and the ticks."""
        shown = self.x[np.isfinite(self.x)]
        if self.logarithmic:
            log_axis(axes, "x", [shown])
            return
        power = linear_axis(axes, "x", float(shown.min()), float(shown.max()))
        if power:
            axes.text(1.0, -0.16, f"in {power}", transform=axes.transAxes, ha="right", size=9)
        places = np.unique(shown)
        if (
            not power and len(places) <= FEW and np.array_equal(places, np.round(places))
        ):  # rows, seeds: nothing between
            axes.set_xticks(places, [f"{place:.0f}" for place in places])
        if self.names:
            axes.set_xlim(-0.5, len(self.names) - 0.5)
            short = [name if len(name) <= 14 else name[:13] + "…" for name in self.names]
            axes.set_xticks(range(len(self.names)), short if len(short) <= 8 else [""] * len(short))


def choose_axis(columns: Mapping[str, Sequence[Any]], count: int) -> Horizontal:
    """What ``count`` runs are drawn against: the first of :func:`varied_columns`, else α, else their numbers."""
    keys = [*varied_columns(columns), *(["alpha"] if any(v is not None for v in columns.get("alpha", ())) else [])]
    if not keys:
        return Horizontal("network", np.arange(count, dtype=np.float64), False)
    key, values = keys[0], columns[keys[0]]
    if not _are_numbers(values):
        names = list(dict.fromkeys(str(value) for value in values if value is not None))
        places = [np.nan if value is None else float(names.index(str(value))) for value in values]
        return Horizontal(key, np.array(places), False, names)
    x = np.array([np.nan if value is None else float(value) for value in values])
    shown = x[np.isfinite(x)]
    decades = key == "alpha" or (shown.min() > 0 and shown.max() >= 10 * shown.min() and not key.endswith("seed"))
    return Horizontal(key, x, bool(decades))
