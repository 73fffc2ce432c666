"""The layer x ↦ ψx + b: its weights, its gradients, and its life in other people's models."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from tests.model.cases import TwoSinh


def _stirred(layer, seed=0):
    """The layer with its parameters moved apart, all of them positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for theta in layer.parameters():
            theta.copy_(0.2 + torch.rand(theta.shape, generator=generator))
    return layer


@given(
    leading=st.lists(st.integers(0, 3), max_size=3),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 6),
    p=st.sampled_from([2, 2.5, 3, 4, 7.3]),
    bias=st.booleans(),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_layer_is_a_linear_layer_of_the_weights_psi(leading, inputs, outputs, p, bias):
    layer = _stirred(dln.DiagonalLinear(inputs, outputs, p, 0.3, bias, dtype="float64"))
    x = torch.randn(*leading, inputs, dtype=torch.float64)
    psi = layer.theta_plus**p - layer.theta_minus**p
    expected = torch.einsum("...i,oi->...o", x, psi) + (layer.bias if bias else 0)
    assert layer(x).shape == (*leading, outputs)
    torch.testing.assert_close(layer(x), expected, rtol=1e-13, atol=1e-13)
    assert torch.equal(layer.weight, layer.psi)


@pytest.mark.parametrize("p", [2, 2.5, 3, 5])
def test_a_layer_of_one_output_is_the_network_to_the_bit_gradients_included(p):
    n = 7
    network, layer = dln.DiagonalLinearNetwork(n, p, 0.3), dln.DiagonalLinear(n, 1, p, 0.3, False, dtype="float64")
    _stirred(layer)
    with torch.no_grad():
        network.theta_plus.copy_(layer.theta_plus[0])
        network.theta_minus.copy_(layer.theta_minus[0])
    assert torch.equal(layer.psi[0], network.psi)
    g = torch.randn(n, dtype=torch.float64)
    (network.psi @ g).backward()
    (layer.psi[0] @ g).backward()
    assert torch.equal(layer.theta_plus.grad[0], network.theta_plus.grad)
    assert torch.equal(layer.theta_minus.grad[0], network.theta_minus.grad)


@pytest.mark.parametrize("p", [2, 2.5, 3, 3.7])
def test_the_gradient_is_that_of_finite_differences_also_at_negative_parameters(p):
    layer = dln.DiagonalLinear(3, 2, p, 0.3, dtype="float64")
    with torch.no_grad():
        layer.theta_plus.copy_(torch.randn(2, 3, generator=torch.Generator().manual_seed(3)))
    assert bool((layer.theta_plus < 0).any())
    x = torch.randn(4, 3, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def output(*parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    assert torch.autograd.gradcheck(output, tuple(layer.parameters()))
    assert bool(torch.isfinite(layer(x)).all())


def test_the_layer_starts_at_zero_and_can_be_reset():
    layer = dln.DiagonalLinear(5, 3, 3, 0.1)
    x = torch.randn(4, 5)
    assert torch.equal(layer(x), torch.zeros(4, 3))
    _stirred(layer).reset_parameters()
    assert torch.equal(layer(x), torch.zeros(4, 3))
    assert torch.equal(layer.theta_plus, torch.full((3, 5), 0.1))


def test_starts_for_each_entry_and_for_each_input():
    alpha = 0.1 + torch.rand(3, 5)
    layer = dln.DiagonalLinear(5, 3, 3, alpha)
    assert torch.equal(layer.theta_plus.data, alpha)
    layer = dln.DiagonalLinear(5, 3, 3, alpha[:1])
    assert torch.equal(layer.theta_minus.data, alpha[:1].expand(3, 5))
    plus, minus = torch.rand(2, 5, dtype=torch.float64) + 0.1
    layer = dln.DiagonalLinear(5, 3, 3, dln.Initialization(plus, minus), dtype="float64")
    assert torch.equal(layer.theta_plus.data, plus.expand(3, 5))
    torch.testing.assert_close(layer.psi.data, (plus**3 - minus**3).expand(3, 5), rtol=1e-14, atol=0)


@pytest.mark.parametrize("p", [2, 3, 4.5])
def test_a_layer_can_start_where_a_linear_layer_is(p):
    linear = nn.Linear(6, 4, dtype=torch.float64)
    layer = dln.DiagonalLinear.from_linear(linear, p, 1e-3)
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), linear(x), rtol=1e-12, atol=1e-13)
    assert float(torch.minimum(layer.theta_plus, layer.theta_minus).detach().max()) == pytest.approx(1e-3)
    assert dln.DiagonalLinear.from_linear(nn.Linear(2, 2, bias=False), p, 0.1).bias is None


