"""What a run says beside its measurements of what its optimizer's theory predicts: the summary's ``update``."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.bounds.critical_step import critical_step_size
from dlntorch.bounds.label_noise import kkt_residual, label_noise_end
from dlntorch.engine.label_noise_mean import label_noise_mean
from dlntorch.report.page import update_rows
from dlntorch.run.quantities import quantities
from dlntorch.run.summary import OptimizerPrediction
from dlntorch.run.update_prediction import KEYS
from tests.problems import gaussian

PROBLEM = gaussian(5, 12, seed=1)


def run(p, optimizer, options, eta=1e-3, **settings):
    given = {"max_steps": 2_000_000, "tol": 1e-8, **settings}
    return dln.train(PROBLEM, p, 0.1, "constant", eta=eta, optimizer=optimizer, optimizer_options=options, **given)


def complete(update):
    """Every key is there, and what is None has a reason."""
    assert all(key in update for key in ("prediction", *KEYS))
    for key, value in list(update.items()):
        assert value is not None or update[f"{key}_reason"]
        assert not (isinstance(value, float) and not math.isfinite(value))


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_momentum_by_heavy_ball_flow(p, beta):
    """Steps have (1 + β)/(2β) times the flow's gain to first order, and the flow's tilt likewise."""
    gains = []
    for eta in (2e-3, 1e-3):
        made = run(p, "momentum", {"beta": beta}, eta * (1 - beta) ** 2 * 25)
        update, effective = made.summary["update"], made.summary["effective"]
        complete(update)
        assert made.status == "converged"
        assert update["prediction"].startswith("heavy-ball flow of mass")
        gains.append(effective["gain_mean"] / (update["predicted_gain_mean"] * (1 + beta) / (2 * beta)) - 1)
    assert abs(gains[1]) < 0.1
    assert abs(gains[1]) < 0.7 * abs(gains[0])  # of first order in η


@pytest.mark.parametrize("p", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_sam_by_its_flow(p):
    """What the size of the steps adds halves with it; the rest is the flow's."""
    coarse, fine = (run(p, "sam", {"rho": 0.02}, eta, tol=1e-4).summary for eta in (0.016, 0.008))
    complete(fine["update"])
    left = [one["effective"]["gain_mean"] - one["update"]["predicted_gain_mean"] for one in (coarse, fine)]
    assert 0 < left[1] < 0.6 * left[0]
    assert 2 * left[1] - left[0] == pytest.approx(0, abs=0.05 * fine["update"]["predicted_gain_mean"])


@pytest.mark.parametrize("p", [2, 3])
def test_decay_that_is_switched_off_ends_at_the_limit_of_a_smaller_alpha(p):
    strength, until = 0.3, 2.0
    coarse, fine = (run(p, "weight_decay", {"strength": strength, "until": until}, eta) for eta in (4e-3, 2e-3))
    for made in (coarse, fine):
        update = made.summary["update"]
        complete(update)
        assert update["predicted_gain_mean"] == pytest.approx(2 * strength * until, rel=1e-12)
        assert update["predicted_tilt"] == pytest.approx(0, abs=1e-10)
        limit = dln.flow_limit(PROBLEM, p, 0.1 * math.exp(-strength * until)).psi
        assert update["distance_to_predicted"] == pytest.approx(float((made.psi - limit).norm()), rel=1e-6)
    assert fine.summary["update"]["distance_to_predicted"] < 0.6 * coarse.summary["update"]["distance_to_predicted"]


@pytest.mark.parametrize("p", [2, 3])
def test_decay_that_stays_on_ends_at_the_regularised_minimiser(p):
    made = run(p, "weight_decay", {"strength": 0.3}, 4e-3, tol=0, max_steps=400_000)
    update = made.summary["update"]
    complete(update)
    assert update["optimality_violation"] < 1e-6
    assert (update["distance_to_predicted"] is None) == (p > 2)  # at p > 2 the penalty is not convex
    if p == 2:
        assert update["distance_to_predicted"] < 1e-6
        g = PROBLEM.A.T @ (PROBLEM.y - PROBLEM.A @ made.psi)
        assert float(g.abs().max()) == pytest.approx(0.15, rel=1e-6)


