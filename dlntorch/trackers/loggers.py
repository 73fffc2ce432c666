"""The loggers of a run: W&B (offline where no key is), CSV, TensorBoard, or none."""

from __future__ import annotations

import contextlib
import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger

from dlntorch.numerics.validation import DataWarning, InputError, check_choice, check_number
from dlntorch.store.folder import atomic_write
from dlntorch.trackers.registry import TRACKERS, tracker
from dlntorch.trackers.wandb_mode import prepared_wandb_mode, wandb_mode

__all__ = [
    "check_logger",
    "finish_logger",
    "log_history",
    "logged_before",
    "make_logger",
    "open_logger",
]

#: Groups whose choice is a tag of a W&B run, and the lengths that W&B takes.
TAGGED = ("problem", "model", "optimizer", "schedule")
LONGEST_TAG, LONGEST_NAME = 64, 128


def check_logger(config: Mapping[str, Any]) -> None:
    """Refuse a group ``logger`` that no logger can be made of; for runs whose loggers are opened after training only."""
    name = check_choice("logger", config["name"], tuple(TRACKERS))
    if name == "tensorboard" and find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        raise InputError("logger=tensorboard must have tensorboard installed: pip install tensorboard")
    if name != "wandb":
        return
    wandb_mode(config["offline"])
    check_number("logger.timeout", config["timeout"], above=0)


@contextlib.contextmanager
def open_logger(
    config: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any], resumed: bool = False
) -> Iterator[Any]:
    """:func:`make_logger`'s logger, closed when the block is left by an error or by a requeued job's exit."""
    logger = make_logger(config, folder, run_config, resumed)
    try:
        yield logger
    except BaseException as error:
        if isinstance(logger, _StepAndTimeLogger):
            if isinstance(error, SystemExit):
                logger.run.mark_preempting()
            logger.run.finish(exit_code=1)
        raise


def make_logger(config: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any], resumed: bool = False) -> Any:
    """The Lightning logger that ``config`` (the group ``logger``) asks for, or None.

    None too where W&B is disabled. A resumed run continues the W&B run that it began. W&B metrics are defined against
    the step and against t: every metric exists as ``x`` (axis ``step``) and as ``by_t/x`` (axis ``t``).
    """
    check_logger(config)
    name = config["name"]
    if name == "none":
        return None
    if name == "csv":
        from lightning.pytorch.loggers import CSVLogger

        return CSVLogger(folder, name="", version="csv")
    if name == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="", version="tensorboard")
    return _wandb_logger(config, folder, run_config, resumed)


def _wandb_logger(config: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any], resumed: bool) -> Any:
    mode = prepared_wandb_mode(config["offline"])
    if mode == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")  # one closing table, not a page of W&B's own
    from lightning.pytorch.loggers import WandbLogger

    run_id = _run_id(config["run_id"], folder, resumed)
    try:
        run = _wandb_run(config, folder, run_config, run_id, mode)
    except Exception as error:
        if mode == "offline":
            raise
        why = " ".join(str(error).split())[:200]
        if config["offline"] is False:
            raise InputError(
                f"logger.offline must be auto or true where W&B cannot be used, got False ({why})"
            ) from None
        text = f"W&B cannot be used ({why}); this run is logged offline, send it later with `wandb sync {folder}/wandb`"
        warnings.warn(text, DataWarning, stacklevel=2)
        import wandb

        wandb.teardown()  # W&B's service would keep the id for the run that could not begin
        run = _wandb_run(config, folder, run_config, run_id, "offline")
    run.define_metric("step", hidden=True)
    run.define_metric("t", hidden=True)
    run.define_metric("*", step_metric="step")
    run.define_metric("by_t/*", step_metric="t")
    return _StepAndTimeLogger(WandbLogger(experiment=run), run)


def _wandb_run(config: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any], run_id: str, mode: Any) -> Any:
    import wandb

    seconds = float(config["timeout"])
    return wandb.init(
        project=config["project"],
        entity=config["entity"],
        group=config["group"],
        name=config["run_name"] or _run_name(run_config),
        id=run_id,
        tags=_tags(config, run_config),
        dir=str(folder),
        mode=mode,
        resume="allow",
        config=dict(run_config),
        settings=wandb.Settings(
            console="off",
            x_disable_stats=True,
            disable_git=True,
            disable_code=True,
            x_save_requirements=False,  # a third of a second for each run; the summary has the versions
            init_timeout=seconds,
            finish_timeout=seconds,
        ),
    )


