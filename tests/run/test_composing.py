"""Points of a sweep that are made from one another are what Hydra composes."""

from __future__ import annotations

import json
import pickle

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

import dlntorch.cli.command_line  # noqa: F401  registers the resolvers of conf/
from dlntorch.sweep.composing import SweepLoader
from tests.run.conftest import ROOT


class Counting(ConfigLoaderImpl):
    """Hydra's loader; it counts what it composes, and can add something that no value explains."""

    def __init__(self, stamps: bool = False) -> None:
        super().__init__(create_config_search_path(str(ROOT / "conf")))
        self.composed, self.stamps = 0, stamps

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        self.composed += 1
        config = super().load_sweep_config(master_config, sweep_overrides)
        if self.stamps:
            with open_dict(config):
                config.stamp = self.composed
        return config


@pytest.fixture(autouse=True)
def _forget():
    before = dict(SweepLoader._known)
    SweepLoader._known.clear()
    yield
    SweepLoader._known.clear()
    SweepLoader._known.update(before)


def master_of(loader: ConfigLoader, *overrides: str) -> DictConfig:
    return loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)


def plain(config: DictConfig) -> str:
    return json.dumps(OmegaConf.to_container(config, resolve=False), default=repr)


POINTS = {
    "values": [[f"p={p}", f"alpha={alpha}", "tol=0"] for p in ("2", "2.5", "3.0") for alpha in ("1e-3", "0.1")],
    "nested": [[f"problem.seed={seed}", "callbacks.figures=false", "logger.offline=true"] for seed in range(5)],
    "groups": [[f"problem={name}", f"problem.seed={seed}"] for name in ("gaussian", "sparse") for seed in range(4)],
    "lists": [[f"ensemble.alpha=[{a},1e-3]", "ensemble.p=null"] for a in ("1e-1", "1e-2", "1e-3", "3")],
    "words": [[f"repeat={word}", "logger=none"] for word in ("null", "'a b'", "runs/x", "true", "1_000")],
    "experiment": [["experiment=planted", f"alpha={alpha}"] for alpha in ("1e-3", "1e-2", "3e-2", "1e-1")],
    "hydra": [["hydra/launcher=basic", f"alpha={alpha}"] for alpha in ("1e-3", "1e-2", "3e-2")],
}


@pytest.mark.parametrize("kind", POINTS)
def test_a_point_is_what_hydra_composes(kind):
    inner = Counting()
    loader, master = SweepLoader(inner), master_of(inner, *POINTS[kind][0])
    made = [loader.load_sweep_config(master, point) for point in POINTS[kind]]
    groups = len({point[0] for point in POINTS[kind]}) if kind == "groups" else 1
    assert inner.composed == 2 * groups
    for point, config in list(zip(POINTS[kind], made, strict=True))[-2:]:
        assert plain(config) == plain(inner.load_sweep_config(master, point))
        assert OmegaConf.is_struct(config)


def test_a_point_is_composed_once_for_sweeper_and_launcher():
    inner = Counting()
    loader, master = SweepLoader(inner), master_of(inner)
    first = loader.load_sweep_config(master, ["alpha=1e-3"])
    OmegaConf.set_readonly(first, True)  # what Hydra does to the one that it runs
    again = loader.load_sweep_config(master, ["alpha=1e-3"])
    assert inner.composed == 1
    assert plain(again) == plain(first)
    again.alpha = 2.0  # nobody else's, to write into


@pytest.mark.parametrize("override", ["alpha=0.1", "+new=1", "experiment=planted"])
def test_whoever_asks_for_a_point_and_however_often_may_write_into_it(override):
    inner = Counting()
    loader, master = SweepLoader(inner), master_of(inner)
    for _ in range(5):
        config = loader.load_sweep_config(master, [override])
        assert config.p == 3
        with open_dict(config):
            config.hydra.job.num, config.p = 7, 4
        OmegaConf.set_readonly(config, True)


def test_what_is_written_into_a_point_is_not_in_the_next():
    inner = Counting()
    loader, master = SweepLoader(inner), master_of(inner)
    for alpha in ("1e-1", "1e-2", "1e-3", "1e-4"):
        config = loader.load_sweep_config(master, [f"alpha={alpha}"])
        assert config.hydra.job.get("num", None) != 7
        assert config.p == 3
        with open_dict(config):
            config.hydra.job.num, config.p = 7, 4
        OmegaConf.set_readonly(config.hydra, True)


@pytest.mark.parametrize("override", ["+new=1", "++alpha=1e-2", "~trainer.threads", "ensemble={alpha:[1,2]}"])
def test_overrides_that_do_more_than_set_a_value_are_left_to_hydra(override):
    inner = Counting()
    loader, master = SweepLoader(inner), master_of(inner)
    for number in range(3):
        loader.load_sweep_config(master, [override, f"seed={number}"])
    assert inner.composed == 3


def test_points_that_hydra_composes_otherwise_are_left_to_it():
    inner = Counting(stamps=True)
    loader, master = SweepLoader(inner), master_of(inner)
    stamps = [loader.load_sweep_config(master, [f"seed={seed}"]).stamp for seed in range(4)]
    assert stamps == [1, 2, 3, 4]


def test_another_process_gets_the_loader_without_the_points_it_holds():
    inner = Counting()
    loader, master = SweepLoader(inner), master_of(inner)
    loader.load_sweep_config(master, ["alpha=1e-3"])
    sent = pickle.loads(pickle.dumps(loader))
    assert isinstance(sent, SweepLoader)
    assert sent._asked == {}
    with pytest.raises(Exception, match="alpah"):
        sent.load_sweep_config(master, ["alpah=1"])
