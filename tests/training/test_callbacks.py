"""What accompanies a run: loggers that fail, signals that are ignored, Ctrl-C, records that are thinned."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import Logger

import dlntorch as dln
from dlntorch.numerics.validation import DataWarning
from dlntorch.run.open_numbers import new_descent
from dlntorch.run.settings import RunSettings
from dlntorch.training.callbacks import EnsembleCallback, MetricsCallback, SignalCallback
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.fit import fit_descent
from dlntorch.training.measure import Measurer

PROBLEM = dln.Problem([[1.0, 1.0, 1.0], [3.0, 0.0, 1.0]], [3.0, 3.0])


def descent(engine: str = "eager") -> Descent:
    settings = RunSettings.checked(PROBLEM, 3, 0.1, tol=0, max_steps=200, engine=engine, references=False)
    return new_descent(PROBLEM, settings, block_seconds=1e-6)


@pytest.fixture(autouse=True)
def same_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores it
    yield
    signal.signal(signal.SIGINT, before)


class Broken(Logger):
    @property
    def name(self) -> str:
        return "broken"

    @property
    def version(self) -> str:
        return "broken"

    asked = 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.asked += 1
        raise RuntimeError("the server\nis gone")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize("many", [False, True])
def test_a_logger_that_fails_is_left_out_with_one_warning(many: bool) -> None:
    logger = Broken()
    run = EnsembleDescent([descent(), descent()], block_seconds=1e-6) if many else descent()
    sends = EnsembleCallback(every_seconds=0) if many else MetricsCallback(Measurer(PROBLEM, 3, {}), share=1)
    with pytest.warns(DataWarning, match="the logger Broken failed and is left out: the server is gone") as seen:
        fit_descent(run, [sends], logger)
    assert run.status == "max_steps"
    assert len(seen) == logger.asked == 1


def test_the_history_has_the_steps_that_a_thinned_record_has() -> None:
    run = descent()
    run.recorder.max_bytes = 1000
    metrics = MetricsCallback(Measurer(PROBLEM, 3, {}), share=1)
    fit_descent(run, [metrics])
    history = metrics.history()
    assert sum(map(len, metrics.columns["step"])) > len(run.recorder.snapshots)
    assert history["step"].tolist() == run.recorder.column("step").tolist()
    assert {len(values) for values in history.values()} == {len(history["step"])}


class AtFirstBlock(pl.Callback):
    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act

    def on_train_batch_end(self, *_: Any) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_ignored_signal_stays_ignored(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        run, signals = descent(), SignalCallback()
        fit_descent(run, [signals, AtFirstBlock(lambda: os.kill(os.getpid(), number))])
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert run.status == "max_steps"
    assert signals.received is None


def test_the_second_ctrl_c_is_a_keyboard_interrupt() -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit_descent(descent(), [SignalCallback(), AtFirstBlock(twice)])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_autograd_is_a_keyboard_interrupt_and_works_again() -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit_descent(descent("autograd"), [AtFirstBlock(lambda: signal.raise_signal(signal.SIGINT))])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handlers_own_exit_stays_one() -> None:
    def leave() -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit) as left:
        fit_descent(descent(), [AtFirstBlock(leave)])
    assert left.value.code == 7
