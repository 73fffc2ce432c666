"""What every parametrization promises, run over all that the package has: one is tested by being a subclass there."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

import dlntorch as dln
import dlntorch.model
from dlntorch.model import Parametrization
from dlntorch.model.parametrization import check_start
from dlntorch.run.nouns import MODELS, model_of

EXAMPLES = {
    "Entropy": [dln.Power(2)],
    "Power": [dln.Power(p) for p in (2.5, 3, 4, 6)],
    "Product": [dln.Product(layers) for layers in (2, 3, 4, 5)],
    "Nonnegative": [dln.Nonnegative(p) for p in (2, 2.5, 3)],
}


def registered(kind: type = Parametrization) -> set[type]:
    """The classes of the room, from the class tree: plug-ins of tests and studies stand outside."""
    found = set()
    for child in kind.__subclasses__():
        whole = child.__module__.startswith("dlntorch.model.") and not inspect.isabstract(child)
        found |= registered(child) | ({child} if whole else set())
    return found


class Sinh(Parametrization):
    """ψ = 2 sinh θ with one parameter a coordinate: all that a user has to write, outside the package."""

    width = 1

    def value(self, theta):
        return 2 * torch.sinh(theta[0])

    def slope(self, theta):
        return 2 * torch.cosh(theta)

    def start(self, alpha, n):
        return torch.full((1, n), -alpha, dtype=torch.float64)


CASES = [case for examples in EXAMPLES.values() for case in examples] + [Sinh()]
every_case = pytest.mark.parametrize("law", CASES, ids=repr)
N = 7


def planted(law: Parametrization, scale: float = 0.5) -> dln.Problem:
    """A problem with an interpolating ψ that the parametrization can reach."""
    rng = np.random.default_rng(7)
    A = rng.standard_normal((3, N)) / 2
    psi = scale * rng.standard_normal(N)
    return dln.Problem(A, A @ (abs(psi) if isinstance(law, dln.Nonnegative) else psi))


def points(law: Parametrization) -> torch.Tensor:
    """θ on both sides of the start where a parametrization has two."""
    generator = torch.Generator().manual_seed(3)
    theta = 0.3 + torch.rand(law.width, N, generator=generator, dtype=torch.float64)
    if not law.positive:
        theta = theta * torch.where(torch.rand(law.width, N, generator=generator) < 0.5, -1.0, 1.0)
    return theta


def along(law: Parametrization, alpha: float) -> tuple:
    """The mirror from the start, and ψ on its curve: near the start, and far on the sides it has."""
    mirror = law.mirror(law.start(alpha, N))
    offset = torch.logspace(-6, 1, N, dtype=torch.float64)
    if not isinstance(law, dln.Nonnegative):
        offset = offset * torch.tensor([1.0, -1.0] * N)[:N]
    return mirror, mirror.origin + offset


def test_every_class_has_examples():
    assert {kind.__name__ for kind in registered()} == set(EXAMPLES)
    assert {type(case).__name__ for case in CASES} - {"Sinh"} == set(EXAMPLES)


@pytest.mark.parametrize("name", MODELS)
def test_every_name_of_the_command_line_makes_one(name):
    group = {"name": name, "_target_": None, **({"layers": 3} if name == "product" else {})}
    made = model_of(group, 3)
    assert type(dln.model.as_parametrization(made)) in registered()


@every_case
def test_value_slope_and_curvature_are_derivatives(law):
    theta = points(law).requires_grad_()
    (derivative,) = torch.autograd.grad(law.value(theta).sum(), theta)
    torch.testing.assert_close(law.slope(theta).detach(), derivative, rtol=1e-13, atol=1e-15)
    curvature = law.curvature(theta.detach())
    for j in range(law.width):
        (row,) = torch.autograd.grad(law.slope(theta)[j].sum(), theta, allow_unused=True)
        expected = torch.zeros_like(theta) if row is None else row
        torch.testing.assert_close(curvature[j], expected, rtol=1e-12, atol=1e-14)
    theta = theta.detach()
    v, g = torch.randn(2, law.width, N, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    bend = torch.stack(law.bend(theta, g[0], v))
    torch.testing.assert_close(bend, g[0] * torch.einsum("jkn,kn->jn", curvature, v), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(torch.stack(law.slopes(theta)), law.slope(theta), rtol=1e-15, atol=0)
    many = torch.stack([theta, 0.5 * theta])
    torch.testing.assert_close(law.values(many)[1], law.value(0.5 * theta), rtol=1e-15, atol=0)


@every_case
@pytest.mark.parametrize("alpha", [1e-3, 0.3])
def test_the_start_is_what_it_says(law, alpha):
    start = check_start(law, law.start(alpha, N), N)
    assert start.shape == (law.width, N)
    assert start.dtype == torch.float64
    if law.positive:
        assert bool((start > 0).all())
    if not isinstance(law, Sinh):
        assert torch.equal(law.start_from(dln.Initialization(alpha), N), start) or isinstance(law, dln.Product)


@every_case
@pytest.mark.parametrize("alpha", [0.05, 0.7])
def test_the_mirror_is_the_curve(law, alpha):
    """Ψ(Ψ⁻¹(ψ)) = ψ, G(Θ) = ψ, D = ‖∇G‖² = dψ/dν, and steps in ν and ψ undo each other."""
    mirror, psi = along(law, alpha)
    inner = psi[:-1]
    mirror = law.mirror(law.start(alpha, N - 1))
    nu = mirror.nu(inner)
    assert torch.equal(mirror.nu(mirror.origin), torch.zeros(N - 1, dtype=torch.float64))
    offset = inner - mirror.origin
    # One rounding of ν near a pole moves ψ by D ν ε.
    rounding = 64 * torch.finfo(torch.float64).eps * (mirror.slope(inner) * nu.abs() + inner.abs())
    assert bool(((mirror.psi(nu) - inner).abs() <= 1e-11 * offset.abs() + rounding).all())
    theta = mirror.theta(inner)
    torch.testing.assert_close(law.value(theta), inner, rtol=1e-11, atol=1e-13)
    steep = (law.slope(theta) ** 2).sum(dim=0)
    torch.testing.assert_close(mirror.slope(inner), steep, rtol=1e-11, atol=0)
    small = 1e-4 * inner.abs().clamp_min(alpha**4)
    step = mirror.nu_step(inner, small)
    simpson = (
        sum(w / mirror.slope(inner + x * small) for x, w in ((0.0, 1 / 6), (0.5, 4 / 6), (1.0, 1 / 6))) * small
    )  # ∫ dψ/D
    torch.testing.assert_close(step, simpson, rtol=1e-8, atol=0)
    torch.testing.assert_close(mirror.after(inner, step) - inner, small, rtol=1e-8, atol=1e-15)


@every_case
@pytest.mark.parametrize("alpha", [0.05, 0.7])
def test_the_potential_s_derivative_is_nu(law, alpha):
    """Q(ψ) = ∫ν dψ by Gauss's rule on panels that grow from the start, and Q + Q* = ψν."""
    mirror, psi = along(law, alpha)
    x, w = np.polynomial.legendre.leggauss(16)
    total, offset = torch.zeros(N, dtype=torch.float64), psi - mirror.origin
    for j in range(25):
        low, high = (0.0 if j == 0 else 0.25 ** (25 - j)), 0.25 ** (24 - j)
        for node, weight in zip(0.5 * (x + 1), 0.5 * w, strict=True):
            total += weight * (high - low) * offset * mirror.nu(mirror.origin + (low + node * (high - low)) * offset)
    torch.testing.assert_close(mirror.potential(psi), total, rtol=1e-9, atol=1e-13)
    inner = psi[torch.isfinite(mirror.psi(mirror.nu(psi)))]
    assert inner.numel() >= N - 2


