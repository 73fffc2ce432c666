"""Several right-hand sides: a problem for each, one A for all."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from tests.problems import gaussian


def _data(m=4, n=9, k=3, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, rank or m)) @ rng.standard_normal((rank or m, n))
    truth = rng.standard_normal((n, k)) * (rng.random((n, k)) < 0.3)
    return A, A @ truth, truth


@pytest.mark.parametrize("rank", [4, 2])
def test_each_output_is_the_problem_of_its_column(rank):
    A, Y, truth = _data(rank=rank)
    problem = dln.Problem(A, Y, truth=truth, name="three")
    assert len(problem.outputs) == 3
    assert problem.outputs is problem.outputs
    for j, output in enumerate(problem.outputs):
        alone = dln.Problem(A, Y[:, j], truth=truth[:, j])
        assert torch.equal(output.y, alone.y)
        assert torch.equal(output.truth, alone.truth)
        assert output.name == f"three[{j}]"
        assert output.A is problem.A
        assert output.row_space is problem.row_space
        assert (output.rank, output.consistent) == (rank, True)
        assert output.inconsistency == alone.inconsistency
        assert torch.equal(output.reduced().A, alone.reduced().A)
        assert torch.equal(output.reduced().y, alone.reduced().y)
    single = dln.Problem(A, Y[:, 0])
    assert single.outputs == (single,)


def test_residual_and_loss_have_an_axis_of_outputs():
    A, Y, _ = _data()
    problem = dln.Problem(A, Y)
    psi = torch.randn(5, 3, 9, dtype=torch.float64)
    assert problem.residual(psi).shape == (5, 3, 4)
    expected = torch.stack([output.loss(psi[:, j]) for j, output in enumerate(problem.outputs)], dim=1)
    torch.testing.assert_close(problem.loss(psi), expected, rtol=1e-14, atol=0)
    relative = torch.stack([output.relative_residual(psi[:, j]) for j, output in enumerate(problem.outputs)], dim=1)
    torch.testing.assert_close(problem.relative_residual(psi), relative, rtol=1e-14, atol=0)


def test_a_network_is_trained_for_each_output_as_it_would_be_alone():
    A, Y, _ = _data(rank=3)
    problem = dln.Problem(A, Y)
    options = {"references": False, "max_steps": 300, "engine": "eager"}
    together = dln.train(problem, 3, 1e-2, **options)
    assert isinstance(together, dln.EnsembleResult)
    assert together.psi.shape == (3, 9)
    for j in range(3):
        alone = dln.train(dln.Problem(A, Y[:, j]), 3, 1e-2, **options)
        assert torch.equal(together[j].theta_plus, alone.theta_plus)
        assert torch.equal(together[j].theta_minus, alone.theta_minus)
    depths = dln.train_ensemble(problem, [2, 3, 4], 0.1, **options)
    assert [network.summary["p"] for network in depths] == [2, 3, 4]


def test_a_batch_of_networks_can_be_trained_in_torch():
    A, Y, _ = _data()
    problem = dln.Problem(A, Y)
    networks = dln.DiagonalLinearNetwork(9, 3, 0.1, batch=3)
    problem.loss(networks.psi).sum().backward()
    alone = dln.DiagonalLinearNetwork(9, 3, 0.1)
    problem.outputs[1].loss(alone.psi).backward()
    torch.testing.assert_close(networks.theta_plus.grad[1], alone.theta_plus.grad, rtol=1e-14, atol=0)


def test_moves_and_copies_keep_the_outputs():
    A, Y, _ = _data(rank=2)
    problem = dln.Problem(A.astype(np.float32), Y.astype(np.float32), dtype="float32")
    for other in (problem.to(dtype="float64"), copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert [output.rank for output in other.outputs] == [2, 2, 2]
        assert [output.reduced().m for output in other.outputs] == [2, 2, 2]
    assert "outputs=3" in repr(problem)


def test_outputs_of_an_operator():
    from scipy.sparse import csr_array

    A, Y, _ = _data()
    problem = dln.Problem(csr_array(A), Y)
    assert all(output.operator is problem.operator for output in problem.outputs)
    assert [output.dense for output in problem.to_dense().outputs] == [True] * 3


def test_what_needs_one_right_hand_side_says_so():
    A, Y, _ = _data()
    problem = dln.Problem(A, Y)
    message = r"y must have shape \(m,\) here, got shape \(4, 3\): problem.outputs has a problem for each column"
    for call in (
        lambda: problem.y,
        lambda: problem.consistent if problem.rank < problem.m else problem.y,
        lambda: dln.flow_limit(problem, 3, 0.1),
        lambda: dln.integrate_flow(problem, 3, 0.1, [1.0]),
        lambda: dln.l1_minimizer(problem),
        lambda: dln.selected_minimizer(problem, 3),
        lambda: dln.predict_rate(problem, 3),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert dln.flow_limit(problem.outputs, 3, 0.1).psi.shape == (3, 9)


def test_mistakes():
    A, Y, truth = _data()
    with pytest.raises(InputError, match=r"y must have shape \(m,\), got shape \(4, 1\)"):
        dln.Problem(A, Y[:, :1])  # a column is a vector that somebody forgot to flatten, not a batch of one
    with pytest.raises(InputError, match=r"y must have one entry for each of the 4 rows of A, got shape \(5, 3\)"):
        dln.Problem(A, np.ones((5, 3)))
    with pytest.raises(InputError, match=r"truth must have shape \(9, 3\), as y has, got \(9, 2\)"):
        dln.Problem(A, Y, truth=truth[:, :2])
    with pytest.raises(InputError, match="shards must be 1 with several right-hand sides, got 2"):
        dln.train(dln.Problem(A, Y), 3, 0.1, shards=2)
    with pytest.raises(InputError, match="ensemble must have lists of one length.*problem: 3, p: 2"):
        dln.train_ensemble(dln.Problem(A, Y), [2, 3], 0.1)
    assert gaussian(4, 9, 0).outputs[0].m == 4
