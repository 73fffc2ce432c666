"""The loggers of an ensemble: one W&B run with tables, or one logger for each network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlntorch.experiment.ensemble_result import EnsembleResult, network_rows
from dlntorch.experiment.folder import RunFolder
from dlntorch.experiment.loggers import finish_logger, log_history, make_logger
from dlntorch.experiment.members import member_configs

__all__ = ["close_loggers", "open_logger"]

#: Rows that a W&B table is shown with; longer paths are thinned.
TABLE_ROWS = 10_000


def _is_one(config: Mapping[str, Any]) -> bool:
    return config["logger"]["name"] == "wandb" and config["ensemble"]["wandb"] == "one"


def open_logger(config: Mapping[str, Any], place: RunFolder, resumed: bool = False) -> Any:
    """The logger that follows the whole ensemble while it trains (one W&B run), or None."""
    return make_logger(config["logger"], place.path, config, resumed) if _is_one(config) else None


def close_loggers(logger: Any, result: EnsembleResult, figures: Mapping[str, Path]) -> None:
    """Send what a finished ensemble adds, and close its loggers.

    With one W&B run: the tables ``networks`` and ``trajectory``, the summary and the figures. Else every network gets a
    logger of its own, with its recorded steps and its summary.
    """
    if _is_one(result.config):
        logger.run.log({"networks": _networks_table(result), "trajectory": _trajectory_table(result)})
        flat = {key: value for key, value in result.summary.items() if key != "networks"}
        finish_logger(logger, flat, figures, 3 if result.status.ended_badly else 0)
        return
    if result.config["logger"]["name"] == "none":
        return
    if result.folder is None:
        raise RuntimeError("an ensemble with loggers has a folder")
    configs = member_configs(result.config)
    for i, (network, config) in enumerate(zip(result, configs, strict=True)):
        own = make_logger(_named(result, i), result.folder / "networks" / str(i), config)
        log_history(own, network.history)
        finish_logger(own, network.summary, {}, 3 if network.status.ended_badly else 0)


def _named(result: EnsembleResult, i: int) -> dict[str, Any]:
    """The logger's configuration for one network: W&B runs of an ensemble are a group."""
    config = dict(result.config["logger"])
    if config["name"] == "wandb" and result.folder is not None:
        name = config["run_name"] or result.folder.name
        config["group"] = config["group"] or name
        config["run_name"] = f"{name}-{i}"
        config["run_id"] = None if config["run_id"] is None else f"{config['run_id']}-{i}"
    return config


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