@pytest.mark.parametrize(
    "law", [pytest.param(law, marks=pytest.mark.slow if law.width > 3 else []) for law in CASES], ids=repr
)
def test_it_trains_by_the_relative_rule_to_its_tolerance(law):
    problem = planted(law)
    run = dln.train(problem, law, 0.5, kappa=0.1, tol=1e-9, references=False)
    assert run.status == "converged", run.summary
    assert float(torch.linalg.vector_norm(problem.A @ torch.as_tensor(run.psi) - problem.y)) <= 1.01e-9 * float(
        torch.linalg.vector_norm(problem.y)
    )


@every_case
@pytest.mark.parametrize("alpha", [pytest.param(0.05, marks=pytest.mark.slow), 0.5])
def test_the_flow_ends_where_the_limit_is(law, alpha):
    problem = planted(law)
    limit = dln.flow_limit(problem, law, alpha)
    path = dln.integrate_flow(problem, law, alpha, [1e-2, 1e12], rtol=1e-12, stop_residual=1e-13)
    assert limit.status is dln.Status.CONVERGED
    assert path.status is dln.Status.CONVERGED
    assert float((path.psi[-1] - limit.psi).abs().max()) <= 1e-9 * float(limit.psi.abs().max())


@every_case
@pytest.mark.parametrize("alpha", [0.02, 0.5])
def test_the_limit_minimises_the_bregman_distance(law, alpha):
    """The conditions of the minimum: Aψ = y, and ν(ψ) lies in range(Aᵀ)."""
    problem = planted(law)
    limit = dln.flow_limit(problem, law, alpha)
    assert limit.status is dln.Status.CONVERGED
    torch.testing.assert_close(problem.A @ limit.psi, problem.y, rtol=0, atol=1e-12)
    mirror = law.mirror(law.start(alpha, N))
    nu = mirror.nu(limit.psi)
    null = torch.linalg.svd(problem.A)[2][problem.m :]
    # one rounding of ψ moves ν by ε ψ/D
    rounding = (limit.psi.abs() / mirror.slope(limit.psi)).max() * 1e-12
    assert float((null @ nu).abs().max()) <= 1e-9 * float(nu.abs().max()) + float(rounding)
    # and no admissible point nearby is better
    directions = null.T @ torch.randn(null.shape[0], 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    best = float(mirror.potential(limit.psi).sum())
    for direction in directions.T:
        length = 1e-3 * float(limit.psi.abs().min()) / float(direction.abs().max())
        assert float(mirror.potential(limit.psi + length * direction).sum()) >= best - 1e-12 * abs(best)


@every_case
def test_what_is_missing_has_a_reason(law):
    selector = law.selector(None, N)
    assert (selector is not None) or law.selector_reason
    problem = planted(law)
    if selector is None:
        missing = dln.selected_minimizer(problem, law)
        assert (missing.status, missing.psi) == (dln.Status.FAILED, None)
        assert f"{law.name} has no selector" in missing.reason
    else:
        assert math.isfinite(float(dln.selected_minimizer(problem, law).psi.abs().max()))


@pytest.mark.parametrize("parent", [dln.Power, dln.Nonnegative, dln.Product])
def test_a_value_under_another_s_closed_forms_is_refused_and_not_ignored(parent):
    class Doubled(parent):
        def value(self, theta):
            return 2 * super().value(theta)

        def slope(self, theta):
            return 2 * super().slope(theta)

    with pytest.raises(dln.InputError, match="^Doubled must be a subclass of Parametrization to have a value") as said:
        dln.train(planted(parent(3)), Doubled(3), 0.3, max_steps=3, references=False)
    assert "\n" not in str(said.value)
