"""What every compiled cell promises, the package's and a user's: the fused engine makes the eager engine's steps."""

from __future__ import annotations

import math

import pytest
import torch

import dlntorch as dln
from dlntorch.engine import Stopping
from dlntorch.engine.kernels import compiled_loop
from dlntorch.model import Parametrization, ScalarCell
from dlntorch.model.cells import compiled_cell, is_compiled
from dlntorch.optim.step_size import make_schedule
from dlntorch.optim.update import make_update
from dlntorch.training.descent import Descent
from tests.contracts.test_parametrizations import CASES, N, points
from tests.problems import gaussian

STEPS = 400
RULES = {
    "constant": make_schedule("constant", eta=2e-3),
    "relative": make_schedule("relative"),
    "stable": make_schedule("stable", c=0.3),
}
#: The updates that are compiled, with step sizes that suit them.
UPDATES = {"momentum": 2e-3, "weight_decay": 2e-3, "label_noise": 2e-3, "adam": 2e-4, "sign": 2e-4}


def value(theta, scale):
    return scale * (math.sinh(theta[0]) - math.sinh(theta[1]))


def slope(theta, scale):
    return scale * math.cosh(theta[0]), -scale * math.cosh(theta[1])


def curvature(theta, scale):
    return (scale * math.sinh(theta[0]), 0.0), (0.0, -scale * math.sinh(theta[1]))


class TwoSidedSinh(Parametrization):
    """ψ = a(sinh θ₊ − sinh θ₋), written outside the package, with scalar functions for the fused engine."""

    width = 2

    def __init__(self, scale=1.0):
        self.scale = scale

    def value(self, theta):
        return self.scale * (torch.sinh(theta[0]) - torch.sinh(theta[1]))

    def slope(self, theta):
        return self.scale * torch.stack([torch.cosh(theta[0]), -torch.cosh(theta[1])])

    def start(self, alpha, n):
        return torch.full((2, n), float(alpha), dtype=torch.float64)

    def cell(self):
        return ScalarCell(value, slope, curvature, (self.scale,))


def cubed(theta):
    return theta[0] ** 3


def cubed_slope(theta):
    return (3.0 * theta[0] ** 2,)


def cubed_curvature(theta):
    return ((6.0 * theta[0],),)


class Cubed(Parametrization):
    """ψ = θ³ of θ > 0, a sibling of Nonnegative(3) by scalar functions."""

    width, positive, signed = 1, True, False

    def value(self, theta):
        return theta[0] ** 3

    def slope(self, theta):
        return 3 * theta**2

    def start(self, alpha, n):
        return torch.full((1, n), float(alpha), dtype=torch.float64)

    def cell(self):
        return ScalarCell(cubed, cubed_slope, cubed_curvature)


LAWS = [*(law for law in CASES if is_compiled(law, "relative")), TwoSidedSinh(0.7), Cubed()]
#: One of each kind of kernels; the others, which compile another loop or take another depth, run as ``slow``.
FAST = ("Power(3)", "Nonnegative(2.5)", "Product(3)", "TwoSidedSinh()")
SWEEP = [pytest.param(law, marks=() if repr(law) in FAST else pytest.mark.slow) for law in LAWS]
every_law = pytest.mark.parametrize("law", SWEEP, ids=repr)


def descend(engine, law, schedule, update="sgd", batch=None, alpha=0.3, dtype=None, steps=STEPS):
    network = dln.DiagonalLinearNetwork(12, law, alpha, dtype=dtype)
    problem = gaussian(5, 12, seed=1).to(dtype=network.rows[0].dtype)
    stopping = Stopping(tol=0, max_steps=steps)
    descent = Descent(
        network, problem, schedule, stopping, engine=engine, batch_size=batch, seed=5, update=make_update(update)
    )
    while descent.advance() is None:
        pass
    return descent


def assert_same(law, schedule, tolerance=1e-13, **what):
    """Of every parameter, relative to the largest of its kind."""
    ours, theirs = (descend(engine, law, schedule, **what) for engine in ("fused", "eager"))
    assert (ours.status, ours.progress.step) == (theirs.status, theirs.progress.step)
    assert ours.progress.sign_changes == theirs.progress.sign_changes
    assert ours.progress.time == pytest.approx(theirs.progress.time, rel=max(tolerance, 1e-13))
    theta, other = ours.network.whole_theta(), theirs.network.whole_theta()
    assert float((theta - other).abs().max()) <= tolerance * float(other.abs().max())


