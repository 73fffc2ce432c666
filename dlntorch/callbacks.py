"""Lightning callbacks of a run: metrics, checkpoints, signals, the progress bar."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import numpy as np

from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.measure import Measurer
from dlntorch.training.module import SGDModule

__all__ = ["CheckpointCallback", "EnsembleCallback", "MetricsCallback", "SignalCallback", "make_progress_bar"]


def _running(module: pl.LightningModule) -> Descent | EnsembleDescent:
    if not isinstance(module, SGDModule):
        raise TypeError(f"these callbacks accompany SGDModule, got {type(module).__name__}")
    return module.descent


def _descent(module: pl.LightningModule) -> Descent:
    descent = _running(module)
    if not isinstance(descent, Descent):
        raise TypeError("this callback accompanies one network, got an ensemble")
    return descent


class MetricsCallback(pl.Callback):
    """Measures recorded snapshots and sends them to the loggers.

    While training runs, it measures only when the time it has taken stays below ``share`` of the training's; what is
    left waits and is measured at the end. What is logged is therefore a function of the run alone, only *when* is not.

    Args:
        measurer: What is measured.
        share: Bound on the time for logging, as a fraction of the training's wall time.
    """

    def __init__(self, measurer: Measurer, share: float = 0.02) -> None:
        self.measurer = measurer
        self.share = share
        self.columns: dict[str, list[np.ndarray]] = {}
        self.seconds = 0.0
        self._measured_step = -1
        self._cost = 0.0  # of the last group, the best guess of the next one's

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        descent = _descent(pl_module)
        if not descent.recorder.snapshots or descent.recorder.snapshots[-1].step <= self._measured_step:
            return
        if self.seconds + self._cost <= self.share * descent.wall_seconds:
            self.flush(trainer, descent)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush(trainer, _descent(pl_module))

    def flush(self, trainer: pl.Trainer, descent: Descent) -> None:
        """Measure and log every snapshot not measured yet."""
        waiting = [s for s in descent.recorder.snapshots if s.step > self._measured_step]
        if not waiting:
            return
        began = time.perf_counter()
        measured = self.measurer.measure(waiting)
        for name, values in measured.items():
            self.columns.setdefault(name, []).append(values)
        for i, snapshot in enumerate(waiting):
            row = {name: float(values[i]) for name, values in measured.items()}
            for logger in trainer.loggers:
                logger.log_metrics(row, step=snapshot.step)
        self._measured_step = waiting[-1].step
        self._cost = time.perf_counter() - began
        self.seconds += self._cost

    def history(self) -> dict[str, np.ndarray]:
        """All measured columns, one entry for each recorded step."""
        return {name: np.concatenate(parts) for name, parts in self.columns.items()}


class CheckpointCallback(pl.Callback):
    """Writes a checkpoint between blocks: every ``every_seconds``, and when training ends however it ends.

    Args:
        write: Writes the descent's state to its place, whole or not at all.
        every_seconds: Time between checkpoints.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None], every_seconds: float = 60.0) -> None:
        self.write = write
        self.every_seconds = every_seconds
        self._last = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if time.monotonic() - self._last >= self.every_seconds:
            self.save(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(pl_module)

    def save(self, module: pl.LightningModule) -> None:
        """Write a checkpoint now."""
        self.write(_running(module).state_dict())
        self._last = time.monotonic()


class EnsembleCallback(pl.Callback):
    """Sends to the loggers how an ensemble is coming along: networks ended, steps of all, steps/s, largest residual.

    Args:
        every_seconds: Time between two entries; there is always one at the end.
    """

    def __init__(self, every_seconds: float = 2.0) -> None:
        self.every_seconds = every_seconds
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if time.monotonic() - self._last >= self.every_seconds:
            self.send(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.send(trainer, pl_module)

    def send(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Log now."""
        self._last = time.monotonic()
        ensemble = _running(module)
        if not isinstance(ensemble, EnsembleDescent) or not trainer.loggers:
            return
        residuals = [descent.progress.residual for descent in ensemble.descents]
        row = {
            "step": float(ensemble.steps),
            "networks_ended": float(len(ensemble) - len(ensemble.running)),
            "steps_per_second": ensemble.steps / ensemble.wall_seconds if ensemble.wall_seconds > 0 else 0.0,
            "largest_residual": max(residuals),
        }
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if math.isfinite(v)}, step=ensemble.steps)


class SignalCallback(pl.Callback):
    """Turns SIGINT, SIGTERM and SIGUSR1 into a flag that ends the run after the current block.

    Lightning's own handlers may checkpoint in the middle of a step; they are replaced while training runs, and the
    handlers from before are put back afterwards. A second SIGINT interrupts at once.
    """

    SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}
        self._descent: Descent | EnsembleDescent | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._descent = _running(pl_module)
        for name in self.SIGNALS:
            number = getattr(signal, name, None)
            if number is None:
                continue
            try:
                self._before[number] = signal.signal(number, self._handle)
            except ValueError:  # not in the main thread: signals cannot reach this run
                return

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        if self._descent is not None:
            self._descent.interrupt()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()


def make_progress_bar(predicted_steps: float | None = None) -> pl.Callback:
    """A Rich progress bar with steps/s, t, residual and the time left (rich is imported here)."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    class Bar(pl.Callback):
        def __init__(self) -> None:
            self.bar: Progress | None = None
            self.task: Any = None
            self.shown = 0.0

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("SGD"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[line]}"),
                TimeElapsedColumn(),
                transient=True,
            )
            self.task = self.bar.add_task("SGD", total=predicted_steps, line="")
            self.bar.start()

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            if self.bar is not None and time.monotonic() - self.shown > 0.2:
                self.shown = time.monotonic()
                descent = _running(pl_module)
                if isinstance(descent, Descent):
                    self.bar.update(
                        self.task, completed=descent.progress.step, line=progress_line(descent, predicted_steps)
                    )
                else:
                    self.bar.update(self.task, completed=descent.steps, line=ensemble_line(descent, predicted_steps))

        def stop(self) -> None:
            if self.bar is not None:
                self.bar.stop()
                self.bar = None

        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.stop()

        def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
            self.stop()

    return Bar()


def progress_line(descent: Descent, predicted_steps: float | None) -> str:
    """Steps, steps/s, t, relative residual, and the time left to the predicted end or to the step budget."""
    progress = descent.progress
    speed = progress.step / descent.wall_seconds if descent.wall_seconds > 0 else 0.0
    scale = float(descent.problem.y.norm()) or 1.0
    residual = progress.residual / scale
    line = f"{progress.step:,} steps  {speed:,.0f}/s  t={progress.time:.3g}  residual={residual:.1e}"
    end, what = predicted_steps, "expected"
    if end is None or end < progress.step:
        end, what = float(descent.engine.stopping.max_steps), "at most"
    if speed > 0 and math.isfinite(end):
        line += f"  {what} {format_seconds((end - progress.step) / speed)} left"
    return line


def ensemble_line(ensemble: EnsembleDescent, predicted_steps: float | None) -> str:
    """Networks ended, steps of all networks and steps/s, and the time left to the predicted end."""
    steps, ended = ensemble.steps, len(ensemble) - len(ensemble.running)
    speed = steps / ensemble.wall_seconds if ensemble.wall_seconds > 0 else 0.0
    line = f"{ended} of {len(ensemble)} networks ended  {steps:,} steps  {speed:,.0f}/s"
    if predicted_steps is not None and speed > 0 and steps < predicted_steps:
        line += f"  expected {format_seconds((predicted_steps - steps) / speed)} left"
    return line


def format_seconds(seconds: float) -> str:
    """A duration for people: 8 s, 4 min, 3.2 h, 5 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} days"
