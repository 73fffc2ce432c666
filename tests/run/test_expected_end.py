"""The error that a dry run predicts, against that of the run."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import dlntorch as dln
from dlntorch.problem import make_problem
from dlntorch.run.configuration import config_directory
from dlntorch.run.expected_end import expected_error
from dlntorch.run.planning import plan_run
from tests.run.conftest import QUICK


def composed(*words):
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", [*words, "logger=none"]), resolve=True)


def predicted(words):
    return float(words.split(",")[0])


@pytest.mark.parametrize(
    ("p", "alpha", "budget"),
    [
        (3, 1e-2, {}),
        (3, 1e-3, {"tol": 1e-4}),
        (2, 1e-6, {"max_time": 30.0}),
        (3, 1e-3, {"max_steps": 15_000}),
        (4, 0.05, {"max_steps": 300}),
    ],
)
def test_the_error_at_the_end_is_that_of_the_run(p, alpha, budget):
    """κ = 0.003: what the steps add is less than a hundredth."""
    config = composed("problem=random", f"p={p}", f"alpha={alpha}", "schedule.kappa=0.003")
    found = expected_error(plan_run({**config, **budget}))
    assert ", of the flow at t = " in found
    run = dln.train(make_problem("random"), p, alpha, kappa=0.003, **budget)
    assert predicted(found) == pytest.approx(run.summary["distance_to_selected"], rel=0.05)
    assert float(found.split("t = ")[1]) == pytest.approx(run.summary["time"], rel=0.1)


def test_what_cannot_be_predicted_says_why():
    config = composed("problem=random", "p=3", "alpha=0.1")
    assert expected_error(plan_run({**config, "references": False})) == "not predicted: references=false"
    assert "mini-batches" in expected_error(plan_run({**config, "batch_size": 2}))
    assert "tol=0" in expected_error(plan_run({**config, "tol": 0}))


def test_a_dry_run_shows_it(command):
    done = command(*QUICK[1:], "problem=random", "p=3", "alpha=1e-3", "max_steps=50", "dry_run=true")
    assert done.status == 0
    (line,) = [line for line in done.out.splitlines() if "predicted ||psi - W_p||" in line]
    assert ", of the flow at t = " in line
    assert "max_steps=50 is 0.14 % of the 3.5e+04 steps" in done.err
