"""Mirrors: closed forms against the generic tables, and both against what defines them."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

import dlntorch as dln
from dlntorch.model import CurveMirror, check_start
from tests.model.cases import Sinh, Tanh, TwoSinh

PARAMETRIZATIONS = [
    *(dln.Power(p) for p in (2, 2.2, 2.5, 3, 4, 7)),
    *(dln.Nonnegative(p) for p in (2, 2.5, 3, 5)),
    *(dln.Product(layers) for layers in (2, 3, 4, 6)),
    Sinh(),
    TwoSinh(),
]
ALPHAS = [1.0, 0.1, 1e-3]


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def values_of(parametrization, alpha: float) -> torch.Tensor:
    """ψ on all scales, those of α included."""
    unit = float(parametrization.mirror(parametrization.start(alpha, 1)).origin[0]) or alpha**3
    if isinstance(parametrization, dln.Nonnegative):
        return unit * tensor(0.01, 0.5, 1.5, 1e3) + tensor(0, 0, 0, 2.0)
    return tensor(-3.0, -0.2 * unit, 0.3 * unit, 1e-3, 0.7, 40.0)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS, ids=repr)
def test_the_generic_mirror_is_the_closed_form(parametrization, alpha):
    psi = values_of(parametrization, alpha)
    start = check_start(parametrization, parametrization.start(alpha, len(psi)), len(psi))
    closed, generic = parametrization.mirror(start), CurveMirror(parametrization, start)
    torch.testing.assert_close(closed.theta(psi), generic.theta(psi), rtol=1e-10, atol=1e-13 * alpha)
    torch.testing.assert_close(closed.nu(psi), generic.nu(psi), rtol=1e-10, atol=0)
    torch.testing.assert_close(closed.potential(psi), generic.potential(psi), rtol=1e-9, atol=0)
    torch.testing.assert_close(closed.slope(psi), generic.slope(psi), rtol=1e-10, atol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS, ids=repr)
def test_value_slope_and_potential_belong_together(parametrization, alpha):
    psi = values_of(parametrization, alpha)
    mirror = parametrization.mirror(parametrization.start(alpha, len(psi)))
    torch.testing.assert_close(parametrization.value(mirror.theta(psi)), psi, rtol=1e-10, atol=1e-13 * alpha**2)
    size = torch.minimum((psi - mirror.origin).abs(), psi.abs())  # the curve changes on both scales
    for part in (1e-9, 1e-4, 0.1):  # Q′ = Ψ⁻¹ and the step of ν is the integral of 1/D, over short and long steps
        step = part * size
        nu_step = mirror.nu_step(psi, step)
        middle = mirror.slope(psi + 0.5 * step)
        ends = 1 / mirror.slope(psi) + 4 / middle + 1 / mirror.slope(psi + step)
        torch.testing.assert_close(nu_step, step * ends / 6, rtol=max(30 * part**4, 1e-9), atol=0)
        torch.testing.assert_close(mirror.after(psi, nu_step), psi + step, rtol=1e-12, atol=0)
    step = 0.05 * size
    work = (mirror.nu(psi) + 4 * mirror.nu(psi + 0.5 * step) + mirror.nu(psi + step)) * step / 6
    torch.testing.assert_close(mirror.potential(psi + step) - mirror.potential(psi), work, rtol=2e-4, atol=0)
    nu = mirror.nu(psi)
    inner = nu.abs() < 0.9 * mirror.nu(100 * size + psi).abs()  # where ν has digits to go back
    torch.testing.assert_close(mirror.psi(nu)[inner], psi[inner], rtol=1e-7, atol=1e-13)
    torch.testing.assert_close(
        mirror.conjugate(nu)[inner], (nu * psi - mirror.potential(psi))[inner], rtol=1e-7, atol=1e-13
    )


@pytest.mark.parametrize("p", [2, 2.5, 3, 6])
def test_unequal_starts_follow_their_own_closed_form(p):
    plus, minus = tensor(0.1, 0.5, 1e-3, 2.0), tensor(0.3, 0.5, 1e-2, 0.1)
    power = dln.Power(p)
    mirror = power.mirror(power.start(dln.Initialization(plus, minus), 4))
    psi = tensor(0.4, -1.0, 0.7, -3.0)
    theta = mirror.theta(psi)
    if p == 2:
        nu = 0.5 * torch.log(theta[0] / plus)
        torch.testing.assert_close(theta[1], minus * torch.exp(-2 * nu), rtol=1e-13, atol=0)
    else:
        nu = (plus ** (2 - p) - theta[0] ** (2 - p)) / (p * (p - 2))
        torch.testing.assert_close(theta[1] ** (2 - p), minus ** (2 - p) + p * (p - 2) * nu, rtol=1e-11, atol=0)
    torch.testing.assert_close(mirror.nu(psi), nu, rtol=1e-9, atol=0)
    torch.testing.assert_close(mirror.origin, plus**p - minus**p, rtol=0, atol=0)
    generic = CurveMirror(power, mirror.start)
    torch.testing.assert_close(mirror.potential(psi), generic.potential(psi), rtol=1e-9, atol=0)


def test_products_of_two_three_and_four_layers_have_the_closed_forms_of_the_theory():
    alpha, psi = 0.1, tensor(-2.0, 1e-4, 0.3, 7.0)
    two = dln.Product(2).mirror(dln.Product(2).start(alpha, 4))
    torch.testing.assert_close(two.nu(psi), 0.5 * torch.asinh(2 * psi / alpha**2), rtol=1e-12, atol=0)
    three = dln.Product(3)
    q = three.mirror(three.start(alpha, 4)).theta(psi)[2]
    torch.testing.assert_close((q**2 + alpha**2) * q, psi, rtol=1e-12, atol=0)
    nu = three.mirror(three.start(alpha, 4)).nu(psi)
    torch.testing.assert_close(nu, torch.atan(q / alpha) / alpha, rtol=1e-12, atol=0)
    four = dln.Product(4)
    mirror = four.mirror(four.start(alpha, 4))
    q = mirror.theta(psi)[3]
    torch.testing.assert_close(mirror.nu(psi), q / (alpha**2 * torch.sqrt(q**2 + alpha**2)), rtol=1e-12, atol=0)


def test_a_curve_without_a_closed_form_agrees_with_quadrature_in_many_digits():
    alpha, top = 0.05, 0.8
    mirror = TwoSinh().mirror(TwoSinh().start(alpha, 1))
    with mpmath.workdps(30):
        # dν = dθ₊/G₊′(θ₊) = −dθ₋/G₋′(θ₋) with G±′ = 3 sinh² cosh: ν of θ₊, and θ₋ where −∫dθ₋/G′ is the same.
        def nu(low, high):
            return mpmath.quad(lambda x: 1 / (3 * mpmath.sinh(x) ** 2 * mpmath.cosh(x)), [low, high])

        whole = nu(mpmath.mpf(alpha), mpmath.mpf(top))
        minus = mpmath.findroot(lambda x: nu(x, mpmath.mpf(alpha)) - whole, alpha / 2)
        psi = mpmath.sinh(top) ** 3 - mpmath.sinh(minus) ** 3
    at = tensor(float(psi))
    assert float(mirror.nu(at)[0]) == pytest.approx(float(whole), rel=1e-11)
    assert mirror.theta(at)[:, 0].tolist() == pytest.approx([top, float(minus)], rel=1e-11)


def test_the_sinh_network_has_tan_for_a_mirror():
    mirror = Sinh().mirror(Sinh().start(1.0, 4))
    psi = tensor(-1e6, -0.3, 1e-8, 1e12)
    torch.testing.assert_close(mirror.nu(psi), torch.atan(psi), rtol=1e-12, atol=0)
    exact = psi * torch.atan(psi) - 0.5 * torch.log1p(psi**2)
    torch.testing.assert_close(mirror.potential(psi)[:2], exact[:2], rtol=1e-12, atol=0)
    assert mirror.range()[1].isinf().all()
    assert mirror.psi(tensor(0.0, 1.0, -1.5, 1.6)).isnan().tolist() == [False, False, False, True]


def test_a_bounded_curve_says_where_it_ends():
    low, high = Tanh().mirror(Tanh().start(0.1, 2)).range()
    assert low.tolist() == pytest.approx([-1, -1], abs=1e-6)
    assert high.tolist() == pytest.approx([1, 1], abs=1e-6)
    assert Tanh().mirror(Tanh().start(0.1, 1)).theta(tensor(1.5)).isnan().all()


@pytest.mark.parametrize("p", [2, 2.5, 3, 6])
def test_small_changes_at_large_alpha_keep_their_digits(p):
    """Where ψ is far below α^p, θ₊^p − θ₋^p has no digits; a step of the mirror has all of them."""
    alpha = 1e3
    mirror = dln.Power(p).mirror(dln.Power(p).start(alpha, 2))
    step = tensor(1e-3, -1e-9) / (2 * p * p * alpha ** (2 * p - 2))
    torch.testing.assert_close(mirror.after(tensor(0.0, 0.0), step), tensor(1e-3, -1e-9), rtol=1e-12, atol=0)
    psi = mirror.after(mirror.after(tensor(0.0, 0.0), 0.25 * step), 0.75 * step)
    torch.testing.assert_close(psi, tensor(1e-3, -1e-9), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"slope": lambda self, theta: theta}, "slope must be the derivative"),
        ({"slope": lambda self, theta: torch.cosh(theta)[0]}, "slope must return a tensor of shape"),
        ({"value": lambda self, theta: torch.sinh(theta)}, "value must return a tensor of shape"),
        ({"start": lambda self, alpha, n: torch.zeros(2, n)}, "start must have shape"),
        ({"start": lambda self, alpha, n: torch.full((1, n), math.nan)}, "start must be finite"),
        ({"positive": True}, "start must be > 0"),
    ],
)
def test_a_broken_parametrization_is_refused_in_one_line(bad, message):
    broken = type("Broken", (Sinh,), bad)()
    with pytest.raises(dln.InputError, match=message) as found:
        check_start(broken, broken.start(0.1, 3), 3)
    assert "\n" not in str(found.value)
    assert "Broken" in str(found.value)


def test_the_default_curvature_is_the_derivative_of_the_slope():
    theta = torch.rand(2, 5, dtype=torch.float64) + 0.1
    for parametrization in (dln.Power(3.5), dln.Product(2), TwoSinh()):
        generic = dln.Parametrization.curvature(parametrization, theta)
        torch.testing.assert_close(parametrization.curvature(theta), generic, rtol=1e-12, atol=1e-14)
