"""The saved view of a W&B project: built without a login, with logarithmic panels against t and against the step."""

from __future__ import annotations

import sys
import warnings

import pytest
import yaml

from dlntorch.numerics.validation import InputError
from dlntorch.report.wandb_workspace import wandb_workspace
from dlntorch.run.configuration import check_keys, config_directory
from dlntorch.training.measure import COLUMNS


def test_every_history_panel_is_logarithmic_and_shows_what_is_logged():
    pytest.importorskip("wandb_workspaces", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        view = wandb_workspace("project", "entity", group="sweep")
    sections = {section.name: section.panels for section in view.sections}
    for name, axis, prefix in (("Against the time t", "t", "by_t/"), ("Against the step", "step", "")):
        for panel in sections[name]:
            assert (panel.x, panel.log_x, panel.log_y) == (axis, True, True)
            assert {metric.removeprefix(prefix) for metric in panel.y} <= set(COLUMNS)
    assert "sweep" in str(view.runset_settings.filters)


def test_without_its_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(InputError, match="pip install wandb-workspaces"):
        wandb_workspace("project", "entity")


def test_the_agents_sweep_sets_keys_that_there_are():
    sweep = yaml.safe_load((config_directory() / "wandb" / "sweep.yaml").read_text())
    keys = {key.split(".")[0] for key in sweep["parameters"]}
    check_keys({key: {} if key == "problem" else 1 for key in keys})
    assert sweep["program"] == "train.py"
    assert "${args_no_hyphens}" in sweep["command"]
