"""``dln.train``: one run without Hydra, logger or files."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dlntorch as dln
from tests.problems import gaussian, line, line_selected


def test_the_summary_has_every_key_of_the_contract():
    summary = dln.train(gaussian(5, 15, 1), 3, 1e-2).summary
    assert {"status", "p", "alpha", "problem", "steps", "time", "wall_seconds", "residual", "l1_gap"} <= set(summary)
    distances = {f"distance_to_{name}" for name in ("l1", "selected", "truth", "limit", "flow")}
    assert distances <= set(summary)
    schedule = {"name", "eta_min", "eta_max", "theorem_log10_eta", "theorem_log10_steps", "kappa", "certificate"}
    assert schedule | {"certified_theta_error", "certified_theta_error_sup"} <= set(summary["schedule"])
    assert {"discretization", "finite_time", "initialization", "dominant"} <= set(summary["budget"])
    assert {"exponent", "constant", "initialization"} <= set(summary["predicted"])
    assert {"l1_value", "unique"} <= set(summary["references"])
    assert summary["versions"]["torch"] == torch.__version__
    assert summary["distance_to_truth"] is None
    assert "planted" in summary["distance_to_truth_reason"]
    assert summary["status"] == "converged"


def test_small_steps_find_the_selected_minimiser_on_the_line_not_the_vertex():
    result = dln.train(line(), 3, 1e-2, kappa=2e-4)
    selected = line_selected(3)
    assert float(torch.linalg.vector_norm(result.psi - selected)) < 0.05
    assert result.summary["distance_to_l1"] > 1
    coarse = dln.train(line(), 3, 1e-2, kappa=2e-3)
    ratio = coarse.summary["budget"]["discretization"] / result.summary["budget"]["discretization"]
    assert 5 < ratio < 20  # first order in kappa


@given(
    m=st.integers(1, 6),
    extra=st.integers(1, 10),
    p=st.sampled_from([2, 2.5, 3, 4.3, 7]),
    alpha=st.floats(1e-4, 2.0),
    kappa=st.floats(1e-3, 0.3),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_relative_schedule_never_makes_a_parameter_negative(m, extra, p, alpha, kappa, seed, scale):
    problem = gaussian(m, m + extra, seed, scale=scale)
    result = dln.train(problem, p, alpha, kappa=kappa, max_steps=3000, references=False)
    assert result.status in ("converged", "max_steps")
    assert float(torch.minimum(result.theta_plus.min(), result.theta_minus.min())) > 0
    assert bool(torch.all(torch.isfinite(result.psi)))


def test_mistakes_are_value_errors():
    with pytest.raises(ValueError, match="p must be"):
        dln.train(line(), 1, 0.1)
    with pytest.raises(ValueError, match="certificate must be false with mini-batches"):
        dln.train(line(), 3, 0.1, batch_size=1, certificate=True)
    with pytest.raises(ValueError, match="schedule.kappa"):
        dln.train(line(), 3, 0.1, kappa=1.0)


def test_a_certificate_bounds_the_true_error():
    result = dln.train(gaussian(4, 9, 3), 3, 5e-2, kappa=5e-3, certificate=True)
    proved = result.summary["schedule"]["certified_theta_error"]
    flow = dln.integrate_flow(result.problem, 3, 5e-2, [result.summary["time"]], rtol=1e-11)
    assert proved is not None
    assert (
        float(torch.linalg.vector_norm(result.psi - flow.final())) <= proved * 3 * float(result.theta_plus.max()) ** 2
    )


def test_references_can_be_left_out():
    result = dln.train(gaussian(4, 9, 3), 2, 0.1, references=False, max_steps=100)
    assert result.summary["distance_to_l1"] is None
    assert result.summary["distance_to_l1_reason"] == "references=false"
    assert result.summary["budget"]["dominant"] is None
