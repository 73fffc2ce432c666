"""Training that is watched: through Lightning, with checkpoints, signals, loggers and a progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.numerics.validation import check_flag, check_number
from dlntorch.run.lifecycle import Networks, Training
from dlntorch.run.places import Place

if TYPE_CHECKING:
    from dlntorch.training.callbacks import MetricsCallback, SignalCallback

__all__ = ["TrainingOptions", "WatchedTraining", "training_options"]


@dataclass(frozen=True)
class TrainingOptions:
    """How training is watched.

    Attributes:
        logging_share: Bound on the time for measuring and logging, as a fraction of the training's wall time.
        checkpoint_seconds: Time between checkpoints.
        block_seconds: About how long a block of steps lasts.
        progress: Whether a progress bar is shown.
    """

    logging_share: float
    checkpoint_seconds: float
    block_seconds: float
    progress: bool


def training_options(config: Mapping[str, Any]) -> TrainingOptions:
    """The options of a configuration, checked."""
    trainer, callbacks = config["trainer"], config["callbacks"]
    check_flag("trainer.progress", trainer["progress"])
    return TrainingOptions(
        check_number("callbacks.logging_share", callbacks["logging_share"], at_least=0, at_most=1),
        check_number("callbacks.checkpoint_seconds", callbacks["checkpoint_seconds"], above=0),
        check_number("trainer.block_seconds", trainer["block_seconds"], above=0, at_most=60),
        trainer["progress"],
    )


class WatchedTraining(Training):
    """Trains through Lightning.

    A network by itself is measured and logged while it is trained; networks side by side are measured at the end.

    Args:
        options: How it is watched.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.places: Sequence[Place] = ()
        self._loggers: list[Any] = []
        # of the last pass
        self._metrics: MetricsCallback | None = None
        self._signals: SignalCallback | None = None

    def open(self, places: Sequence[Place], stack: contextlib.ExitStack) -> None:
        self.places = places
        for place in places:
            place.logger = stack.enter_context(place.open_logger())
        self._loggers = [place.logger for place in places if place.logger is not None]

    def fit(self, networks: Networks) -> None:
        from dlntorch.training.callbacks import (
            CheckpointCallback,
            EnsembleCallback,
            MetricsCallback,
            SignalCallback,
            make_progress_bar,
        )
        from dlntorch.training.fit import fit_descent

        options = self.options
        if not networks.side_by_side:
            (plan,), logged = networks.plans, getattr(self.places[0], "logged", -1)
            self._metrics = MetricsCallback(plan.measurer(), options.logging_share, logged)
        checkpoints = CheckpointCallback(self._save, options.checkpoint_seconds, self._metrics)
        self._signals = SignalCallback(checkpoints.save)
        callbacks = [self._metrics or EnsembleCallback(), checkpoints, self._signals]
        if options.progress:
            callbacks.append(make_progress_bar(networks.predicted_steps))
        fit_descent(networks.running, callbacks, self._loggers or None)

    def _save(self, state: Mapping[str, Any]) -> None:
        for place in self.places:
            place.save(state)

    def measured(self) -> tuple[list[dict[str, np.ndarray]], list[float]] | None:
        return None if self._metrics is None else ([self._metrics.history()], [self._metrics.seconds])

    @property
    def received(self) -> str | None:
        return None if self._signals is None else self._signals.received

    def deferred(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._signals is None else self._signals.deferred()
