"""Lightning callbacks of a run: metrics, checkpoints, signals, the progress bar."""

from __future__ import annotations

import contextlib
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np

from dlntorch.numerics.durations import format_seconds
from dlntorch.numerics.validation import DataWarning, InputError
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.measure import GROUP, Measurer
from dlntorch.training.module import SGDModule
from dlntorch.training.recorder import Recorder

if TYPE_CHECKING:  # a run of vectors need not load the matrices
    from dlntorch.matrix.network_descent import NetworkDescent
    from dlntorch.matrix.recorder import LayerRecorder

__all__ = ["CheckpointCallback", "EnsembleCallback", "MetricsCallback", "SignalCallback", "make_progress_bar"]


def _running(module: pl.LightningModule) -> Descent | EnsembleDescent | NetworkDescent:
    if not isinstance(module, SGDModule):
        raise TypeError(f"these callbacks accompany SGDModule, got {type(module).__name__}")
    return module.descent


def _descent(module: pl.LightningModule) -> Descent | NetworkDescent:
    descent = _running(module)
    if isinstance(descent, EnsembleDescent):
        raise TypeError("this callback accompanies one network, got an ensemble")
    return descent


def _logs_in_its_place(module: pl.LightningModule) -> None:
    """Each step reaches the loggers once: from a callback, where one logs, and from the module otherwise."""
    if isinstance(module, SGDModule):
        module.to_loggers = False


class _Sender:
    """Sends rows to loggers. One that raises is left out from then on, with one warning: the run folder has it all too."""

    def __init__(self) -> None:
        self._broken: list[Any] = []

    def send(self, loggers: Sequence[Any], row: Mapping[str, float], step: int) -> None:
        for logger in loggers:
            if logger in self._broken:
                continue
            try:
                logger.log_metrics(row, step=step)
            except Exception as error:
                self._broken.append(logger)
                text = f"the logger {type(logger).__name__} failed and is left out: {' '.join(str(error).split())}"
                warnings.warn(text, DataWarning, stacklevel=3)


