"""Starts of any shape and other parametrizations: W and its rate against the flow's limit in many digits, and HiGHS."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import dlntorch as dln
from dlntorch.model.selector import Selector
from dlntorch.numerics.trajectory import Status
from tests.problems import LINE, gaussian, line, paper_random
from tests.reference.cases import random_face
from tests.reference.general_starts import limit_from


def shapes(n: int, seed: int, decades: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """a₊ and a₋ with largest entry 1."""
    a = 10 ** np.random.default_rng(seed).uniform(-decades, 0, (2, n))
    plus, minus = a / a.max()
    return plus, minus


def difference(limit: list, psi: torch.Tensor) -> np.ndarray:
    return np.array([float(value - mp.mpf(w)) for value, w in zip(limit, psi.tolist(), strict=True)])


# -- W ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "alpha"), [(2.5, 1e-9), (3, 1e-7), (4, 1e-6)])
def test_the_flow_from_a_shape_ends_at_the_weighted_minimiser(p: float, alpha: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        A, y = rng.standard_normal((3, 7)), rng.standard_normal(3)
        plus, minus = shapes(7, seed)
        problem, start = dln.Problem(A, y), dln.Initialization(plus, minus)
        found = dln.selected_minimizer(problem, p, start)
        assert found.status is Status.CONVERGED
        vertex = dln.l1_minimizer(problem, (plus ** (2 - p), minus ** (2 - p)))
        assert torch.equal(found.psi, vertex.psi)
        expected = alpha**p * (dln.predict_rate(problem, p, start).constant or 0.0)
        error = np.linalg.norm(difference(limit_from(A, y, p, plus, minus, alpha), found.psi))
        assert error <= 2 * expected + 1e-15 * np.linalg.cond(A[:, vertex.support]) * float(found.psi.abs().max())


def test_at_depth_two_the_shape_decides_on_the_face_only() -> None:
    """The entropy Σ|ψ|(ln|ψ| − 1 − ln a²); on these faces nothing is off the support, so that the error is O(α⁴)."""
    for seed in range(4):
        plus, minus = shapes(3, seed)
        found = dln.selected_minimizer(line(), 2, dln.Initialization(plus, minus))
        assert found.dimension == 1
        assert np.abs(difference(limit_from(*LINE, 2, plus, minus, 1e-10), found.psi)).max() <= 1e-15
    assert torch.equal(
        dln.selected_minimizer(paper_random(), 2, dln.Initialization(*shapes(5, 0))).psi,
        dln.l1_minimizer(paper_random()).psi,
    )


@pytest.mark.parametrize("p", [3, 4, 6])
def test_on_a_weighted_face_the_shape_does_not_count(p: float) -> None:
    """Weights w = Aᵀλ keep the face of the paper's line; the maximiser of Σ|ψ|^{2/p} on it is the unweighted one."""
    weights = np.array([1.0, 0.0625]) @ np.array(LINE[0])
    found = dln.selected_minimizer(line(), p, dln.Initialization(weights ** (1 / (2 - p))))
    assert found.dimension == 1
    torch.testing.assert_close(found.psi, dln.selected_minimizer(line(), p).psi, rtol=1e-13, atol=0)
    other = dln.Initialization(weights ** (1 / (2 - p)), 0.3 * weights ** (1 / (2 - p)))  # the other side is not used
    torch.testing.assert_close(dln.selected_minimizer(line(), p, other).psi, found.psi, rtol=1e-13, atol=0)


@pytest.mark.parametrize("seed", range(6))
def test_known_faces_with_a_shape_at_depth_two(seed: int) -> None:
    """The gradient ln(|ψ|/a_σ²) is orthogonal to the face, for faces of dimension 1 to 6."""
    case = random_face(seed, 1 + seed)
    n = case.problem.n
    plus, minus = shapes(n, seed, decades=3)
    found = dln.selected_minimizer(case.problem, 2, dln.Initialization(plus, minus))
    assert found.status is Status.CONVERGED
    assert found.dimension == 1 + seed
    on = found.support.numpy()
    values = found.psi.numpy()[on]
    gradient = np.sign(values) * np.log(np.abs(values) / np.where(values > 0, plus[on], minus[on]) ** 2)
    directions = np.linalg.svd(case.problem.A.numpy()[:, on])[2][on.size - found.dimension :]
    assert np.abs(directions @ gradient).max() <= 1e-10 * np.abs(gradient).max()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), p=st.sampled_from([2, 2.3, 3, 5]), scale=st.sampled_from([1e-8, 0.25, 1e3]))
