"""The page shows where ψ moves, and the saddles that theory predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.report.coefficients import draw_coefficients
from dlntorch.report.data import RunData, movement
from dlntorch.run.predicted_saddles import predicted_saddles
from tests import problems


def run(p=3.0, alpha=1e-4, **options):
    result = dln.train(problems.paper_random(), p, alpha, **options)
    return replace(result, saddles=predicted_saddles(result.problem, result.summary))


def test_the_predicted_jumps_are_where_the_run_jumps():
    data = RunData(run())
    guides = data.result.saddles
    assert guides is not None
    t, psi = data.coefficients()
    for j, time in enumerate(guides.times):
        before, after = guides.psi[j], guides.psi[j + 1]
        i = int(np.argmax(np.abs(after - before)))
        passed = np.flatnonzero((psi[:, i] - before[i]) / (after[i] - before[i]) >= 0.5)
        when = next(k for k in passed if t[k] > 0.9 * time)
        assert t[when] == pytest.approx(time, rel=0.1)
        middle = time * 1.02 if j + 1 == len(guides.times) else np.sqrt(time * guides.times[j + 1])
        near = np.abs(psi[np.argmin(np.abs(t - middle))] - after).max()
        assert near < 0.02 or j + 1 == len(guides.times)
    np.testing.assert_allclose(guides.psi[-1], psi[-1], atol=1e-3)


def test_four_fifths_of_the_time_axis_are_no_plateau():
    data = RunData(run())
    figure = draw_coefficients("Coefficients", data)
    low, high = np.log(figure.axes[0].get_xlim())
    guides = data.result.saddles
    assert guides is not None
    first, last = np.log(guides.times[[0, -1]])
    assert low < first
    assert last < high
    assert last - first > 0.5 * (high - low)
    whole = np.log(data.result.trajectory.t.numpy()[[1, -1]])
    assert last - first < 0.4 * (whole[1] - whole[0])
    assert any("theory predicts" in str(line.get_label()) for line in figure.axes[0].lines)


@pytest.mark.parametrize(
    ("p", "options"),
    [(3.0, {"optimizer": "momentum"}), (2, {"alpha": 1.5}), (dln.Product(2), {}), (3.0, {"alpha": 0.9})],
)
def test_a_run_without_a_prediction_has_its_figure(p, options):
    data = RunData(run(p, **options))
    labels = [str(line.get_label()) for line in draw_coefficients("Coefficients", data).axes[0].lines]
    assert labels
    if options.get("alpha") != 0.9:
        assert data.result.saddles is None
        assert not any("theory" in label for label in labels)


def test_movement_is_where_the_path_moves():
    t = np.geomspace(1e-3, 1e3, 601)
    jump = np.stack([1 / (1 + np.exp(-20 * (np.log(t) - 1))), np.zeros(601)], axis=1)
    low, high = movement(t, jump)
    assert np.exp(1 - 1) < low < np.exp(1) < high < np.exp(1 + 1)
    assert movement(t, np.zeros((601, 2))) == (t[0], t[-1])
    assert movement(t, np.log(t)[:, None])[1] == pytest.approx(t[-1])
    assert movement(np.zeros(1), np.zeros((1, 2))) == (0.0, 0.0)
    assert movement(t[:2], jump[:2]) == (t[0], t[1])
