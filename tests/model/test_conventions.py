"""The papers' conventions: a descent in theirs, by autograd, is the package's with the converted numbers."""

from __future__ import annotations

import pytest
import torch

import dlntorch as dln
from dlntorch.model.conventions import Convention
from dlntorch.optim.update import SAM, WeightDecay
from tests.problems import gaussian

PROBLEM = gaussian(5, 12, seed=1)
M = PROBLEM.m
CASES = [
    Convention(),
    Convention(factor=0.25),
    Convention(factor=0.25, loss=1 / M),
    Convention(loss=1 / (2 * M)),
    Convention(layers=True),
    Convention(layers=True, loss=1 / M),
    Convention(p=3, factor=0.5, loss=2),
    Convention(p=2.7, factor=3.0),
]


def vector(paper, first, second):
    return first * second if paper.layers else paper.factor * (first**paper.p - second**paper.p)


def begin(paper):
    """Parameters of the paper's whose θ are positive and differ."""
    plus, minus = torch.linspace(0.1, 0.4, PROBLEM.n).double(), torch.linspace(0.3, 0.2, PROBLEM.n).double()
    return paper.parameters(plus, minus)


def papers_descent(paper, gamma, steps, decay=0.0, radius=0.0, normalized=False):
    w = [part.clone().requires_grad_() for part in begin(paper)]

    def slopes(point):
        error = PROBLEM.A @ vector(paper, *point) - PROBLEM.y
        return torch.autograd.grad(paper.loss * 0.5 * (error**2).sum(), point)

    for _ in range(steps):
        slope = slopes(w)
        if radius:
            length = torch.linalg.vector_norm(torch.stack(slope)) if normalized else 1.0
            slope = slopes([(a + radius * d / length).detach().requires_grad_() for a, d in zip(w, slope, strict=True)])
        w = [(a - gamma * (d + decay * a)).detach().requires_grad_() for a, d in zip(w, slope, strict=True)]
    return [part.detach() for part in w]


def ours(paper, gamma, steps, optimizer="sgd"):
    start = paper.start(*begin(paper))
    eta = paper.eta(gamma)
    return dln.train(
        PROBLEM, paper.p, start, "constant", eta=eta, optimizer=optimizer, max_steps=steps, tol=0, references=False
    )


@pytest.mark.parametrize("paper", CASES, ids=str)
def test_descent_is_the_same_in_both_conventions(paper):
    gamma, steps = paper.gamma(2e-3), 300
    theirs, run = papers_descent(paper, gamma, steps), ours(paper, gamma, steps)
    back = paper.parameters(run.theta_plus, run.theta_minus)
    for a, b in zip(theirs, back, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(vector(paper, *theirs), run.psi, rtol=1e-10, atol=1e-13)
    assert run.summary["time"] == pytest.approx(paper.time(gamma * steps), rel=1e-12)


@pytest.mark.parametrize("paper", CASES, ids=str)
@pytest.mark.parametrize("normalized", [False, True])
def test_weight_decay_and_sam_convert(paper, normalized):
    gamma, steps = paper.gamma(2e-3), 100
    decayed = papers_descent(paper, gamma, steps, decay=0.3 * paper.rate)
    run = ours(paper, gamma, steps, WeightDecay(strength=paper.strength(0.3 * paper.rate)))
    for a, b in zip(paper.theta(*decayed), (run.theta_plus, run.theta_minus), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    radius = 0.02
    sharp = papers_descent(paper, gamma, steps, radius=radius, normalized=normalized)
    run = ours(paper, gamma, steps, SAM(paper.rho(radius, normalized), normalized))
    for a, b in zip(paper.theta(*sharp), (run.theta_plus, run.theta_minus), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("paper", CASES, ids=str)
def test_there_and_back(paper):
    first, second = begin(paper)
    for a, b in zip(paper.parameters(*paper.theta(first, second)), (first, second), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
    assert paper.gamma(paper.eta(0.1)) == pytest.approx(0.1, rel=1e-15)


def test_two_layers_are_the_product():
    paper = Convention(layers=True)
    product = dln.train(PROBLEM, dln.Product(2), 0.3, "constant", eta=1e-2, max_steps=200, tol=0, references=False)
    power = dln.train(
        PROBLEM, 2, paper.start(0.3, 0.0), "constant", eta=paper.eta(1e-2), max_steps=200, tol=0, references=False
    )
    torch.testing.assert_close(product.psi, power.psi, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"p": 1}, "p must be"),
        ({"factor": 0}, "factor must be"),
        ({"loss": -1}, "loss must be"),
        ({"layers": True, "p": 3}, "layers must be false where p is not 2"),
        ({"layers": True, "factor": 0.25}, "layers must be false"),
    ],
)
def test_mistakes_are_one_line(options, said):
    with pytest.raises(dln.InputError, match=said) as refused:
        Convention(**options)
    assert "\n" not in str(refused.value)
