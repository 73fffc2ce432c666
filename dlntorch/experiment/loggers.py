"""The loggers of a run: W&B (offline where no key is), CSV, TensorBoard, or none."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from lightning.pytorch.loggers import Logger

from dlntorch.validation import InputError, check_choice

__all__ = ["finish_logger", "has_wandb_key", "log_history", "make_logger"]

LOGGERS = ("wandb", "csv", "tensorboard", "none")


def make_logger(config: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any]) -> Any:
    """The Lightning logger that ``config`` (the group ``logger``) asks for, or None.

    W&B metrics are defined against the step and against t: every metric exists as ``x`` (axis ``step``) and as
    ``by_t/x`` (axis ``t``).
    """
    name = check_choice("logger", config["name"], LOGGERS)
    if name == "none":
        return None
    if name == "csv":
        from lightning.pytorch.loggers import CSVLogger

        return CSVLogger(folder, name="", version="csv")
    if name == "tensorboard":
        try:
            from lightning.pytorch.loggers import TensorBoardLogger

            return TensorBoardLogger(folder, name="", version="tensorboard")
        except ModuleNotFoundError:
            raise InputError("logger=tensorboard must have tensorboard installed: pip install tensorboard") from None
    return _wandb_logger(config, folder, run_config)


def has_wandb_key() -> bool:
    """Whether a W&B API key is there: in the environment or in the netrc file (its value is never read out)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _wandb_logger(config: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any]) -> Any:
    offline = config["offline"]
    if offline not in ("auto", True, False):
        raise InputError(f"logger.offline must be auto, true or false, got {offline!r}")
    if offline is False and not has_wandb_key():
        raise InputError("logger.offline must be auto or true where no W&B API key is (run `wandb login`), got False")
    os.environ.setdefault("WANDB_SILENT", "true")  # one closing table, not a page of W&B's own
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    run = wandb.init(
        project=config["project"],
        entity=config["entity"],
        group=config["group"],
        name=config["run_name"],
        id=config["run_id"],
        tags=list(config["tags"] or []),
        dir=str(folder),
        mode="offline" if offline is True or (offline == "auto" and not has_wandb_key()) else "online",
        resume="allow",
        config=dict(run_config),
        settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True, disable_code=True),
    )
    run.define_metric("step", hidden=True)
    run.define_metric("t", hidden=True)
    run.define_metric("*", step_metric="step")
    run.define_metric("by_t/*", step_metric="t")
    return _StepAndTimeLogger(WandbLogger(experiment=run), run)


class _StepAndTimeLogger(Logger):
    """Logs every metric twice: against the SGD step, and under ``by_t/`` against the time t."""

    def __init__(self, inner: Any, run: Any) -> None:
        super().__init__()
        self.inner = inner
        self.run = run

    @property
    def name(self) -> str | None:
        return self.inner.name

    @property
    def version(self) -> str | int | None:
        return self.inner.version

    @property
    def experiment(self) -> Any:
        """The W&B run."""
        return self.run

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.inner.log_hyperparams(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        by_time = {f"by_t/{k}": v for k, v in metrics.items() if k not in ("step", "t")}
        self.run.log({**metrics, **by_time})

    def finalize(self, status: str) -> None:
        self.inner.finalize(status)


def log_history(logger: Any, history: Mapping[str, np.ndarray]) -> None:
    """Log every recorded step of a finished run, as it would have been logged while the run went on."""
    if logger is None:
        return
    for i, step in enumerate(history["step"]):
        logger.log_metrics({name: float(values[i]) for name, values in history.items()}, step=int(step))


def finish_logger(logger: Any, summary: Mapping[str, Any], figures: Mapping[str, Path], exit_code: int) -> None:
    """Send what a finished run adds (summary, figures), and close the logger."""
    if logger is None:
        return
    if isinstance(logger, _StepAndTimeLogger):
        import wandb

        logger.run.summary.update(dict(summary))
        if figures:
            logger.run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})
        wandb.finish(exit_code=exit_code)
    else:
        logger.save()
        logger.finalize("success" if exit_code == 0 else "failed")