def _run_name(run_config: Mapping[str, Any]) -> str | None:
    """What a person looks for, as in ``gaussian p=3 alpha=0.001``; None, and W&B makes one up, where it is not known."""
    problem, lists = _name_of(run_config, "problem"), run_config.get("ensemble") or {}
    several = any(isinstance(value, list) for value in lists.values())
    shown = [f"{key}={_short(run_config.get(key))}" for key in ("p", "alpha") if lists.get(key) is None]
    if problem is None or any(word.endswith("=None") for word in shown):
        return None
    return " ".join([problem, *(["ensemble"] if several else []), *shown])[:LONGEST_NAME]


def _short(value: Any) -> str:
    return f"({len(value)} values)" if isinstance(value, list) else str(value)


def _tags(config: Mapping[str, Any], run_config: Mapping[str, Any]) -> list[str]:
    """The user's tags, then the choices that runs are filtered by."""
    chosen = [_name_of(run_config, group) for group in TAGGED]
    tags = [*map(str, config["tags"] or []), *(name for name in chosen if name)]
    return list(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags))


def _name_of(run_config: Mapping[str, Any], group: str) -> str | None:
    """What is chosen in a group: of a problem from a file, the file."""
    inside = run_config.get(group)
    if not isinstance(inside, Mapping):
        return None
    path = inside.get("path")
    return Path(path).stem if isinstance(path, str) and path else inside.get("name")


def _run_id(given: str | None, folder: Path, resumed: bool) -> str:
    """The W&B run id: as given, or the one that this folder's run began with, or a new one, kept in the folder."""
    file = folder / "wandb" / "run_id.txt"
    if given is None and resumed and file.is_file():
        return file.read_text().strip()
    run_id = secrets.token_hex(4) if given is None else str(given)
    atomic_write(file, run_id.encode())
    return run_id


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
        self.run.log({**metrics, **by_time}, step=step)

    def finalize(self, status: str) -> None:
        self.inner.finalize(status)


def logged_before(config: Mapping[str, Any], step: Any) -> int:
    """The last step that a resumed run's logger has already, from the one that its checkpoint names; −1 for none."""
    return int(step) if step is not None and tracker(config).continues else -1


def log_history(logger: Any, history: Mapping[str, np.ndarray], after: int = -1) -> None:
    """Log a finished run's recorded steps past step ``after``, as they would have been logged while the run went on."""
    if logger is None:
        return
    for i, step in enumerate(history["step"]):
        if step > after:
            logger.log_metrics({name: float(values[i]) for name, values in history.items()}, step=int(step))


def finish_logger(
    logger: Any,
    summary: Mapping[str, Any],
    figures: Mapping[str, Path],
    exit_code: int,
    history: Mapping[str, np.ndarray] | None = None,
    tables: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """Send what a finished run adds (summary, figures, a table of its path, others), and close the logger.

    A logger that fails here costs a warning only: all of this is in the run folder.

    Args:
        logger: What :func:`make_logger` made.
        summary: The run's summary.
        figures: Figures by name.
        exit_code: 0 for a run that ended well.
        history: The run's measured columns.
        tables: Makes more W&B tables by name.
    """
    try:
        if isinstance(logger, _StepAndTimeLogger):
            logger.run.summary.update(dict(summary))
            path = {} if history is None else {"trajectory": _trajectory_table(history)}
            extra = _images(figures) | path | dict(tables())
            if extra:
                # a W&B run that is resumed offline would count on from step 0
                last = {"step": summary["steps"]} | ({"t": summary["time"]} if "time" in summary else {})
                logger.run.log({**last, **extra}, step=int(summary["steps"]))
            logger.run.finish(exit_code=exit_code)
        elif logger is not None:
            logger.save()
            logger.finalize("success" if exit_code == 0 else "failed")
    except Exception as error:
        text = f"the logger could not be closed: {' '.join(str(error).split())}"
        warnings.warn(text, DataWarning, stacklevel=2)


def _images(figures: Mapping[str, Path]) -> dict[str, Any]:
    import wandb

    return {f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()}


def _trajectory_table(history: Mapping[str, np.ndarray]) -> Any:
    import wandb

    rows = [list(row) for row in zip(*(values.tolist() for values in history.values()), strict=True)]
    return wandb.Table(columns=[*history], data=rows)
