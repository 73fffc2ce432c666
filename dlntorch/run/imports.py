"""Imports that take seconds, in the order and the way in which they take the fewest."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import sys
from collections.abc import Mapping
from typing import Any

from dlntorch.trackers.registry import tracker
from dlntorch.trackers.wandb_mode import prepared_wandb_mode

__all__ = ["import_libraries"]


def import_libraries(logger: Mapping[str, Any]) -> None:
    """Import what a run from the command line needs beside torch: W&B, where it is the logger, and Lightning.

    Without garbage collection: a module's objects stay, and to look through all of them again and again while they grow
    takes a third of the time of importing Lightning. Later collections pass over them too. W&B goes first: its pydantic
    looks through every module loaded so far, 80 times (for the docstrings of its models' fields), which after Lightning
    alone takes two seconds.

    Args:
        logger: The group ``logger`` of the configuration.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        slow = tracker(logger).slow_import
        if slow and prepared_wandb_mode(logger["offline"]) != "disabled":
            with contextlib.suppress(ImportError):  # not there, or rearranged: wandb.init says so, or imports it itself
                importlib.import_module(slow)
        if "lightning" not in sys.modules:
            importlib.import_module("dlntorch.training.callbacks")
            gc.freeze()
            atexit.register(gc.unfreeze)  # extension modules report what they find frozen at the end as leaks
    finally:
        if collecting:
            gc.enable()
