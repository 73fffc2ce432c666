"""What a run says of its own steps: the summary's ``effective``, the budget's cause, and the schedule ``selecting``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import dlntorch as dln
from dlntorch.bounds.effective import effective_initialization
from dlntorch.bounds.threshold import step_size_threshold
from tests.bounds.runs import gaussian

KEYS = (
    "gain_min",
    "gain_max",
    "tilt",
    "weight_spread",
    "distance_to_limit",
    "distance_to_weighted",
    "support_certified",
    "kappa_threshold",
)


def complete(report):
    """Every key is there, and what is None has a reason."""
    assert all(key in report for key in KEYS)
    for key, value in list(report.items()):
        assert value is not None or report[f"{key}_reason"]
        assert not (isinstance(value, float) and not np.isfinite(value))


@pytest.mark.parametrize(("p", "batch"), [(2, None), (3, 2), (4, None)])
def test_the_summary_is_the_function_at_the_end(p, batch):
    A, y = gaussian(2, 5, 12)
    problem = dln.Problem(A, y)
    run = dln.train(problem, p, 0.02, kappa=0.1, batch_size=batch, tol=1e-9, max_steps=20_000)
    report = run.summary["effective"]
    complete(report)
    end = effective_initialization(problem, p, run.theta_plus, run.theta_minus, 0.02)
    assert run.effective.initialization == end.initialization
    assert report["gain_min"] == float(end.gain.min()) >= 0
    assert report["gain_max"] == float(end.gain.max())
    assert report["tilt"] == float(end.tilt.abs().max())
    weights = np.concatenate([end.weights_plus, end.weights_minus])
    assert report["weight_spread"] == pytest.approx(weights.max() / weights.min(), rel=1e-15)
    assert report["kappa_threshold"] == step_size_threshold(problem, p, 0.02, batch_size=batch).kappa
    words = "the steps acted as " + ("a start whose ln(alpha^2)" if p == 2 else "weights from")
    assert run.summary["budget"]["cause"].startswith(words)


def test_without_references_and_with_operators(monkeypatch):
    A, y = gaussian(0)
    run = dln.train(dln.Problem(A, y), 3, 0.1, max_steps=50, references=False)
    complete(run.summary["effective"])
    assert run.summary["effective"]["kappa_threshold_reason"] == "references=false"
    assert run.summary["effective"]["gain_max"] > 0

    class Operator:
        shape = A.shape

        def matvec(self, x):
            return torch.from_numpy(A) @ x

        def rmatvec(self, r):
            return torch.from_numpy(A.T) @ r

        def column_norms(self):
            return torch.from_numpy(np.linalg.norm(A, axis=0))

    small = dln.train(dln.Problem(Operator(), y), 3, 0.1, max_steps=50).summary["effective"]
    assert small["gain_min"] == pytest.approx(
        dln.train(dln.Problem(A, y), 3, 0.1, max_steps=50).summary["effective"]["gain_min"]
    )
    monkeypatch.setattr("dlntorch.run.references.MAX_MADE_DENSE", 10)
    run = dln.train(dln.Problem(Operator(), y), 3, 0.1, max_steps=50)
    complete(run.summary["effective"])
    assert run.summary["effective"]["gain_min"] is None
    assert run.effective.initialization is None
    assert run.summary["budget"]["cause"] is None
    assert run.summary["budget"]["cause_reason"]


@pytest.mark.parametrize("law", [3, dln.Nonnegative(3)], ids=repr)
def test_the_weights_of_a_shaped_start_are_its_own_and_the_steps(law, monkeypatch):
    """The general solver, and by hand: the weights are α_eff^{2−p}, not only what the steps changed of them."""
    A = abs(gaussian(3, 4, 9)[0])
    start = dln.Initialization(torch.logspace(-3, -2, 9, dtype=torch.float64))
    problem = dln.Problem(A, A @ np.eye(9)[2] + A @ np.eye(9)[5])
    monkeypatch.setattr("dlntorch.run.effective.weighted_minimizer", lambda *_: None)
    run = dln.train(problem, law, start, kappa=0.1, tol=1e-6)
    sides = (*run.theta, None)[:2]
    plus, minus = effective_initialization(problem, law, *sides, start).initialization.expanded(9)
    costs = np.concatenate([1 / plus.numpy(), 1 / minus.numpy()])[: 9 if isinstance(law, dln.Nonnegative) else 18]
    found = linprog(costs / costs.max(), A_eq=np.hstack([A, -A])[:, : costs.size], b_eq=problem.y.numpy())
    psi = found.x[:9] - (found.x[9:] if costs.size > 9 else 0)
    assert run.summary["effective"]["distance_to_weighted"] == pytest.approx(
        np.linalg.norm(run.psi.numpy() - psi), rel=1e-6
    )


def test_the_selecting_schedule_takes_the_threshold():
    A, y = gaussian(2, 5, 12)
    problem = dln.Problem(A, y)
    found = step_size_threshold(problem, 3, 0.02)
    run = dln.train(problem, 3, 0.02, "selecting", tol=1e-6)
    schedule = run.summary["schedule"]
    assert (schedule["name"], schedule["rule"]) == ("selecting", "relative")
    assert (schedule["kappa"], schedule["c"]) == (found.kappa, found.c)
    assert run.summary["effective"]["support_certified"] is True


def test_mistakes_of_the_selecting_schedule_are_one_line():
    A, y = gaussian(0)
    with pytest.raises(dln.InputError, match=r"^schedule\.kappa must be left out with schedule=selecting"):
        dln.train(dln.Problem(A, y), 3, 0.1, "selecting", kappa=0.1)
    with pytest.raises(dln.InputError, match=r"^schedule must be another one than selecting .* several l1-minimisers"):
        dln.train(dln.Problem([[1.0, 1.0, 0.5]], [1.0]), 3, 0.1, "selecting")


def test_page_and_console_show_it(capsys):
    from dlntorch.report.page import effective_rows, words
    from dlntorch.run.console import conclude

    A, y = gaussian(2, 5, 12)
    run = dln.train(dln.Problem(A, y), 3, 0.02, kappa=0.3, tol=1e-8, max_steps=20_000)
    rows = {name: value for name, value, _ in effective_rows(run.summary)}
    assert rows["gain max"] == run.summary["effective"]["gain_max"]
    assert rows["support certified"] in ("yes", "no", "undecided")
    assert "weights from" in " ".join(words(run.summary))
    conclude(run)
    printed = capsys.readouterr().out
    assert "weight_spread" in printed
    assert "kappa_threshold" in printed
    older = {key: value for key, value in run.summary.items() if key != "effective"}
    assert effective_rows(older) == []


@pytest.mark.parametrize("p", [2, 3])
def test_a_run_from_several_numbers_knows_its_start(p, command):
    """``effective`` of the run, of its folder and of an ensemble is relative to the start, as the summary's is."""
    plus, minus = [0.02, 0.05, 0.1], [0.1, 0.07, 0.03]
    start = dln.Initialization(plus, minus)
    common = ("problem=line", f"p={p}", "max_steps=500", "references=false", "logger=none", "callbacks.figures=false")
    done = command(*common, f"alpha={plus}", f"alpha_minus={minus}")
    assert done.status == 0, done.err
    one = dln.load_run(done.folder)
    both = command(*common, f"ensemble.alpha=[0.05,{plus}]")
    assert both.status == 0, both.err
    several = dln.load_ensemble(both.folder)
    run = dln.train(one.problem, p, start, max_steps=500, references=False)
    end = effective_initialization(run.problem, p, run.theta_plus, run.theta_minus, start)
    for found in (run, one):
        assert found.start == start
        torch.testing.assert_close(found.effective.gain, end.gain, rtol=0, atol=1e-12)
    assert [network.start for network in several] == [None, dln.Initialization(plus)]
    for found in (run, one, *several):
        effective = found.summary["effective"]
        assert float(found.effective.gain.max()) == pytest.approx(effective["gain_max"], abs=1e-12)
        assert float(found.effective.gain.min()) == pytest.approx(effective["gain_min"], abs=1e-12)