def test_label_noise_by_its_lasso_and_the_mean_of_its_own_steps():
    made = run(2, "label_noise", {"sigma": 0.4}, 2e-3, tol=0, max_steps=6400)
    update = made.summary["update"]
    complete(update)
    end = label_noise_end(PROBLEM, 2e-3, 0.4)
    mean = label_noise_mean(PROBLEM, 0.1, 2e-3, 0.4, steps=3200, burn_in=3200)
    np.testing.assert_allclose(mean.theta[0], made.theta_plus, rtol=1e-9)  # the same steps as the run's
    assert update["distance_to_predicted"] == pytest.approx(float((made.psi - end.psi).norm()), rel=1e-12)
    assert update["mean_distance_to_predicted"] == pytest.approx(float((mean.psi - end.psi).norm()), rel=1e-12)
    assert update["optimality_violation"] == kkt_residual(PROBLEM, mean.psi, end.strengths)
    assert update["mean_standard_error"] == float(mean.standard_error.norm())
    assert update["mean_in_standard_errors"] > 0
    assert update["predicted_gain_mean"] == pytest.approx(4 * float(end.strengths.mean()) * made.summary["time"])


def test_the_critical_step_is_beside_a_constant_one_alone():
    made = run(3, "sgd", {})
    assert made.summary["update"]["critical_eta"] == critical_step_size(PROBLEM, 3, 0.1).eta
    other = dln.train(PROBLEM, 3, 0.1, max_steps=100)
    assert "schedule=constant" in other.summary["update"]["critical_eta_reason"]


@pytest.mark.parametrize(
    ("p", "optimizer", "options", "settings", "said"),
    [
        (2, "momentum", {"nesterov": True}, {}, "Nesterov's steps have no flow"),
        (2, "momentum", {"beta": 0.0}, {}, "plain SGD"),
        (2, "sam", {"normalized": True}, {}, "normalized SAM has no flow"),
        (3, "label_noise", {}, {}, "p = 2 and full batches"),
        (2, "label_noise", {}, {"batch_size": 2}, "p = 2 and full batches"),
        (2, "adam", {}, {"eta": 1e-3}, "nothing is predicted of Adam"),
        (2, "sign", {}, {"eta": 1e-3}, "nothing is predicted of Sign"),
        (2, "momentum", {}, {"references": False}, "references=false"),
        (2, "momentum", {}, {"max_steps": 0}, "no step was made"),
    ],
)
def test_where_nothing_is_predicted_it_says_why(p, optimizer, options, settings, said):
    update = run(p, optimizer, options, **{"max_steps": 50, **settings}).summary["update"]
    complete(update)
    assert update["predicted_gain_mean"] is None
    assert said in update["predicted_gain_mean_reason"]


def test_a_changing_step_has_no_heavy_ball_flow():
    update = dln.train(PROBLEM, 3, 0.1, optimizer="momentum", max_steps=200).summary["update"]
    complete(update)
    assert "schedule=constant" in update["prediction_reason"]


def test_page_and_console_show_it(capsys):
    from dlntorch.run.console import conclude

    made = run(2, "weight_decay", {"strength": 0.3, "until": 1.0})
    rows = {name: value for name, value, _ in update_rows(made.summary)}
    assert rows["predicted gain mean"] == made.summary["update"]["predicted_gain_mean"]
    assert {key for key, _ in quantities(OptimizerPrediction)} == {"prediction", *KEYS}
    conclude(made)
    assert "predicted_gain_mean" in capsys.readouterr().out
    assert update_rows({key: value for key, value in made.summary.items() if key != "update"}) == []
    plain = dln.train(PROBLEM, 3, 0.1, max_steps=50)
    assert update_rows(plain.summary) == []
    adam = run(2, "adam", {}, 1e-3, max_steps=50)
    assert "nothing is predicted of Adam" in update_rows(adam.summary)[0][2]