@pytest.mark.parametrize("parametrization", [dln.Nonnegative(3), dln.Product(3), TwoSinh()], ids=repr)
def test_other_parametrizations_have_their_own_value(parametrization):
    layer = dln.DiagonalLinear(4, 2, parametrization, 0.3, dtype="float64")
    theta = torch.stack([layer.get_parameter(f"theta_{j}") for j in range(parametrization.width)])
    expected = torch.stack([parametrization.value(theta[:, row]) for row in range(2)])
    assert torch.equal(layer.weight, expected)
    assert layer.p is None
    layer(torch.randn(3, 4, dtype=torch.float64)).sum().backward()
    assert all(theta.grad is not None for theta in layer.parameters())


def test_the_kappa_rule_moves_a_layer_as_it_moves_a_network():
    """Rows of a layer are independent networks under the squared loss."""
    A, Y = torch.randn(4, 9, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    layer = dln.DiagonalLinear(9, 3, 3, 0.05, False, dtype="float64")
    networks = dln.DiagonalLinearNetwork(9, 3, 0.05, batch=3)
    for module, output in ((layer, lambda: layer(A)), (networks, lambda: networks(A).mT)):
        optimizer = dln.RelativeSGD(module.parameters(), kappa=0.01)
        for _ in range(50):
            optimizer.zero_grad()
            (0.5 * (output() - Y).square().sum()).backward()
            optimizer.step()
    torch.testing.assert_close(layer.psi, networks.psi, rtol=1e-11, atol=1e-15)


def test_autocast_computes_psi_in_float32_and_rounds_it_once():
    layer = _stirred(dln.DiagonalLinear(8, 4, 3, 0.1))
    x = torch.randn(2, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype is torch.bfloat16
    expected = nn.functional.linear(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())
    assert torch.equal(out, expected)
    out.float().square().sum().backward()
    assert layer.theta_plus.grad.dtype is torch.float32


def test_half_precision_parameters_do_not_cancel():
    layer = dln.DiagonalLinear(2, 1, 4, 1.0, dtype=torch.bfloat16)
    with torch.no_grad():
        layer.theta_plus.copy_(torch.tensor([[1.0078125, 1.0]]))
    assert layer.weight.dtype is torch.bfloat16
    assert float(layer.weight.detach()[0, 0]) == pytest.approx(1.0078125**4 - 1, rel=4e-3)  # half an ulp of bfloat16


def test_state_dict_deepcopy_and_a_move_of_precision():
    layer = _stirred(dln.DiagonalLinear(3, 2, 2.5, 0.1))
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = dln.DiagonalLinear(3, 2, 2.5, 1.0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other.weight, layer.weight)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        layer.theta_plus.zero_()
    assert torch.equal(twin.weight, other.weight)
    assert layer.double().weight.dtype is torch.float64
    assert "in_features=3, out_features=2, p=2.5, alpha=0.1, bias=True" in repr(layer)


def test_torchs_defaults_decide_on_dtype_and_device():
    assert dln.DiagonalLinear(3, 2, 3, 0.1).weight.dtype is torch.float32
    for device in ("meta", torch.device("meta")):
        assert dln.DiagonalLinear(3, 2, 3, 0.1, device=device).theta_plus.is_meta
    with torch.device("meta"):
        layer = dln.DiagonalLinear(3, 2, 3, 0.1)
    assert layer.theta_plus.is_meta
    layer.to_empty(device="cpu").reset_parameters()
    assert torch.equal(layer.theta_minus, torch.full((2, 3), 0.1))


@pytest.mark.parametrize("p", [3, 2.5])
def test_export_keeps_a_free_batch_axis(p):
    model = nn.Sequential(_stirred(dln.DiagonalLinear(4, 3, p, 0.1)), nn.Tanh(), nn.Linear(3, 2))
    batch = torch.export.Dim("batch", min=2, max=1000)
    exported = torch.export.export(model, (torch.randn(5, 4),), dynamic_shapes=({0: batch},))
    x = torch.randn(11, 4)
    torch.testing.assert_close(exported.module()(x), model(x))


@pytest.mark.parametrize("p", [3, 2.5])
def test_dynamo_takes_the_layer_as_one_graph(p):
    layer = _stirred(dln.DiagonalLinear(4, 3, p, 0.1))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    x = torch.randn(5, 4)
    assert torch.equal(compiled(x), layer(x))


@pytest.mark.slow
@pytest.mark.parametrize("p", [2, 3, 2.5])
@pytest.mark.filterwarnings("ignore")  # of the compiler's own modules
def test_compiled_training_steps_are_those_of_the_layer(p):
    layers = [_stirred(dln.DiagonalLinear(6, 3, p, 0.1)) for _ in range(2)]
    forward = [layers[0], torch.compile(layers[1], fullgraph=True)]
    x = torch.randn(5, 6)
    for layer, call in zip(layers, forward, strict=True):
        optimizer = dln.RelativeSGD([layer.theta_plus, layer.theta_minus], kappa=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            (call(x) - 1).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(layers[1].weight, layers[0].weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2, 3, 0.1), "in_features must be an integer >= 1, got 0"),
        ((3, 2.5, 3, 0.1), "out_features must be an integer >= 1, got 2.5"),
        ((3, 2, 1.5, 0.1), "p must be a finite real number >= 2, got 1.5"),
        ((3, 2, "3", 0.1), "p must be a finite real number >= 2, got '3'"),
        ((3, 2, 3, 0.0), "alpha must be > 0"),
        ((3, 2, 3, -1), "plus must be finite and > 0, got -1"),
        ((3, 2, 3, [0.1, 0.2]), r"alpha must broadcast to shape \(2, 3\), got shape \(2,\)"),
        ((3, 2, 3, "tiny"), "alpha must be a positive number, an array of them or an Initialization, got 'tiny'"),
        ((3, 2, 3, dln.Initialization([0.1, 0.2])), "alpha must have 3 entries, one for each coordinate, got 2"),
        ((3, 2, 3, 1e-60), "alpha must be finite and > 0 in torch.float32, got parameters from 1e-60 to 1e-60"),
        ((3, 2, 3, 0.1, "yes"), "bias must be true or false, got 'yes'"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        dln.DiagonalLinear(*arguments)
    assert "\n" not in str(caught.value)


def test_mistakes_of_keywords_and_inputs():
    with pytest.raises(InputError, match="dtype must be one of float64, float32, bfloat16, float16, got torch.int64"):
        dln.DiagonalLinear(3, 2, 3, 0.1, dtype=torch.int64)
    with pytest.raises(InputError, match="device must be auto, cpu, cuda or cuda:N, got 'toaster'"):
        dln.DiagonalLinear(3, 2, 3, 0.1, device="toaster")
    with pytest.raises(InputError, match=r"inputs must have shape \(..., 3\), got \(5, 4\)"):
        dln.DiagonalLinear(3, 2, 3, 0.1)(torch.ones(5, 4))
    with pytest.raises(InputError, match=r"inputs must have shape \(..., 3\), got \(\)"):
        dln.DiagonalLinear(3, 2, 3, 0.1)(torch.tensor(1.0))
    with pytest.raises(InputError, match="linear must be an nn.Linear, got Tanh"):
        dln.DiagonalLinear.from_linear(nn.Tanh(), 3, 0.1)