class MetricsCallback(pl.Callback):
    """Measures recorded snapshots and sends them to the loggers.

    While training runs, it measures only when the time it has taken stays below ``share`` of the training's; what is
    left waits and is measured at the end. What is logged is therefore a function of the run alone, only *when* is not.

    A logger that raises is left out from then on, with one warning: what is logged is in the run folder too.

    Args:
        measurer: What is measured.
        share: Bound on the time for logging, as a fraction of the training's wall time.
        logged_step: Last step that the loggers have from before; it and those before it are measured, not logged again.
    """

    def __init__(self, measurer: Measurer, share: float = 0.02, logged_step: int = -1) -> None:
        self.measurer = measurer
        self.share = share
        self.logged_step = logged_step
        self.columns: dict[str, list[np.ndarray]] = {}
        self.seconds = 0.0
        self._measured_step = -1
        self._cost = 0.0  # of the last group, the best guess of the next one's
        self._recorder: Recorder | LayerRecorder | None = None
        self._sender = _Sender()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if getattr(_descent(pl_module).network, "overrides_psi", False):
            raise InputError(
                "callbacks must not have MetricsCallback with a network that overrides psi: it measures θ₊^p − θ₋^p, "
                f"got {type(_descent(pl_module).network).__name__}"
            )
        _logs_in_its_place(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        descent = _descent(pl_module)
        if self.seconds + self._cost <= self.share * descent.wall_seconds:
            self.flush(trainer, descent, GROUP)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush(trainer, _descent(pl_module))

    def flush(self, trainer: pl.Trainer, descent: Descent | NetworkDescent, multiple: int = 1) -> None:
        """Measure and log the snapshots not measured yet, a multiple of ``multiple`` of them."""
        self._recorder = descent.recorder
        snapshots: Sequence[Any] = descent.recorder.snapshots
        if not snapshots or snapshots[-1].step <= self._measured_step:
            return
        waiting: list[Any] = [s for s in snapshots if s.step > self._measured_step]
        waiting = waiting[: len(waiting) // multiple * multiple]
        if not waiting:
            return
        began = time.perf_counter()
        measured = self.measurer.measure(waiting)
        for name, values in measured.items():
            self.columns.setdefault(name, []).append(values)
        for i, snapshot in enumerate(waiting):
            if snapshot.step > self.logged_step:
                row = {name: float(values[i]) for name, values in measured.items()}
                self._sender.send(trainer.loggers, row, snapshot.step)
                self.logged_step = snapshot.step
        self._measured_step = waiting[-1].step
        self._cost = time.perf_counter() - began
        self.seconds += self._cost

    def history(self) -> dict[str, np.ndarray]:
        """All measured columns, one entry for each step that the recorder still has: a long record is thinned."""
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        if not columns or self._recorder is None:
            return columns
        kept = np.isin(columns["step"], self._recorder.column("step"))
        return {name: values[kept] for name, values in columns.items()}


class CheckpointCallback(pl.Callback):
    """Writes a checkpoint between blocks: when training starts, every ``every_seconds``, and however training ends.

    One that cannot be written (disk full, folder read-only) is announced once and tried again at the next turn; the
    one before it stays, so nothing that was saved is lost.

    Args:
        write: Writes the descent's state to its place, whole or not at all.
        every_seconds: Time between checkpoints.
        metrics: Its last logged step is saved too, so that a resumed run logs each step once.
    """

    def __init__(
        self,
        write: Callable[[dict[str, Any]], None],
        every_seconds: float = 60.0,
        metrics: MetricsCallback | None = None,
    ) -> None:
        self.write = write
        self.every_seconds = every_seconds
        self.metrics = metrics
        self.failure: OSError | None = None
        self._last = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if time.monotonic() - self._last >= self.every_seconds:
            self.save(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(pl_module)

    def save(self, module: pl.LightningModule) -> None:
        """Write a checkpoint now."""
        state = _running(module).state_dict()
        if self.metrics is not None:
            state["logged_step"] = self.metrics.logged_step
        self._last = time.monotonic()
        try:
            self.write(state)
        except OSError as error:
            if self.failure is None:
                text = f"{error}; the run goes on, and the checkpoint before it stays"
                warnings.warn(text, DataWarning, stacklevel=2)
            self.failure = error
        else:
            self.failure = None


class EnsembleCallback(pl.Callback):
    """Sends to the loggers how an ensemble is coming along: networks ended, steps of all, steps/s, largest residual.

    Args:
        every_seconds: Time between two entries; there is always one at the end.
    """

    def __init__(self, every_seconds: float = 2.0) -> None:
        self.every_seconds = every_seconds
        self._last = time.monotonic()
        self._sender = _Sender()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _logs_in_its_place(pl_module)

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
        self._sender.send(trainer.loggers, {k: v for k, v in row.items() if math.isfinite(v)}, ensemble.steps)


class SignalCallback(pl.Callback):
    """SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 act between steps: the signal sets a flag, the checkpoint is written after the block.

    Where the program had no handler of its own, the run then ends as ``interrupted``. Where it had one (submitit's,
    which requeues the job and exits), that one is called once the checkpoint is whole; if it returns, training goes on.
    What the program ignored (SIGINT, for a script's background jobs) stays ignored.
    Lightning's own handlers may save in the middle of a step; they are replaced while training runs, and the handlers
    from before are put back afterwards. A second SIGINT interrupts at once.

    Args:
        save: Writes the checkpoint; left out where none is kept.
    """

    SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")

    def __init__(self, save: Callable[[pl.LightningModule], None] = lambda module: None) -> None:
        self.save = save
        self.received: str | None = None
        self._pending: tuple[int, FrameType | None] | None = None
        self._descent: Descent | EnsembleDescent | NetworkDescent | None = None
        # taken here, before the trainer puts its own in their place
        numbers = [int(getattr(signal, name)) for name in self.SIGNALS if hasattr(signal, name)]
        self._before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._descent = _running(pl_module)
        self._install()

    def _install(self) -> None:
        for number, before in self._before.items():
            try:  # those ignored too, where Lightning has put its own handler
                signal.signal(number, signal.SIG_IGN if before is signal.SIG_IGN else self._handle)
            except ValueError:  # not in the main thread: signals cannot reach this run
                return

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        before = self._before[number]
        if callable(before) and before is not signal.default_int_handler:
            self._pending = (number, frame)
        elif self._descent is not None:
            self._descent.interrupt()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self._pending is None:
            return
        (number, frame), self._pending, self.received = self._pending, None, None
        self.save(pl_module)
        self.restore()
        try:
            self._before[number](number, frame)
        except Exception as error:  # submitit's way to say that the job may not be requeued any more
            warnings.warn(f"the run ends here: {' '.join(str(error).split())}", DataWarning, stacklevel=2)
            _running(pl_module).interrupt()
        self._install()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold back signals that would end the process until the block is done, then deliver them."""
        held: list[int] = []
        ours = [n for n, before in self._before.items() if before in (signal.SIG_DFL, signal.default_int_handler)]
        try:
            for number in ours:
                signal.signal(number, lambda number, _: held.append(number))
        except ValueError:  # not in the main thread
            ours = []
        try:
            yield
        finally:
            self.restore()
            for number in held[:1]:
                signal.raise_signal(number)

    def restore(self) -> None:
        """Put the handlers from before back."""
        for number, handler in self._before.items():
            try:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            except ValueError:
                return

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.restore()


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
                of_many = isinstance(descent, EnsembleDescent)
                line = (ensemble_line if of_many else progress_line)(descent, predicted_steps)  # type: ignore[arg-type]
                self.bar.update(self.task, completed=descent.steps, line=line)

        def stop(self) -> None:
            if self.bar is not None:
                self.bar.stop()
                self.bar = None

        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.stop()

        def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
            self.stop()

    return Bar()


def progress_line(descent: Descent | NetworkDescent, predicted_steps: float | None) -> str:
    """Steps, steps/s, t, relative residual, and the time left to the predicted end or to the step budget."""
    steps, now = descent.steps, descent.metrics()
    speed = steps / descent.wall_seconds if descent.wall_seconds > 0 else 0.0
    line = f"{steps:,} steps  {speed:,.0f}/s  t={now['t']:.3g}  residual={now['residual']:.1e}"
    end, what = predicted_steps, "expected"
    if end is None or end < steps:
        end, what = float(descent.max_steps), "at most"
    if speed > 0 and math.isfinite(end):
        line += f"  {what} {format_seconds((end - steps) / speed)} left"
    return line


def ensemble_line(ensemble: EnsembleDescent, predicted_steps: float | None) -> str:
    """Networks ended, steps of all networks and steps/s, and the time left to the predicted end."""
    steps, ended = ensemble.steps, len(ensemble) - len(ensemble.running)
    speed = steps / ensemble.wall_seconds if ensemble.wall_seconds > 0 else 0.0
    line = f"{ended} of {len(ensemble)} networks ended  {steps:,} steps  {speed:,.0f}/s"
    if predicted_steps is not None and speed > 0 and steps < predicted_steps:
        line += f"  expected {format_seconds((predicted_steps - steps) / speed)} left"
    return line
