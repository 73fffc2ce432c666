"""What every tracker promises, run over all that are registered: a finished run's numbers can be sent, and it closes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import dlntorch as dln
from dlntorch.trackers.loggers import check_logger, finish_logger, log_history, make_logger, open_logger
from dlntorch.trackers.registry import TRACKERS
from tests.test_architecture import ROOT

HISTORY = {"step": np.array([0.0, 10.0, 20.0]), "t": np.array([0.0, 0.1, 0.2]), "residual": np.array([1.0, 0.5, 0.1])}
SUMMARY = {
    "steps": 20,
    "time": 0.2,
    "status": "converged",
    "budget": {"discretization": 1e-3, "finite_time": None, "initialization": 1e-2, "dominant": "initialization"},
}


def group(name):
    """The group ``logger`` as the command line composes it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = OmegaConf.to_container(compose("train", overrides=[f"logger={name}"]).logger, resolve=True)
    return config | ({"offline": True} if name == "wandb" else {})  # nothing leaves the machine


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # the trackers' own imports
        warnings.filterwarnings("ignore", category=UserWarning, module="wandb|pydantic")
        yield


@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_s_numbers_are_sent_and_it_closes(name, tmp_path, recwarn):
    config = group(name)
    check_logger(config)
    logger = make_logger(config, tmp_path, {"p": 3, "alpha": 0.1, "problem": {"name": "gaussian"}})
    assert (logger is None) == (name == "none")
    log_history(logger, HISTORY)
    finish_logger(logger, SUMMARY, {}, 0, HISTORY)
    assert not [warning for warning in recwarn if issubclass(warning.category, dln.numerics.validation.DataWarning)]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert bool(written) == (name != "none")


@pytest.mark.parametrize("name", TRACKERS)
def test_an_error_inside_leaves_nothing_open_and_is_not_hidden(name, tmp_path):
    with pytest.raises(ZeroDivisionError), open_logger(group(name), tmp_path, {"p": 3}):
        raise ZeroDivisionError


def test_an_unknown_name_is_one_line():
    with pytest.raises(dln.InputError, match="^logger must be one of " + ", ".join(TRACKERS)):
        check_logger(group("none") | {"name": "mlflow"})
