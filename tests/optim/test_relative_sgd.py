"""The relative rule as a torch optimizer: κ is kept, the schedule's bits are met, and torch's customs are observed."""

from __future__ import annotations

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from tests.problems import gaussian


def _descended(optimizer, loss, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-2), (2.5, 1e-2), (3, 1e-3), (4, 0.1)])
def test_for_problem_has_the_bits_of_the_schedule(p, alpha):
    problem = gaussian(5, 12, 1)
    network = dln.DiagonalLinearNetwork(12, p, alpha)
    optimizer = dln.RelativeSGD.for_problem(network, problem, kappa=0.01)
    _descended(optimizer, lambda: problem.loss(network.psi), 400)
    options = {"max_steps": 400, "references": False, "tol": 0, "kappa": 0.01}
    run = dln.train(problem, p, alpha, engine="autograd", **options)
    assert torch.equal(run.theta_plus, network.theta_plus.data)
    assert torch.equal(run.theta_minus, network.theta_minus.data)
    assert optimizer.param_groups[0]["time"] == run.summary["time"]
    other = dln.train(problem, p, alpha, engine="eager", **options)  # the gradient by hand: equal but for rounding
    torch.testing.assert_close(other.theta_plus, network.theta_plus.data, rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [2, 2.5, 3])
def test_the_rule_alone_is_the_schedule_while_kappa_decides(p):
    problem = gaussian(5, 12, 1)
    network = dln.DiagonalLinearNetwork(12, p, 1e-2)
    optimizer = dln.RelativeSGD(network.parameters(), kappa=0.01)
    _descended(optimizer, lambda: problem.loss(network.psi), 60)
    run = dln.train(problem, p, 1e-2, engine="autograd", max_steps=60, references=False, tol=0)
    torch.testing.assert_close(run.theta_plus, network.theta_plus.data, rtol=1e-13, atol=0)
    torch.testing.assert_close(run.theta_minus, network.theta_minus.data, rtol=1e-13, atol=0)


@given(seed=st.integers(0, 10**6), kappa=st.floats(1e-4, 0.3), scale=st.floats(-8, 8), lr=st.floats(1e-6, 1e6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_parameter_moves_by_more_than_kappa_nor_by_more_than_lr(seed, kappa, scale, lr):
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator).double()) for shape in ((3, 4), (5,), (1,))]
    before = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = 10**scale * torch.randn(parameter.shape, generator=generator).double()
    optimizer = dln.RelativeSGD(parameters, lr, kappa)
    optimizer.step()
    rho = max(float((parameter.grad / old).abs().max()) for parameter, old in zip(parameters, before, strict=True))
    assert optimizer.param_groups[0]["eta"] == pytest.approx(min(lr, kappa / rho), rel=1e-14)
    for parameter, old in zip(parameters, before, strict=True):
        assert float(((parameter.detach() - old) / old).abs().max()) <= kappa * (1 + 1e-12) + 2e-16
        torch.testing.assert_close(parameter.data, old - optimizer.param_groups[0]["eta"] * parameter.grad)


def test_with_a_small_lr_it_is_torchs_sgd_to_the_bit():
    torch.manual_seed(0)
    x, models = torch.randn(20, 5), [nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))]
    models += [copy.deepcopy(models[0]) for _ in range(2)]
    optimizers = [
        torch.optim.SGD(models[0].parameters(), lr=1e-7),
        dln.RelativeSGD(models[1].parameters(), lr=1e-7, kappa=0.3),
        dln.RelativeSGD(models[2].parameters(), lr=1e-7, kappa=None, foreach=False),
    ]
    for model, optimizer in zip(models, optimizers, strict=True):
        _descended(optimizer, lambda model=model: model(x).square().mean(), 20)
    for parameters in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(parameters[0], parameters[1])
        assert torch.equal(parameters[0], parameters[2])


