"""The module ψ_θ = θ₊^p − θ₋^p."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dlntorch as dln
from dlntorch.numerics.validation import InputError


@given(n=st.integers(1, 9), p=st.floats(2, 12), alpha=st.floats(1e-6, 2))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_network_starts_at_zero_with_all_parameters_alpha(n, p, alpha):
    network = dln.DiagonalLinearNetwork(n, p, alpha)
    assert torch.equal(network.psi.detach(), torch.zeros(n, dtype=torch.float64))
    assert network.smallest_parameter() == alpha
    assert len(list(network.parameters())) == 2


def test_forward_is_the_inner_product_with_psi_for_every_network_of_a_batch():
    network = dln.DiagonalLinearNetwork(4, 2.5, 0.5, batch=(2, 3))
    with torch.no_grad():
        network.theta_plus.add_(torch.rand(2, 3, 4, dtype=torch.float64))
    rows = torch.randn(5, 4, dtype=torch.float64)
    plus, minus = network.theta_plus.detach().numpy(), network.theta_minus.detach().numpy()
    expected = np.einsum("kn,abn->abk", rows.numpy(), plus**2.5 - minus**2.5)
    np.testing.assert_allclose(network(rows).detach().numpy(), expected, rtol=1e-13, atol=1e-14)


def test_the_gradient_is_the_one_of_the_theory():
    problem = dln.Problem([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0]], [1.0, -2.0])
    network = dln.DiagonalLinearNetwork(3, 3.3, [0.3, 0.7, 1.1])
    with torch.no_grad():
        network.theta_minus.mul_(0.8)
    problem.loss(network.psi).backward()
    g = problem.residual(network.psi.detach()) @ problem.A
    plus, minus = network.theta_plus, network.theta_minus
    assert torch.allclose(plus.grad, -3.3 * plus.detach() ** 2.3 * g, rtol=1e-14, atol=0)
    assert torch.allclose(minus.grad, 3.3 * minus.detach() ** 2.3 * g, rtol=1e-14, atol=0)


def test_per_coordinate_and_per_network_initializations():
    assert dln.DiagonalLinearNetwork(2, 2, [0.1, 0.2]).alpha.tolist() == [0.1, 0.2]
    batch = dln.DiagonalLinearNetwork(2, 2, torch.tensor([[0.1], [0.2]]), batch=2)
    assert batch.theta_plus.shape == (2, 2)
    assert batch.theta_minus[1].tolist() == pytest.approx([0.2, 0.2])


def test_state_dict_round_trip_and_reset():
    network = dln.DiagonalLinearNetwork(3, 4, 0.1)
    with torch.no_grad():
        network.theta_plus.add_(1.0)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    other = dln.DiagonalLinearNetwork(3, 4, 1.0)
    other.load_state_dict(torch.load(buffer, map_location="cpu", weights_only=True))
    assert torch.equal(other.psi, network.psi)
    other.reset()
    assert other.theta_plus.tolist() == [0.1, 0.1, 0.1]


def test_float32():
    network = dln.DiagonalLinearNetwork(3, 3, 0.1, dtype="float32")
    assert network.psi.dtype is torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_state_dict_loads_across_devices():
    network = dln.DiagonalLinearNetwork(3, 3, 0.1, device="cuda")
    other = dln.DiagonalLinearNetwork(3, 3, 0.2)
    other.load_state_dict(network.state_dict())
    assert other.theta_plus.device.type == "cpu"
    assert other.theta_plus.tolist() == [0.1] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3, 0.1), "n must be an integer >= 1, got 0"),
        ((3, 1.5, 0.1), "p must be a finite real number >= 2, got 1.5"),
        ((3, 3, 0.0), "alpha must be finite and > 0"),
        ((3, 3, [0.1, float("nan"), 0.1]), "alpha must be finite and > 0"),
        ((3, 3, [0.1, 0.1]), r"alpha must broadcast to shape \(3,\)"),
        ((3, 3, "tiny"), "alpha must be a positive number"),
        ((3, 3, 0.1, (0,)), "batch must be an integer >= 1, got 0"),
        ((3, 3, 0.1, 2.5), r"batch must be an integer >= 1, got 2\.5"),
        ((3, 3, 0.1, None), "batch must be an integer >= 1, got None"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(InputError, match=message):
        dln.DiagonalLinearNetwork(*arguments)


def test_a_batch_is_an_integer_of_any_library_or_a_shape():
    for batch in (np.int64(4), 4.0, (4,), torch.Size([4]), np.array([4])):
        assert dln.DiagonalLinearNetwork(3, 3, 0.1, batch=batch).theta_plus.shape == (4, 3)
