"""``problem=partial_cosine`` and its like, from the command line to the run folder and back."""

from __future__ import annotations

import json

import pytest
import torch

import dlntorch as dln

#: minutes in all; the single run's tests cover the same ground in seconds
pytestmark = pytest.mark.slow


def test_a_partial_cosine_run_end_to_end(command):
    outcome = command("problem=partial_cosine", "problem.n=5000", "problem.m=500", "p=2", "alpha=1e-4", "max_steps=30")
    assert outcome.status == 0, outcome.err
    summary = json.loads((outcome.folder / "summary.json").read_text())
    assert summary["problem"] == {"m": 500, "n": 5000, "rank": 500, "name": "partial_cosine"}
    assert summary["distance_to_truth"] > 0
    assert summary["references"]["solver"] == "matrix_free"
    assert summary["references"]["unique"] is True
    assert abs(summary["references"]["l1_certificate"]) < 1e-11
    assert summary["distance_to_l1"] == pytest.approx(summary["distance_to_truth"], rel=1e-9)
    assert summary["distance_to_selected"] == summary["distance_to_l1"]
    assert summary["l1_gap"] is not None
    assert "dense A" in summary["distance_to_limit_reason"]
    assert (outcome.folder / "report.html").stat().st_size > 1000
    run = dln.load_run(outcome.folder)
    assert run.problem.operator.kind == "partial cosine"
    distance = float(torch.linalg.vector_norm(run.psi - run.problem.truth))
    assert summary["distance_to_truth"] == pytest.approx(distance, rel=1e-14)  # sums of 5,000 squares in another order


def test_a_resumed_run_continues_on_the_same_operator(command, tmp_path):
    common = ("problem=sparse_csr", "p=3", "alpha=1e-2")
    whole = command(*common, "max_steps=60", folder=tmp_path / "whole")
    cut = command(*common, "max_steps=25", folder=tmp_path / "cut")
    again = command(f"resume={cut.folder}", "max_steps=60", folder=cut.folder)
    assert whole.status == again.status == 0, again.err
    assert torch.equal(dln.load_run(whole.folder).psi, dln.load_run(cut.folder).psi)


def test_engines_that_need_a_matrix_say_so(command):
    for arguments, words in (
        (("engine=fused",), "engine must be eager or autograd with an A that is an operator, got 'fused'"),
        (("certificate=true",), "certificate must be false"),
    ):
        outcome = command("problem=sparse_csr", *arguments)
        assert outcome.status == 2
        assert outcome.err.startswith("error: ")
        assert words in outcome.err
        assert outcome.err.count("\n") == 1
