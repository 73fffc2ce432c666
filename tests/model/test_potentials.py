"""h_p, its inverse, H_p, q_p and g_p against 150-digit arithmetic, each other and their limits."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlntorch.model import potentials
from dlntorch.numerics.validation import InputError

ULP = 2.0**-52
DEPTHS = [2.0, 2 + 1e-9, 2 + 1e-5, 2.1, 2.2, 2.5, 3.0, 4.0, 6.0, 50.0]
DIGITS = 150  # so that (1 − τ)^{−k} − (1 + τ)^{−k} can be formed at τ = 1e-60


def _ratio(p):
    return mp.mpf(p) / (mp.mpf(p) - 2)


def exact_h(tau, p):
    t = mp.mpf(float(tau))
    return 2 * mp.sinh(t) if p == 2 else (1 - t) ** -_ratio(p) - (1 + t) ** -_ratio(p)


def exact_h_prime(tau, p):
    t = mp.mpf(float(tau))
    if p == 2:
        return 2 * mp.cosh(t)
    k = _ratio(p)
    return k * ((1 - t) ** (-k - 1) + (1 + t) ** (-k - 1))


def exact_H(tau, p):
    t = mp.mpf(float(tau))
    if p == 2:
        return 2 * (mp.cosh(t) - 1)
    j = 2 / (mp.mpf(p) - 2)
    return ((1 - t) ** -j + (1 + t) ** -j - 2) / j


def exact_g(x, p):
    size = mp.mpf(abs(float(x)))
    return size * (mp.log(size) - 1) if p == 2 else size - mp.mpf(p) / 2 * size ** (2 / mp.mpf(p))


def exact_inverse(x, p):
    """(τ, 1 − τ) with h_p(τ) = x > 0, by Newton on log h in b = k atanh τ."""
    X = mp.mpf(float(x))
    if p == 2:
        return mp.asinh(X / 2), None
    k = _ratio(p)
    b = mp.asinh(X / 2) / 2
    for _ in range(200):
        step = (mp.log(2 * mp.sinh(b)) + k * mp.log(mp.cosh(b / k)) - mp.log(X)) / (mp.coth(b) + mp.tanh(b / k))
        b = b - step if step < b else b / 2
        if abs(step) < mp.mpf(10) ** -60 * b:
            break
    return mp.tanh(b / k), 2 / (1 + mp.exp(2 * b / k))


def arguments(p, count=12):
    """τ near 0, in the middle and near the pole, both signs, without overflow of h'."""
    rng = np.random.default_rng(1)
    t = np.concatenate(
        [10.0 ** rng.uniform(-60, 0, count), rng.uniform(0, 1, count), 1 - 10.0 ** rng.uniform(-15, -1, count)]
    )
    if p == 2:
        t = 20 * t
    else:
        k = p / (p - 2)
        t = np.concatenate([t, 10.0 ** rng.uniform(-3, 1.5, count) / k])
        t = t[t < 1]
        t = t[-(k + 1) * np.log1p(-t) + math.log(k) < 700]
    return np.concatenate([t, -t])


def ulps(value, exact):
    return float(abs(mp.mpf(float(value)) - exact) / abs(exact)) / ULP


@pytest.mark.parametrize("p", DEPTHS)
@pytest.mark.parametrize(
    ("function", "exact"),
    [(potentials.h, exact_h), (potentials.h_prime, exact_h_prime), (potentials.H, exact_H)],
    ids=["h", "h_prime", "H"],
)
def test_functions_of_tau_are_right_to_a_few_ulp(p, function, exact):
    taus = arguments(p)
    with mp.workdps(DIGITS):
        errors = [ulps(a, exact(t, p)) for t, a in zip(taus, function(taus, p), strict=True)]
    assert max(errors) <= 4


