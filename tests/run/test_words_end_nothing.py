"""What is said about a run never ends it, and what a folder says of one is read or refused in one line."""

from __future__ import annotations

import json

import pytest
import torch

import dlntorch as dln
from tests.problems import line


@pytest.mark.parametrize(
    ("alpha", "options"),
    [(1e-300, {}), (1e-2, {"schedule": "constant", "eta": 1e-323}), (1e-2, {"schedule": "constant", "eta": 5e-324})],
)
def test_a_run_at_the_ends_of_float64_keeps_its_theta_and_has_a_summary(alpha, options):
    run = dln.train(line(), 3, alpha, max_steps=50, **options)
    assert run.status == "max_steps"
    assert run.summary["steps"] == 50
    assert bool((run.theta_plus > 0).all())
    assert isinstance(run.summary["advice"], str)
    json.dumps(run.summary, allow_nan=False)


@pytest.mark.parametrize("times", [[0.0, 5e-324, 1e-323], [1e307, 1.2e308, 1.7e308]])
def test_times_that_become_one_in_the_flows_unit_are_a_status(times):
    path = dln.integrate_flow(line(), 3, 0.17 if times[0] == 0 else 10.0, times, method="LSODA")
    assert path.status == "failed"
    assert "cannot be told apart" in path.reason
    assert path.psi.shape == (0, 3)


def test_times_at_the_ends_of_float64_are_a_status_or_right():
    first = dln.integrate_flow(line(), 3, 0.17, [0.0, 5e-324, 1e-323])
    assert first.status == "failed"
    assert first.reason
    assert not first.psi.any()
    last = dln.integrate_flow(line(), 3, 10.0, [1e307, 1.2e308, 1.7e308])
    limit = dln.flow_limit(line(), 3, 10.0).psi
    torch.testing.assert_close(last.psi, limit.expand(3, 3), rtol=1e-9, atol=0)


def test_times_may_be_a_tensor_that_requires_grad():
    t = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    path = dln.integrate_flow(line(), 3, 0.1, t)
    torch.testing.assert_close(path.psi, dln.integrate_flow(line(), 3, 0.1, [1.0, 2.0]).psi, rtol=0, atol=0)
    assert not path.psi.requires_grad


@pytest.mark.parametrize("alpha", [1e-2, 1e-6])
def test_no_kernel_regime_is_seen_where_the_selected_minimiser_is_the_nearest_vector(alpha):
    """A = (1, 1): W_p is the minimum-norm vector, and both distances are rounding."""
    run = dln.train(dln.Problem([[1.0, 1.0]], [1.0]), 3, alpha, max_steps=10)
    assert not any("kernel" in text for text in run.summary["signatures"])


def test_the_kernel_regime_is_still_seen_where_alpha_is_large():
    run = dln.train(line(), 3, 10.0, max_steps=10)
    assert any("kernel" in text for text in run.summary["signatures"])


@pytest.mark.parametrize(
    "key", ["p", "alpha", "steps", "budget", "problem", "distance_to_selected", "status", "reason"]
)
def test_a_summary_without_a_key_is_refused_in_one_line(key, tmp_path):
    from dlntorch.store.folder import RunFolder

    run = dln.train(line(), 3, 0.1, max_steps=10)
    place = RunFolder(tmp_path)
    place.write_problem(run.problem)
    place.write_arrays("result.npz", run.arrays())
    (tmp_path / "config.yaml").write_text("p: 3\n")
    place.write_summary(run.summary)
    place.close()
    assert repr(dln.load_run(tmp_path)) == repr(run)
    summary = {name: value for name, value in run.summary.items() if name != key}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(dln.InputError, match="folder must hold a whole run") as found:
        dln.load_run(tmp_path)
    assert "\n" not in str(found.value)
