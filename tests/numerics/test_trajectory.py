"""Results in one line: a repr is read in a notebook, not a store of numbers."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.numerics.trajectory import short_repr
from dlntorch.problem import make_problem


@pytest.fixture(scope="module")
def results() -> list:
    problem = make_problem("gaussian", m=40, n=200)
    chosen = dln.selected_minimizer(problem, 3)
    options = {"max_steps": 20, "references": False}
    return [
        chosen, chosen.minimizer, chosen.minimizer.certificate, chosen.minimizer.face,
        dln.predict_rate(problem, 3),
        dln.flow_limit(problem, 3, 1e-3),
        dln.flow_limit(problem, 3, [10.0**-i for i in range(9)]),
        dln.basis_pursuit(problem.A, problem.y),
        dln.basis_pursuit(problem.A, problem.y.expand(9, -1)),
        dln.integrate_flow(problem, 3, 0.1, np.arange(1.0, 50.0)),
        dln.train(problem, 3, 0.1, **options),
        dln.train_ensemble(problem, 3, [0.1, 0.2], **options),
        problem,
    ]  # fmt: skip


def test_the_repr_of_every_result_is_one_short_line(results: list) -> None:
    for result in results:
        text = repr(result)
        assert text.startswith(f"{type(result).__name__}(")
        assert len(text) < 400, text
        assert "\n" not in text
        assert "tensor(" not in text


@pytest.mark.parametrize(
    "name",
    [
        "limit.central_path.PathPoint", "bounds.certificate.Enclosure", "flow.integrate.FlowPath",
        "limit.flow_limit.FlowLimit", "limit.multiprecision.MultiprecisionLimit", "bounds.theorem.TheoremBound",
        "engine.base.Snapshot", "run.references.References", "run.planning.Plan",
        "reference.basis_pursuit.BasisPursuitResult", "reference.faces.Face", "reference.l1_minimizer.Certificate",
        "reference.l1_minimizer.L1Minimizer", "reference.rate.Rate", "reference.selection.SelectedMinimizer",
        "studies.drift.Drift", "studies.runner.StudyResult", "reference.saddles.SaddlePath",
    ],
)  # fmt: skip
def test_results_show_themselves_shortly(name: str) -> None:
    module, _, kind = name.rpartition(".")
    assert getattr(importlib.import_module(f"dlntorch.{module}"), kind).__repr__ is short_repr


def test_what_a_short_repr_shows() -> None:
    @dataclasses.dataclass
    class Made:
        few: object
        many: object = dataclasses.field(default_factory=lambda: torch.zeros(3, 4))
        none: object = None
        text: str = ""
        inner: object = None
        _hidden: int = 1
        __repr__ = short_repr

    made = Made(torch.tensor([1.0, 0.25]), inner=Made(np.float64(1 / 3), many=[0] * 99))
    assert repr(made).endswith("Made(few=[1, 0.25], many=<3×4>, inner=Made(...))")
    assert repr(made.inner) == "Made(few=0.333333, many=<99>)"
    assert repr(Made(dln.Status.CONVERGED, many="a\nb" + "c" * 99)).count("\n") == 0
