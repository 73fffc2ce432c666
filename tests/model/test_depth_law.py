"""The laws of a depth against the potentials, the limit of a flow and the bounds' own formulas; and p → 2 against p = 2."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dlntorch as dln
from dlntorch.model.depth_law import depth_law
from dlntorch.model.potentials import g, h_inverse

DEPTHS = (2, 2.5, 3, 4, 7)


@pytest.mark.parametrize("p", DEPTHS)
def test_the_selector_s_slope_is_that_of_g(p):
    x = torch.logspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(g(x, p).sum(), x)
    np.testing.assert_allclose(slope.numpy(), depth_law(p).selector_slope(x.detach().numpy()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", DEPTHS)
def test_far_out_the_potential_s_slope_is_the_selector_s(p):
    x = 1e12
    assert float(h_inverse(x, p)) == pytest.approx(float(depth_law(p).selector_slope(x)), rel=1e-8)


@settings(max_examples=50, deadline=None)
@given(p=st.floats(2, 8), log_alpha=st.floats(-20, -0.1), ratio=st.floats(1, 1e6))
def test_no_theta_of_the_flow_is_below_its_bound(p, log_alpha, ratio):
    """θ₋ where θ₊ = ratio·α on the curve θ₊^{2−p} + θ₋^{2−p} = 2α^{2−p}, in units of α."""
    smaller = -math.log(ratio) if p == 2 else -math.log1p(-math.expm1((2 - p) * math.log(ratio))) / (p - 2)
    log_largest = p * (log_alpha + math.log(ratio))
    bound = depth_law(p).log_least_theta(log_largest, log_alpha)
    assert bound <= log_alpha + smaller + 1e-9 * max(1.0, abs(log_alpha + smaller))


@pytest.mark.parametrize("p", DEPTHS)
@pytest.mark.parametrize("distance", [0.03, 0.01])
def test_the_limit_is_half_way_at_that_alpha(p, distance):
    """On A = (1, 1 − δ) the entries of the limit, equal for δ = 0, are as 2 : 1, at p = 2 as e : 1, to first order in δ."""
    alpha = 10 ** depth_law(p).log10_half_way(distance)
    psi = dln.flow_limit(dln.Problem([[1.0, 1 - distance]], [1.0]), p, alpha).psi
    share = 1 / (1 + math.e) if p == 2 else 1 / 3
    assert abs(float(psi[1] / psi.sum()) - share) <= 3 * distance


@pytest.mark.parametrize("alpha", [1e-1, 1e-4])
def test_depth_two_is_the_limit_of_the_others(alpha):
    p = 2 + 1e-7
    near, at = depth_law(p), depth_law(2)
    assert (near.unit_of_time(alpha) - 1) / (p - 2) == pytest.approx(at.unit_of_time(alpha), rel=1e-4)
    assert (1 - near.relative_cost(alpha)) / (p - 2) * 2 == pytest.approx(1 / at.relative_cost(alpha), rel=1e-4)
    assert near.selector_slope(5.0) * p / (p - 2) == pytest.approx(at.selector_slope(5.0), rel=1e-4)


def test_what_is_no_depth_is_one_line():
    with pytest.raises(dln.InputError, match="^p must be "):
        depth_law(1.5)
