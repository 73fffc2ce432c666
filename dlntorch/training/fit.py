"""Descents through a Lightning trainer, quietly."""

from __future__ import annotations

import logging
import signal
import warnings
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from dlntorch.training.data import ProblemDataModule
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.module import SGDModule

__all__ = ["fit_descent"]


def fit_descent(descent: Descent | EnsembleDescent, callbacks: list[pl.Callback], logger: Any = None) -> None:
    """Run a descent, or an ensemble of them, through a Lightning trainer, quietly.

    Raises:
        KeyboardInterrupt: at Ctrl-C, as from any other loop; Lightning itself would exit, and ignore SIGINT from then on.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.|torch\.jit")
        device = descent.problem.device
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            max_epochs=1,
            logger=logger if logger is not None else False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[LightningEnvironment()],  # one process; Lightning's own SLURM requeueing would save mid-step
        )
        before = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(SGDModule(descent, log_metrics=False), datamodule=ProblemDataModule(descent.problem))
        except SystemExit as left:
            if not isinstance(left.__context__, KeyboardInterrupt):
                raise  # a handler's own, such as submitit's
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
            raise left.__context__ from None