def test_every_registered_parametrization_is_compiled_for_every_rule():
    ours = [law for law in CASES if type(law).__module__.startswith("dlntorch.")]
    assert ours
    assert all(is_compiled(law, rule) for law in ours for rule in RULES)


@every_law
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("batch", [None, 2])
def test_four_hundred_steps_are_the_eager_engine_s(law, rule, batch):
    schedule = make_schedule("stable", c=0.02) if rule == "stable" and batch else RULES[rule]
    assert_same(law, schedule, batch=batch)


@every_law
@pytest.mark.parametrize("update", UPDATES)
def test_so_are_those_of_the_other_updates(law, update):
    assert_same(law, make_schedule("constant", eta=UPDATES[update]), update=update)


@every_law
def test_a_long_step_ends_both_the_same_way(law):
    """Such steps are chaotic where θ may change its sign: a difference by rounding is in the eighth digit after 60."""
    assert_same(law, make_schedule("constant", eta=0.5), tolerance=1e-9, steps=25)


@every_law
def test_so_are_those_in_float32_at_its_own_precision(law):
    assert_same(law, RULES["relative"], dtype="float32", tolerance=2e-5)


@every_law
def test_the_engine_that_is_chosen_is_fused(law):
    problem = gaussian(5, 12, seed=1)
    run = dln.train(problem, law, 0.3, max_steps=5, tol=0, references=False)
    assert run.summary["engine"] == "fused"


