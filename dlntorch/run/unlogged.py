"""Loggers that hear of runs after training: one for each network, or one W&B run with tables for an ensemble."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlntorch.numerics.validation import DataWarning
from dlntorch.run.ensemble_result import EnsembleResult, network_rows
from dlntorch.run.members import KEYS
from dlntorch.run.quantities import quantities
from dlntorch.run.result import RunResult
from dlntorch.run.summary import PARTS_OF_ERROR, Budget
from dlntorch.trackers import loggers
from dlntorch.trackers.registry import tracker

__all__ = [
    "Unlogged",
    "budget_tables",
    "finish_ensemble_logger",
    "log_each",
    "open_ensemble_logger",
    "unlogged_networks",
]

#: Rows that a W&B table is shown with; longer paths are thinned.
TABLE_ROWS = 10_000


@dataclass
class Unlogged:
    """A finished run that its own logger has yet to hear of.

    Attributes:
        result: The run.
        logger: The group ``logger`` of its configuration.
        folder: Where its logger writes.
        config: Its configuration, for W&B.
        figures: Its figures by name.
        resumed: Whether it goes on from a checkpoint, and so continues a W&B run.
        logged: The last step that its logger has from before.
        tables: Whether W&B gets its path and error budget as tables too.
    """

    result: RunResult
    logger: Mapping[str, Any]
    folder: Path
    config: Mapping[str, Any]
    figures: Mapping[str, Path] = field(default_factory=dict)
    resumed: bool = False
    logged: int = -1
    tables: bool = True


def log_each(runs: Sequence[Unlogged]) -> list[int]:
    """Log finished runs, each through its own logger; returns the last step that each logger has now.

    A kind of logger that raises is left out from then on, with one warning: what is logged is in the run folders too, and
    one that cannot reach its server would be waited for again and again.
    """
    broken: set[str] = set()
    logged = [run.logged for run in runs]
    for i, run in enumerate(runs):
        name = run.logger["name"]
        if not tracker(run.logger).logs or name in broken:
            continue
        try:
            with loggers.open_logger(run.logger, run.folder, run.config, run.resumed) as logger:
                loggers.log_history(logger, run.result.history, run.logged)
        except Exception as error:
            broken.add(name)
            why = " ".join(str(error).split())
            text = f"logger={name} failed and is left out for {len(runs) - i} of {len(runs)} runs: {why}"
            warnings.warn(text, DataWarning, stacklevel=2)
            continue
        logged[i] = int(run.result.history["step"][-1])
        code = 3 if run.result.status.ended_badly else 0
        history, tables = (run.result.history, budget_tables(run.result.summary)) if run.tables else (None, dict)
        loggers.finish_logger(logger, run.result.summary, run.figures, code, history, tables)
    return logged


def budget_tables(summary: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """Makes W&B's table of the error budget, each part with its unit and meaning."""

    def make() -> dict[str, Any]:
        import wandb

        known, budget = dict(quantities(Budget)), summary["budget"]
        rows = [[part, budget[part], known[part].unit, known[part].words] for part in PARTS_OF_ERROR]
        return {"budget_table": wandb.Table(columns=["part", "error", "unit", "meaning"], data=rows)}

    return make


def _is_one(config: Mapping[str, Any]) -> bool:
    return tracker(config["logger"]).holds_ensembles and config["ensemble"]["wandb"] == "one"


def open_ensemble_logger(
    config: Mapping[str, Any], folder: Path, resumed: bool = False
) -> contextlib.AbstractContextManager[Any]:
    """The logger that follows a whole ensemble while it trains (one W&B run), or None; closed when an error leaves it."""
    if not _is_one(config):
        return contextlib.nullcontext()
    return loggers.open_logger(config["logger"], folder, config, resumed)


def finish_ensemble_logger(logger: Any, result: EnsembleResult, figures: Mapping[str, Path]) -> None:
    """Send what a finished ensemble adds to its one logger, the tables ``networks`` and ``trajectory``, and close it."""
    flat = {key: value for key, value in result.summary.items() if key != "networks"}
    tables = lambda: {"networks": _networks_table(result), "trajectory": _trajectory_table(result)}  # noqa: E731
    loggers.finish_logger(logger, flat, figures, 3 if result.status.ended_badly else 0, tables=tables)


def unlogged_networks(
    result: EnsembleResult,
    configs: Sequence[Mapping[str, Any]],
    resumed: bool = False,
    logged: Sequence[int] | None = None,
) -> list[Unlogged]:
    """The networks of an ensemble, each with a logger of its own; none where one logger has followed them all.

    Args:
        result: The ensemble, with its folder.
        configs: The configuration of each network.
        resumed: Whether it goes on from a checkpoint.
        logged: The last steps that the networks' own loggers have, from the checkpoint.
    """
    config, folder = result.config, result.folder
    if folder is None or _is_one(config) or not tracker(config["logger"]).logs:
        return []
    before = [loggers.logged_before(config["logger"], step) for step in logged or [None] * len(result)]
    return [
        Unlogged(network, _named(result, i), folder / "networks" / str(i), configs[i], {}, resumed, before[i], False)
        for i, network in enumerate(result)
    ]


def _named(result: EnsembleResult, i: int) -> dict[str, Any]:
    """The logger's configuration for one network: W&B runs of an ensemble are a group."""
    config = dict(result.config["logger"])
    if tracker(config).holds_ensembles and result.folder is not None:
        name = config["run_name"] or result.folder.name
        config["group"] = config["group"] or name
        config["run_name"] = f"{name}-{i} {_varied(result, i)}".rstrip()
        config["run_id"] = None if config["run_id"] is None else f"{config['run_id']}-{i}"
    return config


def _varied(result: EnsembleResult, i: int) -> str:
    """What distinguishes a network from the others: its entries of the lists in ``ensemble``."""
    asked = {key: value for key, value in result.config["ensemble"].items() if key in KEYS and isinstance(value, list)}
    return " ".join(f"{key}={value[i]}" for key, value in asked.items())


def _networks_table(result: EnsembleResult) -> Any:
    import wandb

    rows = network_rows(result.networks)
    return wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])


def _trajectory_table(result: EnsembleResult) -> Any:
    """The recorded steps of all networks, every so many of them where they are too many."""
    import wandb

    names = list(dict.fromkeys(name for network in result for name in network.history))
    total = sum(len(network.history["step"]) for network in result)
    stride = max(1, -(-total // TABLE_ROWS))
    data = []
    for i, network in enumerate(result):
        columns = [network.history.get(name) for name in names]
        for k in np.unique(np.r_[0 : len(network.history["step"]) : stride, len(network.history["step"]) - 1]):
            data.append([i, *(None if values is None else float(values[k]) for values in columns)])
    return wandb.Table(columns=["network", *names], data=data)