def test_the_scale_does_not_matter(seed: int, p: float, scale: float) -> None:
    problem = gaussian(4, 10, seed)
    start = dln.Initialization(*shapes(10, seed))
    first = dln.selected_minimizer(problem, p, start).psi
    torch.testing.assert_close(dln.selected_minimizer(problem, p, start.scaled(scale)).psi, first, rtol=1e-12, atol=0)


def test_equal_entries_are_no_shape() -> None:
    plain = dln.selected_minimizer(line(), 3)
    for alpha in (1e-3, dln.Initialization(0.7), dln.Initialization(np.full(3, 1e-9), 1e-9)):
        assert torch.equal(dln.selected_minimizer(line(), 3, alpha).psi, plain.psi)
        assert torch.equal(dln.selected_minimizer(line(), dln.Power(3), alpha).psi, plain.psi)


# -- other parametrizations ---------------------------------------------------------------------------------------------


def test_a_product_selects_as_the_power_does() -> None:
    for layers in (2, 3, 4):
        for problem in (line(), paper_random()):
            power = dln.selected_minimizer(problem, layers)
            assert torch.equal(dln.selected_minimizer(problem, dln.Product(layers)).psi, power.psi)
        plus, _ = shapes(3, layers)
        shaped = dln.selected_minimizer(line(), dln.Product(layers), dln.Initialization(plus, np.zeros(3)))
        expected = dln.selected_minimizer(line(), layers, dln.Initialization(plus))
        torch.testing.assert_close(shaped.psi, expected.psi, rtol=1e-12, atol=0)


@pytest.mark.parametrize("layers", [3, 4, 5, 7])
def test_weights_of_a_product_are_how_far_its_curve_goes(layers: int) -> None:
    """w± = ∫ dq (q² + b²)^{(1−L)/2} from u_L to ±∞, by quadrature."""
    first, last = np.array([1.0, 2.0, 1.5]), np.array([0.3, 1.9, 0.0])
    selector = dln.Product(layers).selector(dln.Initialization(first, last), 3)
    assert selector is not None
    found = selector.weights()
    assert isinstance(found, tuple)
    expected = np.empty((2, 3))
    for i, (u, q) in enumerate(zip(first, last, strict=True)):
        b2 = u * u - q * q
        for row, ends in enumerate([(q, np.inf), (-np.inf, q)]):
            expected[row, i] = quad(lambda x, b2=b2: (x * x + b2) ** ((1 - layers) / 2), *ends, epsabs=0, epsrel=1e-12)[
                0
            ]
    np.testing.assert_allclose(np.array(found), expected / expected.min(), rtol=1e-10)


def test_two_layers_are_depth_two_with_half_sums() -> None:
    first, last = np.array([1.0, 2.0, 1.5]), np.array([0.3, 1.9, 0.0])
    product = dln.selected_minimizer(line(), dln.Product(2), dln.Initialization(first, last))
    power = dln.selected_minimizer(line(), 2, dln.Initialization((first + last) / 2, (first - last) / 2))
    torch.testing.assert_close(product.psi, power.psi, rtol=1e-14, atol=0)
    turned = dln.selected_minimizer(line(), dln.Product(2), dln.Initialization(1.0, 1.0))
    assert turned.status is Status.FAILED
    assert turned.psi is None
    assert "last layer" in turned.reason