def test_groups_have_their_own_kappa_and_lr():
    layer = dln.DiagonalLinear(4, 2, 3, 0.1)
    optimizer = dln.RelativeSGD(
        [
            {"params": [layer.theta_plus, layer.theta_minus]},
            {"params": [layer.bias], "kappa": None, "lr": 0.5},
        ],
        kappa=0.02,
    )
    layer(torch.randn(6, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(layer.bias.data, -0.5 * layer.bias.grad)
    moved = torch.stack(
        [(theta.detach() / 0.1 - 1).abs().max() for theta in (layer.theta_plus, layer.theta_minus)]
    ).max()
    assert float(moved) == pytest.approx(0.02, rel=1e-5)
    assert optimizer.param_groups[0]["lr"] == math.inf


def test_a_closure_is_evaluated_with_gradients_and_its_loss_is_returned():
    network, problem = dln.DiagonalLinearNetwork(9, 3, 0.1), gaussian(4, 9, 2)
    optimizer = dln.RelativeSGD(network.parameters(), kappa=0.05)

    def closure():
        optimizer.zero_grad()
        loss = problem.loss(network.psi)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert float(first.detach()) == float(problem.loss(torch.zeros(9, dtype=torch.float64)))
    assert float(optimizer.step(closure).detach()) < float(first.detach())


def test_schedulers_change_lr_and_the_rule_stays():
    parameter = nn.Parameter(torch.ones(3))
    optimizer = dln.RelativeSGD([parameter], lr=1e-3, kappa=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    etas = []
    for _ in range(3):
        parameter.grad = torch.ones(3)
        optimizer.step()
        scheduler.step()
        etas.append(optimizer.param_groups[0]["eta"])
    assert etas == pytest.approx([1e-3, 1e-4, 1e-5])
    parameter.grad = torch.full((3,), 1e9)
    optimizer.step()
    assert optimizer.param_groups[0]["eta"] == pytest.approx(1e-11, rel=1e-2)


def test_state_goes_through_a_file_a_copy_and_a_pickle():
    problem = gaussian(4, 9, 2)
    network = dln.DiagonalLinearNetwork(9, 3, 0.1)
    optimizer = dln.RelativeSGD.for_problem(network, problem, kappa=0.02)
    _descended(optimizer, lambda: problem.loss(network.psi), 5)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    twin = dln.DiagonalLinearNetwork(9, 3, 0.1)
    twin.load_state_dict(network.state_dict())
    other = dln.RelativeSGD.for_problem(twin, problem, kappa=0.3)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert other.param_groups[0]["time"] == optimizer.param_groups[0]["time"] > 0
    third, third_optimizer = copy.deepcopy((network, optimizer))
    fourth, fourth_optimizer = pickle.loads(pickle.dumps((network, optimizer)))
    for one, stepped in ((network, optimizer), (twin, other), (third, third_optimizer), (fourth, fourth_optimizer)):
        _descended(stepped, lambda one=one: problem.loss(one.psi), 5)
        assert torch.equal(one.theta_plus, network.theta_plus)


def test_a_parameter_at_rest_stays_and_does_not_hold_the_others():
    parameter = nn.Parameter(torch.tensor([0.0, 1.0]))
    parameter.grad = torch.tensor([0.0, 2.0])
    optimizer = dln.RelativeSGD([parameter], kappa=0.1)
    optimizer.step()
    assert parameter.tolist() == pytest.approx([0.0, 0.9])
    parameter.grad = torch.zeros(2)
    optimizer.step()
    assert parameter.tolist() == pytest.approx([0.0, 0.9])
    assert optimizer.param_groups[0]["eta"] == 0.0
    optimizer.zero_grad()
    optimizer.step()  # nothing has a gradient
    assert optimizer.param_groups[0]["time"] == pytest.approx(0.05)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_moves_nothing(value):
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    first.grad, second.grad = torch.ones(2), torch.tensor([1.0, value])
    optimizer = dln.RelativeSGD([{"params": [first]}, {"params": [second]}], lr=0.1)
    with pytest.raises(FloatingPointError, match=f"gradients must be finite, got {value} in parameter group 1"):
        optimizer.step()
    assert first.tolist() == second.tolist() == [1.0, 1.0]


def test_float32_parameters_too_small_for_a_quotient():
    parameter = nn.Parameter(torch.tensor([1e-30, 1.0]))
    parameter.grad = torch.tensor([1e20, 1.0])
    optimizer = dln.RelativeSGD([parameter], kappa=0.1)
    optimizer.step()
    assert optimizer.param_groups[0]["eta"] == pytest.approx(1e-51)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, r"lr must be a real number >= 0, or None for no largest step, got -1\.0"),
        ({"lr": math.nan}, "lr must be a real number >= 0"),
        ({"lr": "auto"}, "lr must be a real number >= 0, or None for no largest step, got 'auto'"),
        ({"kappa": 0.31}, r"kappa must be a finite real number > 0 and <= 0.3, got 0\.31"),
        ({"kappa": 0}, "kappa must be a finite real number > 0 and <= 0.3, got 0"),
        ({"foreach": "yes"}, "foreach must be true, false or None, got 'yes'"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(InputError, match=message):
        dln.RelativeSGD([nn.Parameter(torch.ones(2))], **arguments)


def test_mistakes_of_parameters_and_gradients():
    with pytest.raises(InputError, match="params must be real, got a complex parameter"):
        dln.RelativeSGD([nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="gradients must be dense, got a sparse one in parameter group 0"):
        dln.RelativeSGD(embedding.parameters()).step()
    zero = nn.Parameter(torch.zeros(2))
    zero.grad = torch.tensor([0.0, 3.0])
    with pytest.raises(InputError, match="parameters must not be 0 where kappa is given, got a 0 with gradient 3"):
        dln.RelativeSGD([zero]).step()
    with pytest.raises(InputError, match="lr must be given where kappa is None, got none in parameter group 0"):
        dln.RelativeSGD([zero], kappa=None).step()
    optimizer = dln.RelativeSGD([zero], lr=0.1)
    optimizer.param_groups[0]["kappa"] = 2.0
    with pytest.raises(InputError, match="kappa must be"):
        optimizer.step()
    problem = gaussian(4, 9, 2)
    with pytest.raises(InputError, match="network must be one DiagonalLinearNetwork of n=9"):
        dln.RelativeSGD.for_problem(dln.DiagonalLinearNetwork(8, 3, 0.1), problem)
    optimizer = dln.RelativeSGD.for_problem(dln.DiagonalLinearNetwork(9, 3, 0.1), problem)
    with pytest.raises(InputError, match="param_group must be left out with for_problem"):
        optimizer.add_param_group({"params": [zero]})
