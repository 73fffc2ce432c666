"""Networks of matrices and of groups: gradients, step rules, statuses, and the vector networks that they contain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.matrix import effective_rank, generators, group_limit
from dlntorch.matrix.sizes import LayerSizes, spectral_bounds
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError

VECTOR = dln.Problem([[1.0, 0.5, 0.3, -0.2], [0.2, -0.4, 1.0, 0.6]], [1.0, -0.5])
ROTATION = generators.random_orthogonal(4, 3)
EMBEDDED = generators.embedded(VECTOR, ROTATION)
#: kind, layers, start, the vector network, and by how much the matrix network is slower.
TWINS = [
    ("difference", 2, None, 2, 1),
    ("psd", 2, None, dln.Nonnegative(2), 1),
    ("product", 2, "zero_last", dln.Product(2), 1),
    ("product", 3, "zero_last", dln.Product(3), 1),
    ("product", 4, "zero_last", dln.Product(4), 1),
    ("product", 3, "balanced", dln.Nonnegative(3), 3),
]


def _rotated(psi) -> np.ndarray:
    return ROTATION * psi.numpy() @ ROTATION.T


def _symmetric(m, d, seed=0):
    return generators.gaussian_sensing(m, d, d, 1, symmetric=True, seed=seed)


# -- pieces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "layers"), [("product", 2), ("product", 3), ("product", 5), ("psd", 2), ("difference", 2)]
)
@pytest.mark.parametrize("batch", [None, 3])
def test_hand_written_gradients_are_those_of_autograd(kind, layers, batch):
    problem = _symmetric(7, 4) if kind != "product" else generators.gaussian_sensing(7, 4, 6, 1)
    network = dln.MatrixFactorization(problem.shape, layers, 0.7, kind, start="gaussian", batch=batch)
    problem.loss(network()).sum().backward()
    values = [u.detach() if batch else u.detach()[None] for u in network.layers]
    G = problem.adjoint(problem.residual(network.kind.value(values)))
    for parameter, found in zip(network.layers, network.kind.gradient(values, G), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(-parameter.grad, found if batch else found[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_spectral_bounds_hold_and_are_close(seed):
    rng = np.random.default_rng(seed)
    M = torch.from_numpy(rng.standard_normal((4, 6, 9)) * 10.0 ** rng.uniform(-3, 3, (4, 1, 1)))
    exact = torch.linalg.matrix_norm(M, 2)
    upper, lower = spectral_bounds(M)
    assert bool((lower <= exact * (1 + 1e-14)).all() & (exact <= upper * (1 + 1e-14)).all())
    assert bool((upper <= 6**0.125 * exact * (1 + 1e-14)).all())
    assert bool((lower >= 0.8 * exact).all())
    sizes = LayerSizes([M])
    for _ in range(30):
        assert bool((torch.linalg.matrix_norm(M, 2) <= sizes.dual_norm(M) * (1 + 1e-14)).all())
        step = torch.from_numpy(rng.standard_normal(M.shape)) * 0.003 * exact[:, None, None]
        M = M + step
        sizes.moved(torch.linalg.matrix_norm(step)[None], [M])
        exact_now = torch.linalg.matrix_norm(M, 2)
        assert bool((sizes.lower[0] <= exact_now).all() & (exact_now <= sizes.upper[0] * (1 + 1e-14)).all())


@pytest.mark.parametrize(("kind", "layers"), [("product", 2), ("product", 4), ("psd", 2), ("difference", 2)])
def test_the_curvature_bound_bounds_the_hessian(kind, layers):
    for seed in range(4):
        problem = _symmetric(6, 3, seed)
        network = dln.MatrixFactorization((3, 3), layers, 0.8, kind, start="gaussian", seed=seed)
        values = [u.detach() for u in network.layers]
        cut = [v.numel() for v in values]
        flat = torch.cat([v.reshape(-1) for v in values])

        def loss(theta, cut=cut, network=network, problem=problem, values=values):
            parts = [p.reshape(v.shape) for p, v in zip(torch.split(theta, cut), values, strict=True)]
            return problem.loss(network.kind.value(parts))

        hessian = torch.autograd.functional.hessian(loss, flat)
        top = float(torch.linalg.matrix_norm(hessian, 2))
        batch = [v[None] for v in values]
        sizes = network.kind.sizes(batch)
        G = problem.adjoint(problem.residual(network.kind.value(batch)))
        bound = network.kind.curvature(sizes.upper, problem.spectral_norm, sizes.dual_norm(G))
        assert top <= float(bound) * (1 + 1e-12)


def test_effective_rank():
    values = torch.tensor([[2.0, 2.0, 2.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert effective_rank(values).tolist() == pytest.approx([3.0, 1.0, 0.0])


# -- the vector networks inside ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "layers", "start", "model", "slower"), TWINS)
def test_where_measurements_commute_the_flow_is_the_vector_network_s(kind, layers, start, model, slower):
    network = dln.MatrixFactorization((4, 4), layers, 0.1, kind, start=start)
    times = np.array([0.5, 2.0, 5.0, 20.0])
    path = dln.integrate_matrix_flow(EMBEDDED, network, times, rtol=1e-12)
    vector = dln.integrate_flow(VECTOR, model, 0.1, times / slower)
    assert path.status is Status.MAX_TIME
    for X, psi in zip(path.X, vector.psi, strict=True):
        assert X.numpy() == pytest.approx(_rotated(psi), abs=1e-10)


@pytest.mark.parametrize(("kind", "layers", "start", "model", "slower"), [t for t in TWINS if t[1] < 4])
def test_and_so_is_its_limit(kind, layers, start, model, slower):
    network = dln.MatrixFactorization((4, 4), layers, 0.1, kind, start=start)
    found = dln.matrix_limit(EMBEDDED, network, rtol=1e-12)
    assert found.status is Status.CONVERGED
    assert found.X.numpy() == pytest.approx(_rotated(dln.flow_limit(VECTOR, model, 0.1).psi), abs=1e-8)
    end = dln.MatrixFactorization((4, 4), layers, 0.1, kind, start=list(found.layers))
    assert float(end.imbalance) == pytest.approx(float(network.imbalance), abs=1e-9)


@pytest.mark.parametrize(("kind", "layers", "start", "model", "slower"), TWINS[:5])
def test_and_so_is_descent_step_by_step(kind, layers, start, model, slower):
    network = dln.MatrixFactorization((4, 4), layers, 0.1, kind, start=start)
    run = dln.train_matrix(EMBEDDED, network, schedule="constant", eta=3e-2, max_steps=100, tol=0)
    vector = dln.train(VECTOR, model, 0.1, schedule="constant", eta=3e-2, max_steps=100, tol=0, references=False)
    assert (run.status, vector.status) == (Status.MAX_STEPS, Status.MAX_STEPS)
    assert run.X.numpy() == pytest.approx(_rotated(vector.psi), abs=1e-12)


@pytest.mark.parametrize("p", [2, dln.Nonnegative(2)])
def test_the_relative_rule_is_the_vector_network_s_up_to_its_bounds(p):
    kind = "difference" if p == 2 else "psd"
    run = dln.train_matrix(EMBEDDED, dln.MatrixFactorization((4, 4), 2, 1e-3, kind), tol=1e-8, max_steps=30_000)
    limit = dln.flow_limit(VECTOR, p, 1e-3).psi
    # spectral bounds are above by up to 4^{1/4}: a slightly smaller κ
    if run.status is Status.CONVERGED:
        assert run.X.numpy() == pytest.approx(_rotated(limit), abs=2e-2)


def test_three_layers_leave_the_commuting_path_and_two_do_not():
    """At a saddle the off-diagonal entries of the outer layers grow at rate ψ₁^{1−2/N}|G_ii|, and at N > 2 the wait is long."""
    found = {}
    for layers in (2, 4):
        network = dln.MatrixFactorization((4, 4), layers, 0.1)
        found[layers] = dln.matrix_limit(EMBEDDED, network, rtol=1e-12)
        assert found[layers].status is Status.CONVERGED
    distance = {
        layers: np.abs(limit.X.numpy() - _rotated(dln.flow_limit(VECTOR, dln.Product(layers), 0.1).psi)).max()
        for layers, limit in found.items()
    }
    assert distance[2] < 1e-8
    assert distance[4] > 1e-2  # from rounding errors alone
    assert float(torch.linalg.svdvals(found[4].X).sum()) < 1.2 * dln.l1_minimizer(VECTOR).value


# -- training -----------------------------------------------------------------------------------------------------


def test_completion_trains_to_a_planted_matrix():
    problem = generators.completion(15, 15, rank=1, share=0.6, seed=1)
    network = dln.MatrixFactorization((15, 15), 3, 0.05)
    run = dln.train_matrix(problem, network, kappa=0.1, tol=1e-2)  # the tail is algebraic, as for sparse vectors
    assert run.status is Status.CONVERGED
    assert float((run.X - problem.truth).norm() / problem.truth.norm()) < 5e-2
    assert torch.equal(network.X, run.X)
    assert run.trajectory.t[-1] == run.time
    assert run.trajectory.effective_rank[-1] < 1.2
    assert bool((run.trajectory.t.diff() > 0).all())
    assert float(network.imbalance) < 0.05  # kept by the flow, nearly by descent: the layers themselves are of size 2


@pytest.mark.parametrize("schedule", [{"kappa": 0.1}, {"schedule": "constant", "eta": 0.02}])
@pytest.mark.parametrize("start", ["zero_last", "orthogonal"])
def test_the_compiled_loop_is_the_plain_one(schedule, start):
    problem = generators.completion(7, 9, rank=1, share=0.5, seed=1)
    dense = dln.MatrixProblem(problem.flat.to_dense().A.reshape(-1, 7, 9), problem.y)
    options = {"tol": 1e-3, "max_steps": 150, **schedule}
    make = lambda: dln.MatrixFactorization((7, 9), 3, [0.3, 0.5], start=start)  # noqa: E731
    fused, plain = dln.train_matrix(problem, make(), **options), dln.train_matrix(dense, make(), **options)
    assert fused.status == plain.status
    assert fused.steps.tolist() == plain.steps.tolist()
    assert torch.allclose(fused.time, plain.time, rtol=1e-9)
    assert torch.allclose(fused.X, plain.X, atol=1e-8)
    assert torch.allclose(fused.residual, plain.residual, rtol=1e-6)
    wild = dln.train_matrix(problem, make(), schedule="constant", eta=1e3)
    assert wild.status == [Status.DIVERGED] * 2
    assert bool(torch.isfinite(wild.X).all())
    timed = dln.train_matrix(problem, make(), schedule="constant", eta=0.02, max_time=0.5, tol=0)
    assert timed.status == [Status.MAX_TIME] * 2
    assert timed.time.tolist() == [0.5, 0.5]


def test_a_batch_is_its_members():
    problem = generators.gaussian_sensing(10, 4, 5, 1)
    options = {"kappa": 0.1, "tol": 1e-3, "max_steps": 200}
    alphas = [0.3, 0.1]
    batch = dln.train_matrix(problem, dln.MatrixFactorization((4, 5), 3, alphas), **options)
    for b, alpha in enumerate(alphas):
        one = dln.train_matrix(problem, dln.MatrixFactorization((4, 5), 3, alpha), **options)
        assert batch.status[b] == one.status
        assert int(batch.steps[b]) == one.steps
        assert torch.allclose(batch.X[b], one.X, atol=1e-9)


def test_descent_in_small_steps_is_the_flow():
    problem = generators.gaussian_sensing(6, 4, 4, 1, seed=2)
    network = dln.MatrixFactorization((4, 4), 3, 0.3, start="orthogonal", seed=4)
    path = dln.integrate_matrix_flow(problem, network, [3.0])
    errors = []
    for eta in (2e-3, 1e-3):
        copy = dln.MatrixFactorization((4, 4), 3, 0.3, start=list(network.layers))
        run = dln.train_matrix(problem, copy, schedule="constant", eta=eta, max_time=3.0, tol=0)
        assert run.status is Status.MAX_TIME
        assert run.time == 3.0
        errors.append(float((run.X - path.X[-1]).norm()))
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)


def test_statuses():
    problem = _symmetric(5, 3)
    make = lambda: dln.MatrixFactorization((3, 3), 2, 0.5, "difference")  # noqa: E731
    wild = dln.train_matrix(problem, make(), schedule="constant", eta=1e3)
    assert wild.status is Status.DIVERGED
    assert bool(torch.isfinite(wild.X).all())
    assert dln.train_matrix(problem, make(), max_steps=3).status is Status.MAX_STEPS
    assert dln.train_matrix(problem, make(), max_wall_seconds=1e-9).status is Status.MAX_WALL_SECONDS
    bad = dln.train_matrix(problem, make(), schedule=lambda point: -1.0)
    assert bad.status is Status.FAILED
    assert "finite and > 0" in bad.reason
    own = dln.train_matrix(problem, make(), schedule=lambda point: 0.01, tol=0, max_steps=20)
    same = dln.train_matrix(problem, make(), schedule="constant", eta=0.01, tol=0, max_steps=20)
    assert torch.equal(own.X, same.X)


def test_other_optimizers():
    problem = _symmetric(5, 3)
    plain = dln.train_matrix(
        problem, dln.MatrixFactorization((3, 3), 2, 0.5, "psd"), schedule="constant", eta=0.01, max_steps=40, tol=0
    )
    torch_sgd = dln.train_matrix(
        problem,
        dln.MatrixFactorization((3, 3), 2, 0.5, "psd"),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.01),
        max_steps=40,
        tol=0,
    )
    assert torch.allclose(plain.X, torch_sgd.X, atol=1e-14)
    for name in ("momentum", "adam", "sam", "sign"):
        run = dln.train_matrix(
            problem,
            dln.MatrixFactorization((3, 3), 2, 0.5, "psd"),
            optimizer=name,
            schedule="constant",
            eta=0.003,
            max_steps=50,
            tol=0,
        )
        assert run.status is Status.MAX_STEPS
        assert run.trajectory.loss[-1] < run.trajectory.loss[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dln.MatrixFactorization((2, 2), 1, 0.1), "layers must be an integer >= 2"),
        (lambda: dln.MatrixFactorization((2, 3), 2, 0.1, "psd"), "shape must be square with kind=psd"),
        (lambda: dln.MatrixFactorization((2, 2), 3, 0.1, "psd"), "layers must be 2 with kind=psd"),
        (lambda: dln.MatrixFactorization((2, 2), 2, 0.0), "alpha must be finite and > 0"),
        (lambda: dln.MatrixFactorization((2, 2), 2, 0.1, "other"), "kind must be one of product, psd, difference"),
        (lambda: dln.MatrixFactorization(4, 2, 0.1), "shape must be two counts"),
        (lambda: dln.MatrixFactorization((2, 2), 2, 0.1, start="zero_last", kind="psd"), "start must be one of"),
        (lambda: dln.MatrixFactorization((2, 2), 2, 0.1, start=[np.eye(2)]), "start must be one of .* or 2 layers"),
        (
            lambda: dln.train_matrix(
                generators.gaussian_sensing(3, 2, 2, 1), dln.MatrixFactorization((2, 2), 2, 0.1, "psd")
            ),
            "measurements must be symmetric with kind=psd",
        ),
        (
            lambda: dln.train_matrix(EMBEDDED, dln.MatrixFactorization((2, 2), 2, 0.1)),
            "network must have the problem's",
        ),
        (
            lambda: dln.train_matrix(EMBEDDED, dln.MatrixFactorization((4, 4), 2, 0.1), schedule="constant"),
            "eta must be given",
        ),
        (
            lambda: dln.integrate_matrix_flow(EMBEDDED, dln.MatrixFactorization((4, 4), 2, [0.1, 0.2]), [1.0]),
            "one network",
        ),
    ],
)
def test_one_line_for_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# -- groups -------------------------------------------------------------------------------------------------------


def test_groups_of_one_are_the_product_of_two_layers():
    run = dln.train_groups(VECTOR, dln.GroupNetwork(4, 1, 0.1), schedule="constant", eta=1e-2, max_steps=300, tol=0)
    vector = dln.train(
        VECTOR, dln.Product(2), 0.1, schedule="constant", eta=1e-2, max_steps=300, tol=0, references=False
    )
    assert run.X.numpy() == pytest.approx(vector.psi.numpy(), abs=1e-13)


def _group_problem():
    rng = np.random.default_rng(4)
    return dln.Problem(rng.standard_normal((5, 12)) / 5**0.5, rng.standard_normal(5))


def _kept(u, v, size):
    return u.square() - v.reshape(-1, size).square().sum(1)


def test_the_group_flow_keeps_its_invariant_and_descent_only_shrinks_it():
    problem, alpha = _group_problem(), 1e-2
    found = group_limit(problem, dln.GroupNetwork(12, 3, alpha))
    assert found.status is Status.CONVERGED
    assert _kept(*found.layers, 3).numpy() == pytest.approx(alpha**2, rel=1e-3)
    run = dln.train_groups(problem, dln.GroupNetwork(12, 3, alpha), kappa=0.02, tol=1e-8, max_steps=30_000)
    assert bool((_kept(*run.layers, 3) <= alpha**2 * (1 + 1e-9)).all())


def test_the_limit_of_groups_of_one_is_the_vector_network_s():
    problem = _group_problem()
    found = group_limit(problem, dln.GroupNetwork(12, 1, 1e-2), rtol=1e-12)
    limit = dln.flow_limit(problem, dln.Product(2), 1e-2)
    assert found.X.numpy() == pytest.approx(limit.psi.numpy(), abs=1e-7)


def test_group_gradients_are_those_of_autograd():
    rng = np.random.default_rng(0)
    problem = dln.Problem(rng.standard_normal((4, 9)), rng.standard_normal(4))
    network = dln.GroupNetwork(9, [[0, 4], [1, 2, 3], [5, 6, 7, 8]], [0.5, 0.7])
    with torch.no_grad():
        network.v.copy_(torch.from_numpy(rng.standard_normal((2, 9))))
    before = network.u.detach().clone(), network.v.detach().clone()
    problem.loss(network()).sum().backward()
    gradients = network.u.grad, network.v.grad
    dln.train_groups(problem, network, schedule="constant", eta=1e-3, max_steps=1, tol=0)
    for parameter, start, gradient in zip((network.u, network.v), before, gradients, strict=True):
        assert gradient is not None
        assert torch.allclose(parameter.detach(), start - 1e-3 * gradient, atol=1e-14)


def test_layers_that_no_memory_holds_are_refused_before_they_are_made():
    for options in ({"layers": 900, "width": 10**5}, {"layers": 3, "width": 10**6}, {"layers": 2, "batch": 10**9}):
        with pytest.raises(InputError, match="layers must have at most 536870912 entries together, got about"):
            dln.MatrixFactorization((10, 10), alpha=0.1, **options)