@pytest.mark.parametrize("p", DEPTHS)
def test_inverse_and_q_are_right_to_a_few_ulp(p):
    rng = np.random.default_rng(2)
    xs = np.concatenate([10.0 ** rng.uniform(-60, 300, 12), 10.0 ** rng.uniform(-4, 6, 12)])
    tau, u, v = potentials.h_inverse_uv(xs, p)
    back, below, above = potentials.h_inverse_uv(-xs, p)
    assert torch.equal(tau, -back)
    assert torch.equal(u, above)
    assert torch.equal(v, below)
    values = potentials.q(xs, p)
    with mp.workdps(DIGITS):
        for x, t, d, value in zip(xs, tau, u, values, strict=True):
            T, U = exact_inverse(x, p)
            assert ulps(t, T) <= 4
            if U is not None:
                assert ulps(d, U) <= 4
            conjugate = mp.mpf(float(x)) * T - (
                2 * (mp.cosh(T) - 1)
                if p == 2
                else (U ** (-2 / (mp.mpf(p) - 2)) + (2 - U) ** (-2 / (mp.mpf(p) - 2)) - 2) * (mp.mpf(p) - 2) / 2
            )
            assert ulps(value, conjugate) <= 5


@pytest.mark.parametrize("p", DEPTHS)
def test_selector_against_mpmath(p):
    xs = np.concatenate([10.0 ** np.linspace(-100, 100, 60), -(10.0 ** np.linspace(-3, 3, 31))])
    with mp.workdps(60):
        for x, value in zip(xs, potentials.g(xs, p), strict=True):
            exact = exact_g(x, p)
            # Near its zero |x| = (p/2)^{p/(p−2)} (e at p = 2) g is a difference: the error is that of its terms.
            scale = abs(x) * (abs(math.log(abs(x))) + 1) * min(1, p - 2 if p > 2 else 1)
            assert abs(mp.mpf(float(value)) - exact) <= 6 * ULP * max(abs(float(exact)), scale)


@pytest.mark.parametrize("p", [2.2, 3.0, 4.0, 50.0])
@pytest.mark.parametrize("gap", [1e-3, 1e-12, 1e-25, 1e-60])
def test_pole_with_the_distance_given_separately(p, gap):
    """τ rounds to 1 at 1e-25; u = 1 − τ keeps the digits."""
    tau = float(1 - mp.mpf(gap))
    with mp.workdps(100):
        k, j, u, v = _ratio(p), 2 / (mp.mpf(p) - 2), mp.mpf(gap), 2 - mp.mpf(gap)
        exact = [u**-k - v**-k, k * (u ** (-k - 1) + v ** (-k - 1)), (u**-j + v**-j - 2) / j]
        given_u = [f(tau, p, u=gap) for f in (potentials.h, potentials.h_prime, potentials.H)]
        for value, reference in zip(given_u, exact, strict=True):
            assert math.isinf(float(value)) or ulps(value, reference) <= 4
            assert math.isfinite(float(value)) or reference > 1e308
    mirrored = potentials.h(-tau, p, u=2 - gap, v=gap)
    assert float(mirrored) == -float(given_u[0])


@pytest.mark.parametrize("x", [1e-8, 0.3, 1.0, 5.0])
def test_depth_two_is_the_limit_after_rescaling(x):
    """x = kτ: h_p(x/k) → h_2(x) and so on, with an error of first order in p − 2; 2 g_p/(p − 2) → g_2."""
    gaps = [1e-3, 1e-5, 1e-9]
    for eps in gaps:
        p = 2 + eps
        k = p / (p - 2)
        pairs = [
            (potentials.h(x / k, p), potentials.h(x, 2)),
            (potentials.h_prime(x / k, p) / k, potentials.h_prime(x, 2)),
            (k * potentials.H(x / k, p), potentials.H(x, 2)),
            (k * potentials.h_inverse(x, p), potentials.h_inverse(x, 2)),
            (k * potentials.q(x, p), potentials.q(x, 2)),
            (2 * potentials.g(x, p) / (p - 2), potentials.g(x, 2)),
        ]
        for near, limit in pairs:
            # The float64 depth 2 + eps and the division x/k round too: eps is the coarser of the two here.
            assert float(abs(near - limit)) <= (30 * eps + 1e-14) * float(abs(limit))