@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-12), (3, 1e-7), (4, 1e-6)])
def test_nonnegative_networks_end_at_the_nonnegative_minimiser(p: float, alpha: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        A = np.abs(rng.standard_normal((2, 5)))
        y = A @ rng.uniform(0, 1, 5)
        plus, _ = shapes(5, seed)
        found = dln.selected_minimizer(dln.Problem(A, y), dln.Nonnegative(p), dln.Initialization(plus))
        assert found.status is Status.CONVERGED
        assert float(found.psi.min()) >= 0
        limit = limit_from(A, y, p, plus, None, alpha)
        exponent = dln.predict_rate(dln.Problem(A, y), dln.Nonnegative(p), dln.Initialization(plus)).exponent
        error = np.abs(difference(limit, found.psi)).max()
        assert error <= 1e-15 or (p == 2 and exponent is not None and error <= 1e3 * alpha**exponent)
    face = dln.selected_minimizer(line(), dln.Nonnegative(p))
    assert face.dimension == 1
    torch.testing.assert_close(face.psi, dln.selected_minimizer(line(), p).psi, rtol=1e-13, atol=0)


def test_what_a_nonnegative_network_cannot_fit_says_so() -> None:
    found = dln.selected_minimizer(dln.Problem([[1.0, 2.0]], [-1.0]), dln.Nonnegative(3))
    assert found.status is Status.FAILED
    assert "no psi >= 0" in found.reason
    assert found.psi.tolist() == [0.0, 0.0]
    assert dln.predict_rate(dln.Problem([[1.0, 2.0]], [-1.0]), dln.Nonnegative(3)).status is Status.FAILED


class Tanh(dln.Parametrization):
    """A network of which nothing is known but its value."""

    width = 1

    def value(self, theta: torch.Tensor) -> torch.Tensor:
        return torch.tanh(theta[0])

    def slope(self, theta: torch.Tensor) -> torch.Tensor:
        return 1 / torch.cosh(theta) ** 2

    def start(self, alpha: float, n: int) -> torch.Tensor:
        return torch.zeros(1, n, dtype=torch.float64)


def test_a_parametrization_without_a_selector_says_why() -> None:
    found = dln.selected_minimizer(line(), Tanh())
    assert found.psi is None
    assert found.status is Status.FAILED
    assert found.reason == "Tanh has no selector: no limit of its potential is known"
    assert found.solver == ""
    assert "Tanh" in repr(found)
    rate = dln.predict_rate(line(), Tanh())
    assert rate.exponent is None
    assert rate.constant is None
    assert rate.constant_reason == found.reason


def test_shapes_too_far_apart_for_their_power_fail_with_the_reason() -> None:
    found = dln.selected_minimizer(line(), 50, dln.Initialization([1.0, 1.0, 1e-8]))
    assert found.status is Status.FAILED
    assert found.psi is None
    assert "differ by more than 2^500" in found.reason
    tame = dln.selected_minimizer(line(), 4, dln.Initialization([1.0, 1.0, 1e-8]))
    assert tame.status is Status.CONVERGED
    assert tame.psi[2] == 0


@pytest.mark.parametrize(
    ("p", "alpha", "message"),
    [
        (3, [1e-3, 1e-3, 1e-3], "alpha must be a number or an Initialization, got list"),
        (3, 0.0, "alpha must be a finite real number > 0"),
        (3, dln.Initialization([1.0, 2.0]), "alpha must have 3 entries"),
        (3, dln.Initialization(1.0, 0.0), "alpha must be > 0 with Power"),
        (dln.Nonnegative(3), dln.Initialization(1.0, 2.0), "alpha must have no theta_minus"),
        (1.5, None, "p must be a finite real number >= 2"),
        ("3", None, "p must be a .*real number >= 2"),
    ],
)
def test_mistakes_get_one_line(p: object, alpha: object, message: str) -> None:
    for call in (dln.selected_minimizer, dln.predict_rate):
        with pytest.raises(dln.InputError, match=message) as caught:
            call(line(), p, alpha)
        assert "\n" not in str(caught.value)


def test_a_minimizer_of_other_weights_is_refused() -> None:
    problem, start = paper_random(), dln.Initialization([1.0, 0.5, 0.5, 1.0, 1.0])
    plain = dln.l1_minimizer(problem)
    with pytest.raises(dln.InputError, match="minimizer must be l1_minimizer with the weights"):
        dln.selected_minimizer(problem, 4, start, minimizer=plain)
    assert torch.equal(dln.selected_minimizer(problem, 2, start, minimizer=plain).psi, plain.psi)
    weights = np.array([1.0, 0.5, 0.5, 1.0, 1.0]) ** -2
    right = dln.l1_minimizer(problem, weights)
    assert torch.equal(dln.selected_minimizer(problem, 4, start, minimizer=right).psi, right.psi)


def test_the_selector_is_depth_and_shape() -> None:
    selector = Selector.of(4, np.array([2.0, 1.0]), np.array([2.0, 4.0]))
    assert selector.plus.tolist() == [0.5, 0.25]
    assert selector.minus is not None
    assert selector.minus.tolist() == [0.5, 1.0]
    found = selector.weights()
    assert isinstance(found, tuple)
    assert [side.tolist() for side in found] == [[4.0, 16.0], [4.0, 1.0]]
    assert Selector.of(2, np.array([2.0, 1.0]), None).weights() is None
    assert not selector.uniform
    assert Selector.of(3, np.full(2, 0.1), np.full(2, 0.1)).uniform


# -- the rate -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [2.5, 3, 4])
def test_constant_and_next_term_from_a_shape(p: float) -> None:
    """(ψ_α(∞) − W)/α^p = C + α^{p−2}E + …, at the α where E is 1 % of C: what is left is 0.01 % or so."""
    used = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((3, 7))
        y = A[:, :2] @ np.array([1.0, -2.0]) if seed % 2 else rng.standard_normal(3)
        plus, minus = shapes(7, seed, decades=0.2)
        rate = dln.predict_rate(dln.Problem(A, y), p, dln.Initialization(plus, minus))
        assert rate.status is Status.CONVERGED
        assert rate.exponent == p
        assert rate.constant_vector is not None
        assert rate.correction_vector is not None
        assert rate.alpha_asymptotic is not None
        C, E = rate.constant_vector.numpy(), rate.correction_vector.numpy()
        assert rate.constant == pytest.approx(np.linalg.norm(C), rel=1e-14)
        alpha = min(rate.alpha_asymptotic, 0.1)
        rounding = 1e-15 / alpha**p
        if used == 2 or rounding > 1e-3 * rate.constant:
            continue
        used += 1
        error = difference(limit_from(A, y, p, plus, minus, alpha), rate.selected.psi) / alpha**p
        correction = alpha ** (p - 2) * E
        assert np.linalg.norm(error - C - correction) <= 0.05 * np.linalg.norm(correction) + rounding
    assert used == 2


@pytest.mark.parametrize(("p", "alpha"), [(3, 1e-4), (4, 1e-3)])
def test_constant_on_a_weighted_face(p: float, alpha: float) -> None:
    """Weights that are powers of two keep the face of dimension one exactly."""
    A, y = np.array([[1.0, 1.0, 2.0, 0.25], [3.0, 0.0, 1.0, 0.25]]), np.array([3.0, 3.0])
    weights = np.array([1.0, 1.0, 2.0, 1.0])  # Aᵀ(1, 0) on the first three
    plus, minus = weights ** (1 / (2 - p)), np.array([0.5, 0.25, 1.0, 0.5])
    start = dln.Initialization(plus, minus) if p == 3 else dln.Initialization(weights**-0.5, minus)
    rate = dln.predict_rate(dln.Problem(A, y), p, start)
    assert rate.selected.dimension == 1
    assert rate.constant_vector is not None
    assert rate.correction_vector is not None
    predicted = rate.constant_vector.numpy() + alpha ** (p - 2) * rate.correction_vector.numpy()
    exact = start.plus.numpy() / max(float(start.plus.max()), float(start.minus.max()))
    error = difference(limit_from(A, y, p, exact, minus, alpha), rate.selected.psi) / alpha**p
    # 2^{-1/2} is rounded: the face is tilted by eps, which moves ψ along it by eps/α^{p−2}
    tilt = 0.0 if p == 3 else 4e-16 / alpha ** (2 * p - 2)
    assert np.abs(error - predicted).max() <= 1e-4 * np.abs(predicted).max() + 4e-16 / alpha**p + tilt


def test_slope_at_depth_two_from_a_shape() -> None:
    for seed in (2, 6):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((3, 7))
        y = A[:, :2] @ np.array([1.0, -2.0])
        plus, minus = shapes(7, seed)
        rate = dln.predict_rate(dln.Problem(A, y), 2, dln.Initialization(plus, minus))
        assert rate.exponent == dln.predict_rate(dln.Problem(A, y), 2).exponent
        assert rate.alpha_asymptotic is not None
        alphas = 1e-7 * rate.alpha_asymptotic * np.array([1.0, 0.1])
        errors = [np.linalg.norm(difference(limit_from(A, y, 2, plus, minus, a), rate.selected.psi)) for a in alphas]
        if errors[1] > 1e-13:
            assert np.log10(errors[0] / errors[1]) == pytest.approx(rate.exponent, abs=0.02)


def test_fourth_order_from_a_shape() -> None:
    """Nothing off the support: ψ_α(∞) − W = C α⁴ with q = a₊²a₋² before each 1/ψ²."""
    plus, minus = shapes(3, 1)
    rate = dln.predict_rate(line(), 2, dln.Initialization(plus, minus))
    assert rate.exponent == 4
    assert rate.constant_vector is not None
    for alpha in (0.01, 0.003):
        error = difference(limit_from(*LINE, 2, plus, minus, alpha), rate.selected.psi) / alpha**4
        np.testing.assert_allclose(error, rate.constant_vector.numpy(), rtol=1e-3, atol=1e-15 / alpha**4)
    assert dln.predict_rate(line(), dln.Nonnegative(2)).constant == 0


@pytest.mark.parametrize(("p", "alpha"), [(3, 1e-4), (4, 1e-3)])
def test_constant_of_a_nonnegative_network(p: float, alpha: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        A = np.abs(rng.standard_normal((2, 5)))
        y = A @ rng.uniform(0, 1, 5)
        rate = dln.predict_rate(dln.Problem(A, y), dln.Nonnegative(p))
        assert rate.constant_vector is not None
        error = difference(limit_from(A, y, p, np.ones(5), None, alpha), rate.selected.psi) / alpha**p
        next_term = alpha ** (p - 2) * rate.correction_vector.numpy() if rate.correction_vector is not None else 0.0
        tolerance = 1e-3 * np.abs(error).max() + 1e-15 / alpha**p
        assert np.abs(error - rate.constant_vector.numpy() - next_term).max() <= tolerance


def test_a_product_of_three_has_the_exponent_only() -> None:
    rate = dln.predict_rate(paper_random(), dln.Product(3))
    assert rate.exponent == 3
    assert rate.constant is None
    assert "Power and Nonnegative" in rate.constant_reason
    assert dln.predict_rate(paper_random(), dln.Product(2)).exponent == dln.predict_rate(paper_random(), 2).exponent


# -- the package's own limit, another route -----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [3, 4])
def test_flow_limit_from_a_shape_is_where_the_rate_says(p: float) -> None:
    """‖ψ_α(∞) − W − α^p(C + α^{p−2}E)‖ is below 5 % of what it subtracts, at the α that the rate names."""
    used = 0
    for seed in range(12):
        problem = gaussian(6, 15, seed, None if seed % 2 else 3)
        plus, minus = shapes(15, seed, decades=0.2)
        rate = dln.predict_rate(problem, p, dln.Initialization(plus, minus))
        assert rate.constant is not None
        assert rate.alpha_asymptotic is not None
        alpha = min(rate.alpha_asymptotic, 0.1)
        if alpha**p * rate.constant < 1e-10:
            continue
        used += 1
        limit = dln.flow_limit(problem, p, dln.Initialization(alpha * plus, alpha * minus))
        error = limit.psi - rate.selected.psi
        predicted = alpha**p * (rate.constant_vector + alpha ** (p - 2) * rate.correction_vector)
        assert float((error - predicted).norm()) <= 0.05 * 0.02 * float(predicted.norm()) + 1e-14
    assert used >= 2


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_flow_limit_of_a_product_from_unequal_layers(layers: int) -> None:
    """u₁ = … = u_{L−1} and 0 <= u_L < u₁, shrunk together."""
    rng = np.random.default_rng(layers)
    first = rng.uniform(0.5, 1.0, 8)
    start = dln.Initialization(first, first * rng.uniform(0, 0.9, 8))
    moved = False
    for seed in range(4):
        problem = gaussian(3, 8, seed)
        found = dln.selected_minimizer(problem, dln.Product(layers), start)
        moved = moved or not torch.equal(found.support, dln.l1_minimizer(problem).support)
        errors = []
        for power in (1e-4, 1e-6):
            limit = dln.flow_limit(problem, dln.Product(layers), start.scaled(power ** (1 / layers)))
            errors.append(float((limit.psi - found.psi).norm()))
        assert errors[1] <= 0.7 * errors[0]  # the rate is slow at L = 2
        if layers > 2:
            assert errors[1] <= 1e-2
    assert moved == (layers > 2)


def test_flow_limit_of_a_nonnegative_network() -> None:
    """At p = 3 it is near; at p = 2 it comes nearer at the rate α^{2(1−ϱ)} of the one-sided ϱ."""
    for p, alphas in ((2, (1e-40, 1e-50)), (3, (1e-4, 1e-5))):
        rng = np.random.default_rng(p)
        A = np.abs(rng.standard_normal((3, 8)))
        problem = dln.Problem(A, A @ rng.uniform(0, 1, 8))
        plus, _ = shapes(8, p)
        start, law = dln.Initialization(plus), dln.Nonnegative(p)
        rate = dln.predict_rate(problem, law, start)
        assert rate.exponent is not None
        limits = [dln.flow_limit(problem, law, start.scaled(alpha)).psi for alpha in alphas]
        errors = [float((limit - rate.selected.psi).norm()) for limit in limits]
        slope = np.log10(errors[0] / errors[1]) / np.log10(alphas[0] / alphas[1])
        assert slope == pytest.approx(rate.exponent, abs=0.02)