@every_law
def test_a_cell_s_kernels_are_the_methods(law):
    """ψ, slopes, ρ, Λ and g ∘ (∇²G v) at points on both sides of the start, where there are two."""
    import numpy as np

    from dlntorch.model.cells import Scratch

    theta = points(law)
    g, v = torch.randn(2, law.width, N, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    cell, g = compiled_cell(law, theta), g[0]
    array, psi, out = theta.numpy().copy(), np.empty(N), np.empty((law.width, N))
    scratch = Scratch.beside(array)
    given = (cell.numbers, array, scratch)
    cell.kernels.represent(*given, psi, True)
    torch.testing.assert_close(torch.from_numpy(psi), law.value(theta), rtol=1e-14, atol=1e-15)
    limits = cell.kernels.limits(*given, g.numpy(), 1.7)
    assert limits == pytest.approx(law.limits(law.extremes(theta, g).tolist(), 1.7), rel=1e-13)
    cell.kernels.propose(*given, g.numpy(), 1e-2, out)
    torch.testing.assert_close(torch.from_numpy(out), theta + 1e-2 * law.slope(theta) * g, rtol=1e-14, atol=1e-15)
    cell.kernels.bent(*given, g.numpy(), v.numpy(), out)
    expected = torch.stack(law.bend(theta.unbind(0), g, v.unbind(0)))
    torch.testing.assert_close(torch.from_numpy(out), expected, rtol=1e-13, atol=1e-14)
    cell.kernels.fill(*given)
    slopes = [[cell.scale * cell.kernels.slope_at(*given, j, i) for i in range(N)] for j in range(law.width)]
    torch.testing.assert_close(torch.tensor(slopes, dtype=torch.float64), law.slope(theta), rtol=1e-14, atol=1e-15)


def test_numbers_share_one_compiled_loop():
    loops = {compiled_loop(compiled_cell(law, points(law)).kernels, 2, False) for law in map(TwoSidedSinh, (0.5, 2.0))}
    assert len(loops) == 1
    powers = {compiled_loop(compiled_cell(dln.Power(p), torch.ones(2, 1)).kernels, 2, True) for p in (2, 2.5, 3, 6)}
    assert len(powers) == 1


# -- what is no cell for the run --------------------------------------------------------------------------------------


class Flat(TwoSidedSinh):
    """Without second derivatives."""

    def cell(self):
        return ScalarCell(value, slope, numbers=(self.scale,))


class Doubled(TwoSidedSinh):
    """Another ψ than that of the class that brought the cell."""

    def value(self, theta):
        return 2 * super().value(theta)

    def slope(self, theta):
        return 2 * super().slope(theta)


class Wider(TwoSidedSinh):
    """Another length of a coordinate in the relative rule."""

    def extremes(self, theta, g):
        return 0.5 * super().extremes(theta, g)


@pytest.mark.parametrize(
    ("law", "compiled"),
    [(Flat(), {"constant"}), (Doubled(), set()), (Wider(), {"constant"}), (dln.Power(3), set(RULES))],
    ids=lambda x: repr(sorted(x) if isinstance(x, set) else x),
)
def test_auto_takes_the_fused_engine_where_the_cell_serves_the_rule(law, compiled):
    problem = gaussian(5, 12, seed=1)
    for rule, options in (("constant", {"eta": 1e-3}), ("relative", {}), ("stable", {})):
        assert is_compiled(law, rule) == (rule in compiled)
        given = {"max_steps": 5, "tol": 0, "references": False} | options
        run = dln.train(problem, law, 0.3, rule, **given)
        assert run.summary["engine"] == ("fused" if rule in compiled else "eager")
        if rule not in compiled:
            with pytest.raises(dln.InputError, match=r"engine must be eager or autograd with .*compiled cell") as said:
                dln.train(problem, law, 0.3, rule, engine="fused", **given)
            assert "\n" not in str(said.value)


def fails(theta, scale):
    raise KeyError("nothing here")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((slope, slope, curvature), r"TwoSidedSinh.cell\(\).value must return a float, got shape \(2,\)"),
        ((value, value, curvature), r"TwoSidedSinh.cell\(\).slope must return a tuple of width floats, got shape \(\)"),
        ((value, curvature, slope), r"TwoSidedSinh.cell\(\).slope must return a tuple of width floats"),
        (
            (value, lambda theta, scale: (1.0, 1.0), curvature),
            r"cell\(\).slope must be what the method is, got \[1.0, 1.0\]",
        ),
        (
            (value, slope, lambda theta, scale: ((0.0, 1.0), (1.0, 0.0))),
            r"cell\(\).curvature must be what the method is",
        ),
        ((fails, slope, curvature), r"cell\(\).value must take a tuple of parameters and the numbers, got .*nothing here"),
        ((lambda theta: 0.0, slope, curvature), r"cell\(\).value must take a tuple of parameters and the numbers, got"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_function_that_is_not_the_method_is_one_line(parts, said):
    class Wrong(TwoSidedSinh):
        name = "TwoSidedSinh"

        def cell(self):
            return ScalarCell(*parts, (self.scale,))

    with pytest.raises(dln.InputError, match=said) as refused:
        dln.train(gaussian(5, 12, seed=1), Wrong(), 0.3, max_steps=5, references=False)
    assert "\n" not in str(refused.value)


def uncompiled(theta, scale):
    return sorted({"a": value(theta, scale)}.values(), key=str)[0]


def test_a_function_that_numba_does_not_compile_is_one_line():
    class Wrong(TwoSidedSinh):
        def cell(self):
            return ScalarCell(uncompiled, slope, curvature, (self.scale,))

    with pytest.raises(dln.InputError, match=r"Wrong.cell\(\).value must be what numba compiles, got") as refused:
        dln.train(gaussian(5, 12, seed=1), Wrong(), 0.3, max_steps=5, references=False)
    assert "\n" not in str(refused.value)


def whole_number(theta, scale):
    return 0, -scale * math.cosh(theta[1])


def test_a_function_of_other_than_floats_is_one_line():
    class Wrong(TwoSidedSinh):
        def slope(self, theta):
            return torch.stack([0 * theta[0], -self.scale * torch.cosh(theta[1])])

        def value(self, theta):
            return -self.scale * torch.sinh(theta[1]) + 0 * theta[0]

        def cell(self):
            return ScalarCell(lambda theta, scale: -scale * math.sinh(theta[1]), whole_number, None, (self.scale,))

    with pytest.raises(dln.InputError, match=r"Wrong.cell\(\).slope must return floats, .* got Tuple\(") as refused:
        dln.train(gaussian(5, 12, seed=1), Wrong(), 0.3, "constant", eta=1e-3, max_steps=5, references=False)
    assert "\n" not in str(refused.value)
