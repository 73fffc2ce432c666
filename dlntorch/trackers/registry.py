"""What each logger can do: one table, asked by whoever has to know, so that nobody compares names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlntorch.numerics.validation import check_choice

__all__ = ["TRACKERS", "Tracker", "tracker"]


@dataclass(frozen=True)
class Tracker:
    """What a logger can do.

    Attributes:
        logs: Whether it logs at all.
        holds_ensembles: Whether one of its runs can hold the tables of an ensemble; it groups runs, too.
        continues: Whether a resumed run goes on in it; else it starts its file anew.
        slow_import: What to import first, where its import is slow after others.
    """

    logs: bool = True
    holds_ensembles: bool = False
    continues: bool = True
    slow_import: str = ""


#: By the names of ``logger=``.
TRACKERS = {
    "wandb": Tracker(holds_ensembles=True, slow_import="wandb.sdk.launch.inputs.internal"),
    "csv": Tracker(continues=False),
    "tensorboard": Tracker(),
    "none": Tracker(logs=False),
}


def tracker(config: Mapping[str, Any]) -> Tracker:
    """That of a configuration's group ``logger``."""
    return TRACKERS[check_choice("logger", config["name"], tuple(TRACKERS))]
