"""The saddles that theory predicts for a run, as guides over its coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlntorch.report.style import GREY
from dlntorch.run.predicted_saddles import PredictedSaddles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axis_end", "draw_guides"]

#: A path of more jumps is drawn without the lines at its jumps, which would be a grey area.
MOST_LINES = 40
#: The steps of a run may bring a jump forward by so much: the axis goes on to where it was predicted.
LATE = 1.1


def axis_end(saddles: PredictedSaddles, shown: float) -> float:
    """Where an axis ends that is to show a run up to a time, and the jump that it then just made."""
    late = saddles.times[(saddles.times >= shown) & (saddles.times < LATE * shown)]
    return 1.01 * float(late[0]) if late.size else shown


def draw_guides(axes: Axes, saddles: PredictedSaddles, shown: list[int], begin: float, end: float) -> None:
    """Dotted lines at the predicted jumps between two times, and dotted levels of the saddles of some coordinates.

    Args:
        axes: The panel of the coefficients.
        saddles: The prediction.
        shown: Coordinates whose levels are drawn.
        begin: Where the axis begins.
        end: Where it ends.
    """
    inside = (saddles.times > begin) & (saddles.times < end)
    when = np.concatenate([[begin], saddles.times[inside], [end]])
    first = int(np.searchsorted(saddles.times, begin, side="right"))
    levels = saddles.psi[first : first + len(when) - 1]
    # pairs of ends of every plateau, broken by NaN from coordinate to coordinate
    x = np.append(np.repeat(when, 2)[1:-1], np.nan)
    lines = [np.append(np.repeat(levels[:, i], 2), np.nan) for i in shown]
    if lines:
        axes.plot(
            np.tile(x, len(lines)),
            np.concatenate(lines),
            color=GREY,
            linestyle=(0, (1, 1.6)),
            linewidth=1.2,
            zorder=2.6,
            label="saddles and jumps that theory predicts",
        )
    for time in saddles.times[inside] if inside.sum() <= MOST_LINES else ():
        axes.axvline(time, color=GREY, linestyle=(0, (1, 3)), linewidth=0.8, zorder=1.4)
