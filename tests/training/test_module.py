"""The module in somebody's own trainer: its clock, its step count, its metrics, its checkpoints, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger

import dlntorch as dln
from dlntorch.engine import Stopping
from dlntorch.optim.step_size import make_schedule
from dlntorch.training.callbacks import MetricsCallback
from dlntorch.training.data import ProblemDataModule
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.measure import Measurer
from dlntorch.training.module import SGDModule
from tests.problems import gaussian

pytestmark = [
    # Lightning says so wherever SLURM is installed, as CI installs it
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),  # Lightning's own use of torch
    pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path., callbacks"),
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),
]

PROBLEM = gaussian(5, 12, 0)


def descent(engine: str = "fused", max_steps: int = 400, p: float = 3, tol: float = 0, **more: Any) -> Descent:
    schedule = make_schedule("relative", kappa=more.pop("kappa", 0.05))
    network = dln.DiagonalLinearNetwork(12, p, 0.1)
    return Descent(network, PROBLEM, schedule, Stopping(tol=tol, max_steps=max_steps), engine=engine, **more)


def alone(run: Descent) -> Descent:
    while run.advance() is None:
        pass
    return run


def trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": -1}
    keeps = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return pl.Trainer(
        accelerator="cpu", callbacks=list(callbacks), **{**quiet, "enable_checkpointing": keeps, **options}
    )


def same(one: Descent, other: Descent) -> bool:
    nets = (one.network, other.network)
    equal = [torch.equal(*(getattr(net, side) for net in nets)) for side in ("theta_plus", "theta_minus")]
    steps = [[s.step for s in run.recorder.snapshots] for run in (one, other)]
    return all(equal) and one.progress == other.progress and steps[0] == steps[1]


@pytest.mark.parametrize(
    ("engine", "batch_size"), [("autograd", None), ("fused", None), ("eager", None), ("fused", 2), ("autograd", 2)]
)
def test_a_run_resumed_by_ckpt_path_is_bitwise_the_one_that_never_stopped(engine, batch_size, tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path)
    first = trainer(keep)
    first.fit(SGDModule(descent(engine, 150, batch_size=batch_size)))
    assert first.global_step == 150
    going, second = descent(engine, 400, batch_size=batch_size), trainer()
    second.fit(SGDModule(going), ckpt_path=keep.best_model_path)
    assert same(going, alone(descent(engine, 400, batch_size=batch_size)))
    assert second.global_step == going.progress.step == 400


def test_a_trainers_budget_ends_a_run_at_its_very_step_and_the_next_trainer_goes_on(tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path)
    run, budget = descent(), trainer(keep, max_steps=217)
    budget.fit(SGDModule(run))
    assert (budget.global_step, run.progress.step, run.status) == (217, 217, None)
    assert Path(keep.best_model_path).name.endswith("step=217.ckpt")
    going = descent()
    trainer().fit(SGDModule(going), ckpt_path=keep.best_model_path)
    assert same(going, alone(descent()))


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_model_checkpoint_saves_at_every_so_many_sgd_steps(engine, tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path, filename="{step}", every_n_train_steps=90, save_top_k=-1)
    trainer(keep).fit(SGDModule(descent(engine)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step={k}.ckpt" for k in (180, 270, 360, 90)]
    at = descent(engine)
    trainer(max_steps=180).fit(SGDModule(at), ckpt_path=str(tmp_path / "step=180.ckpt"))
    assert at.progress.step == 180
    assert torch.equal(at.network.psi, alone(descent(engine, 180)).network.psi)


def test_early_stopping_and_the_best_checkpoint_see_the_residual(tmp_path):
    stop = EarlyStopping("residual", stopping_threshold=1e-3, patience=10**6, check_on_train_epoch_end=True)
    keep = ModelCheckpoint(tmp_path, monitor="residual", save_on_train_epoch_end=True, save_weights_only=True)
    run = descent("autograd", 10_000)
    trainer(stop, keep).fit(SGDModule(run), datamodule=ProblemDataModule(PROBLEM, blocks_per_epoch=10))
    assert run.status is None
    residual = run.progress.residual / float(PROBLEM.y.norm())
    assert residual < 1e-3
    assert float(keep.best_model_score) == residual
    assert stop.stopped_epoch == run.progress.step // 10 - 1
    before = alone(descent("autograd", run.progress.step - 10)).progress.residual / float(PROBLEM.y.norm())
    assert before >= 1e-3  # an epoch before, it was not small enough


class Kept(Logger):
    name, version = "kept", "kept"  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((int(step or 0), dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


def test_loggers_get_the_metrics_against_the_sgd_step_in_float64():
    kept, run = Kept(), descent()
    trainer(logger=kept, log_every_n_steps=1).fit(SGDModule(run))
    step, row = kept.rows[-1]
    assert step == run.progress.step == 400
    assert row["t"] == run.progress.time
    assert row["residual"] == run.progress.residual / float(PROBLEM.y.norm())
    assert row["loss"] == 0.5 * run.progress.residual**2
    assert row["eta"] == run.progress.eta


def test_each_step_is_logged_once_where_a_callback_logs():
    kept = Kept()
    metrics = MetricsCallback(Measurer(PROBLEM, 3, {}), share=1)
    trainer(metrics, logger=kept, log_every_n_steps=1).fit(SGDModule(descent()))
    steps = [step for step, _ in kept.rows]
    assert steps == sorted(set(steps)) == metrics.history()["step"].tolist()


def test_an_ensemble_counts_the_steps_of_all_networks_and_is_resumed_bitwise(tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path)
    first = trainer(keep)
    first.fit(SGDModule(EnsembleDescent([descent(max_steps=100), descent(max_steps=50, p=2)])))
    assert first.global_step == 150
    going = EnsembleDescent([descent(), descent(p=2)])
    trainer().fit(SGDModule(going), ckpt_path=keep.best_model_path)
    assert all(same(one, alone(descent(p=p))) for one, p in zip(going.descents, (3, 2), strict=True))
    with pytest.raises(dln.InputError, match="max_steps and every_n_train_steps must be left out for an ensemble"):
        trainer(max_steps=10).fit(SGDModule(EnsembleDescent([descent()])))


def checkpoint_of(run: Descent, folder: Path, **options: Any) -> str:
    keep = ModelCheckpoint(dirpath=folder, **options)
    trainer(keep).fit(SGDModule(run))
    return keep.best_model_path


def test_a_checkpoint_of_another_run_is_refused_in_one_line(tmp_path):
    saved = checkpoint_of(descent(max_steps=50), tmp_path)
    for other, key in ((descent(kappa=0.01), "kappa"), (descent("eager"), "engine"), (descent(p=2), "p")):
        with pytest.raises(dln.InputError, match=f"ckpt_path must continue the same run: its checkpoint has {key}="):
            trainer().fit(SGDModule(other), ckpt_path=saved)
    other = Descent(dln.DiagonalLinearNetwork(12, 3, 0.1), gaussian(5, 12, 1), make_schedule("relative"), Stopping())
    with pytest.raises(dln.InputError, match="ckpt_path must continue the same run: its checkpoint has problem="):
        trainer().fit(SGDModule(other), ckpt_path=saved)


def test_a_checkpoint_without_the_clock_is_refused(tmp_path):
    saved = torch.load(checkpoint_of(descent(max_steps=50), tmp_path), weights_only=True)
    del saved["descent"]
    torch.save(saved, tmp_path / "old.ckpt")
    with pytest.raises(dln.InputError, match="ckpt_path must be a checkpoint that SGDModule wrote"):
        trainer().fit(SGDModule(descent()), ckpt_path=str(tmp_path / "old.ckpt"))


def test_a_checkpoint_written_in_the_middle_of_a_block_cannot_be_taken_for_a_whole_one(tmp_path, monkeypatch):
    run, used = descent("eager"), trainer()
    module, step = SGDModule(run), Descent.advance

    def saves_first(self: Descent, at_most: int | None = None) -> Any:
        if self.progress.step > 20:
            used.save_checkpoint(tmp_path / "middle.ckpt")  # as Lightning's own signal handlers do
        return step(self, at_most)

    monkeypatch.setattr(Descent, "advance", saves_first)
    used.fit(module)
    monkeypatch.undo()
    with pytest.raises(dln.InputError, match="wrote between two blocks"):
        trainer().fit(SGDModule(descent("eager")), ckpt_path=str(tmp_path / "middle.ckpt"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_epochs": 2}, "min_epochs and min_steps must be left out"),
        ({"min_steps": 10**6}, "min_epochs and min_steps must be left out"),
        ({"precision": "bf16-true"}, "accelerator and precision must leave the network in torch.float64"),
    ],
)
def test_a_trainer_that_cannot_be_obeyed_is_refused_in_one_line(options, said):
    with pytest.raises(dln.InputError, match=said) as refused:
        trainer(**options).fit(SGDModule(descent()))
    assert "\n" not in str(refused.value)


def test_a_checkpoint_every_so_many_minutes_which_lightning_would_never_write_is_refused(tmp_path):
    with pytest.raises(dln.InputError, match="train_time_interval must be left out"):
        trainer(ModelCheckpoint(tmp_path, train_time_interval=timedelta(seconds=1))).fit(SGDModule(descent()))


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_a_loader_of_rows_is_refused_since_rows_are_a_function_of_seed_and_step():
    rows = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(PROBLEM.A, PROBLEM.y), batch_size=2)
    with pytest.raises(dln.InputError, match="the dataloader must be ProblemDataModule's or the module's own"):
        trainer(log_every_n_steps=1).fit(SGDModule(descent()), rows)


def test_a_module_with_a_psi_of_its_own_is_refused():
    class Own(SGDModule):
        @property
        def psi(self) -> Any: ...

    with pytest.raises(dln.InputError, match="psi must be overridden in the network"):
        Own(descent())