@pytest.mark.parametrize("p", [2.0, 2.3, 3.0, 7.0, 50.0])
def test_derivatives_by_gradcheck(p):
    tau = torch.tensor([-0.8, -1e-3, 0.5], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([-30.0, -0.01, 3.0], dtype=torch.float64, requires_grad=True)
    for function in (potentials.h, potentials.h_prime, potentials.H):
        assert torch.autograd.gradcheck(lambda t, f=function: f(t, p), tau, rtol=1e-4)
        assert torch.autograd.gradgradcheck(lambda t, f=function: f(t, p), tau, rtol=1e-3)
    for function in (potentials.h_inverse, potentials.q, potentials.g):
        assert torch.autograd.gradcheck(lambda t, f=function: f(t, p), x, rtol=1e-4)
        assert torch.autograd.gradgradcheck(lambda t, f=function: f(t, p), x, rtol=1e-3)


@pytest.mark.parametrize("p", [2.0, 2 + 1e-9, 2.2, 3.0, 50.0])
def test_derivatives_are_the_named_functions(p):
    tau = torch.tensor([-0.9, -1e-12, 0.0, 1e-5, 0.6], dtype=torch.float64)
    tau = (tau / (p / (p - 2) if 2 < p < 2.1 else 1)).requires_grad_()
    x = torch.tensor([-1e5, -1e-9, 0.0, 0.7, 1e8], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(potentials.H(tau, p).sum(), tau)
    assert torch.allclose(slope, potentials.h(tau.detach(), p), rtol=1e-14, atol=0)
    (slope,) = torch.autograd.grad(potentials.h(tau, p).sum(), tau)
    assert torch.allclose(slope, potentials.h_prime(tau.detach(), p), rtol=1e-14, atol=0)
    (slope,) = torch.autograd.grad(potentials.q(x, p).sum(), x)
    assert torch.allclose(slope, potentials.h_inverse(x.detach(), p), rtol=1e-14, atol=0)


@pytest.mark.parametrize("p", [2.0, 2.5, 4.0])
def test_values_at_the_ends(p):
    infinity = torch.tensor([math.inf, -math.inf], dtype=torch.float64)
    end = torch.tensor([1.0, -1.0], dtype=torch.float64) if p > 2 else infinity
    assert torch.equal(potentials.h(end, p), infinity)
    assert torch.equal(potentials.h_inverse(infinity, p), end)
    assert float(potentials.q(0.0, p)) == float(potentials.H(0.0, p)) == float(potentials.g(0.0, p)) == 0
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(potentials.g(zero, p), zero)
    assert float(slope) == 0


def test_dtypes_shapes_and_conversions():
    tau = torch.full((2, 3), 0.25, dtype=torch.float32)
    assert potentials.h(tau, 3.0).dtype == torch.float32
    assert potentials.h(tau, 3.0).shape == (2, 3)
    assert potentials.h([0.25, 0.5], 3).dtype == torch.float64
    assert potentials.q(np.array([1, 2]), 3).shape == (2,)
    assert potentials.H(torch.tensor(0), 3).dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: potentials.h(0.1, 1.9), "p"),
        (lambda: potentials.h(1.1, 3), "tau"),
        (lambda: potentials.h(math.nan, 3), "tau"),
        (lambda: potentials.H(math.nan, 2), "tau"),
        (lambda: potentials.h(1.0, 3, u=0.0), "u"),
        (lambda: potentials.h(1.0, 2, u=1.0), "u"),
        (lambda: potentials.H(1.0, 2, v=1.0), "u"),
        (lambda: potentials.h_inverse(math.nan, 3), "x"),
        (lambda: potentials.q(math.nan, 3), "x"),
        (lambda: potentials.g("one", 3), "x"),
        (lambda: potentials.g(torch.tensor(1j), 3), "x"),
    ],
)
def test_mistakes_are_named(call, name):
    with pytest.raises(InputError, match=rf"^{name} "):
        call()


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(2, 50), st.floats(-1e12, 1e12))
def test_inverse_undoes_h(p, x):
    tau, u, v = potentials.h_inverse_uv(x, p)
    again = potentials.h(tau, p) if p == 2 else potentials.h(tau, p, u=u, v=v)
    # h amplifies the half ulp of u by k: the condition number of h at τ.
    amplification = 1 + abs(math.log(abs(x) + 1)) + (p / (p - 2) * min(1, abs(float(tau))) if p > 2 else 1)
    assert abs(float(again) - x) <= 4 * ULP * amplification * abs(x) + 1e-300


@pytest.mark.parametrize("p", [2, 2.5, 3, 50])
def test_the_selector_is_infinite_at_infinity(p):
    x = torch.tensor([-math.inf, math.inf, 1.0], dtype=torch.float64, requires_grad=True)
    value = potentials.g(x, p)
    assert value[:2].tolist() == [math.inf, math.inf]
    value.sum().backward()
    assert not bool(torch.isnan(x.grad).any())
