"""Matrices and groups in the Lightning module: the loop's steps, resumed to the bit, refused where they cannot be."""

from __future__ import annotations

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.matrix import generators
from dlntorch.matrix.descent import Budget
from dlntorch.matrix.groups import group_descent
from dlntorch.matrix.rules import make_rule
from dlntorch.matrix.training import matrix_descent
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.optim.update import make_update
from dlntorch.training.module import SGDModule

SENSING = generators.gaussian_sensing(8, 4, 4, 1, symmetric=True, seed=3)
COMPLETION = generators.completion(7, 6, rank=1, share=0.6, seed=1)
GROUPS = dln.Problem(np.random.default_rng(4).standard_normal((5, 12)), np.random.default_rng(5).standard_normal(5))
#: Problem, network, schedule, optimizer: every stepper, every rule, every kind.
CASES = {
    "compiled": (COMPLETION, lambda: dln.MatrixFactorization((7, 6), 3, 0.2), "relative", "sgd"),
    "compiled, constant": (COMPLETION, lambda: dln.MatrixFactorization((7, 6), 4, 0.2), "constant", "sgd"),
    "plain": (SENSING, lambda: dln.MatrixFactorization((4, 4), 2, 0.1, "difference"), "relative", "sgd"),
    "plain, psd": (SENSING, lambda: dln.MatrixFactorization((4, 4), 2, 0.1, "psd"), "stable", "sgd"),
    "momentum": (SENSING, lambda: dln.MatrixFactorization((4, 4), 3, 0.3), "relative", "momentum"),
    "adam": (SENSING, lambda: dln.MatrixFactorization((4, 4), 3, 0.3), "constant", "adam"),
    "torch": (
        COMPLETION,
        lambda: dln.MatrixFactorization((7, 6), 3, 0.3),
        "constant",
        lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.5),
    ),
    "groups": (GROUPS, lambda: dln.GroupNetwork(12, 3, 0.05), "relative", "sgd"),
}


def _descent(name, max_steps=400):
    problem, make, schedule, optimizer = CASES[name]
    update = make_update(optimizer)
    rule = make_rule(schedule, 0.05, 1.0, 0.01 if schedule == "constant" else None, update)
    budget = Budget(0.0, max_steps, float("inf"), float("inf"))
    if isinstance(problem, dln.Problem):
        return group_descent(problem, make(), rule, update, budget)
    return matrix_descent(problem, make(), rule, update, budget, keep=True)


def _trainer(folder, **options):
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        max_epochs=-1,
        **options,
    )


def _same(one, other):
    assert one.steps == other.steps
    assert torch.equal(one.time, other.time)
    assert all(torch.equal(a, b) for a, b in zip(one.layers, other.layers, strict=True))
    assert [s.step for s in one.recorder.snapshots] == [s.step for s in other.recorder.snapshots]
    for a, b in zip(one.recorder.snapshots, other.recorder.snapshots, strict=True):
        assert torch.equal(a.values, b.values)
        assert torch.equal(a.X, b.X)


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_was_cut_goes_on_to_the_bit(name):
    whole = _descent(name)
    while whole.advance() is None:
        pass
    assert whole.status is Status.MAX_STEPS
    cut = _descent(name, max_steps=137)
    while cut.advance(50) is None:
        pass
    later = _descent(name)
    later.load_state_dict(cut.state_dict())
    while later.advance(61) is None:
        pass
    _same(later, whole)
    assert torch.equal(next(later.network.parameters()), next(whole.network.parameters()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["compiled", "plain", "groups"])
def test_the_lightning_module_trains_and_resumes_it(name, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    whole = _descent(name)
    while whole.advance() is None:
        pass
    keeper = ModelCheckpoint(tmp_path, filename="at-{step}", every_n_train_steps=150, save_top_k=-1)
    module = SGDModule(_descent(name))
    _trainer(tmp_path, callbacks=[keeper]).fit(module)
    _same(module.descent, whole)
    assert module.descent.metrics()["residual"] == pytest.approx(float(whole.relative_residual()[0]))
    resumed = SGDModule(_descent(name))
    _trainer(tmp_path, enable_checkpointing=False).fit(resumed, ckpt_path=str(tmp_path / "at-step=150.ckpt"))
    _same(resumed.descent, whole)
    other = SGDModule(_descent("momentum"))
    with pytest.raises(InputError, match="ckpt_path must continue the same run"):
        _trainer(tmp_path, enable_checkpointing=False).fit(other, ckpt_path=str(tmp_path / "at-step=150.ckpt"))


def test_the_module_predicts_measurements():
    problem = SENSING
    network = dln.MatrixFactorization((4, 4), 2, 0.3, "psd")
    update = make_update("sgd")
    module = SGDModule(
        matrix_descent(problem, network, make_rule("relative", 0.05, 1, None), update, Budget(0, 1, 1, 1))
    )
    assert torch.allclose(module(problem.measurements), problem.apply(network.X))
    group = dln.GroupNetwork(12, 3, [0.1, 0.2])
    assert group(GROUPS.A).shape == (2, 5)
