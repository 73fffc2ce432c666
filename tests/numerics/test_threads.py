"""Public calls use one thread for small problems, and leave the caller's settings as they were."""

import threading

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import dlntorch as dln
from dlntorch.numerics.threads import ONE_THREAD_ENTRIES, numeric_threads, with_few_threads
from dlntorch.numerics.validation import InputError
from dlntorch.problem import make_problem
from dlntorch.problem.operators import PartialCosine

CALLS = {
    "basis_pursuit": lambda problem: dln.basis_pursuit(problem.A, problem.y),
    "l1_minimizer": lambda problem: dln.l1_minimizer(problem),
    "selected_minimizer": lambda problem: dln.selected_minimizer(problem, 3),
    "predict_rate": lambda problem: dln.predict_rate(problem, 3),
    "flow_limit": lambda problem: dln.flow_limit(problem=problem, p=3, alpha=0.1),
    "integrate_flow": lambda problem: dln.integrate_flow(problem, 3, 0.1, [1.0]),
    "train": lambda problem: dln.train(problem, 3, 0.1, max_steps=10, references=False),
    "train_ensemble": lambda problem: dln.train_ensemble(problem, [3, 4], 0.1, max_steps=10, references=False),
}


def _counts():
    """Threads of torch, and of every library: BLAS and OpenMP."""
    return torch.get_num_threads(), sorted((info["filepath"], info["num_threads"]) for info in threadpool_info())


@pytest.fixture
def two_threads():
    """The caller has set two threads, for torch and for every library."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpool_limits(2):
        yield _counts()
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def problem():
    return make_problem("gaussian", m=3, n=6)


@pytest.mark.parametrize("name", CALLS)
def test_a_public_call_computes_with_one_thread_and_leaves_the_caller_s_settings(
    name, problem, two_threads, monkeypatch
):
    seen = []

    limit = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda count: (seen.append(count), limit(count))[1])
    CALLS[name](problem)
    assert seen == [1, 2]  # once for all that the call calls
    assert _counts() == two_threads


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_ends_with_an_exception_leaves_the_caller_s_settings(name, two_threads, monkeypatch):
    def broken(*_, **__):
        assert {count for _, count in _counts()[1]} == {1}
        raise RuntimeError("from inside")

    bad = make_problem("gaussian", m=3, n=6)
    for method in ("as_columns", "reduced", "to"):
        monkeypatch.setattr(type(bad), method, broken, raising=False)
    monkeypatch.setattr("dlntorch.reference.basis_pursuit._check_shapes", broken)
    monkeypatch.setattr("dlntorch.reference.l1_minimizer.StandardForm.of", broken)
    monkeypatch.setattr("dlntorch.run.planning.new_descent", broken)
    monkeypatch.setattr("dlntorch.flow.integrate.flow_path", broken)
    with pytest.raises(RuntimeError, match="from inside"):
        CALLS[name](bad)
    assert _counts() == two_threads


def test_every_library_has_one_thread_inside_for_small_problems_and_operators_and_the_caller_s_for_large(two_threads):
    class Large:
        m, n, dense = ONE_THREAD_ENTRIES, 2, True

    operator = PartialCosine(ONE_THREAD_ENTRIES, torch.tensor([0, 1]))
    for data in (None, torch.ones(2, 2), make_problem("gaussian", m=2, n=4), "no problem", operator):
        with numeric_threads("auto", data) as count:
            assert count == 1
            assert (1, {1}) == (_counts()[0], {number for _, number in _counts()[1]})
    with numeric_threads("auto", Large()) as count:
        assert (count, _counts()) == (2, two_threads)
    assert _counts() == two_threads


def test_the_outermost_limit_decides(two_threads):
    with numeric_threads(2), numeric_threads(1) as inner:
        assert inner == 2
    with numeric_threads(1):
        with numeric_threads(2) as inner:
            assert inner == 1
        assert torch.get_num_threads() == 1
    assert _counts() == two_threads


def test_calls_in_several_threads_at_once_leave_each_caller_s_settings(two_threads):
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    after = {}

    def first():
        with numeric_threads(1):
            first_is_in.set()
            assert second_is_in.wait(20)
        after["first"] = torch.get_num_threads()
        first_is_out.set()

    def second():
        assert first_is_in.wait(20)
        with numeric_threads(1):
            second_is_in.set()
            assert first_is_out.wait(20)
            after["inside"] = torch.get_num_threads()
        after["second"] = torch.get_num_threads()

    running = [threading.Thread(target=target) for target in (first, second)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert after == {"first": 2, "inside": 1, "second": 2}
    assert _counts() == two_threads


def test_a_keyword_is_looked_at_as_a_position_is(two_threads):
    class Large:
        m, n, dense = ONE_THREAD_ENTRIES, 2, True

    @with_few_threads
    def threads(data, factor=1):
        return factor * torch.get_num_threads()

    assert (threads(Large()), threads(factor=3, data=Large()), threads(data=None)) == (2, 6, 1)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "all"])
def test_a_wrong_number_of_threads_is_refused(threads, two_threads):
    with pytest.raises(InputError, match="threads"), numeric_threads(threads):
        pass
    assert _counts() == two_threads


@pytest.mark.parametrize(
    "ask", [lambda problem: problem.rank, lambda problem: problem.reduced(), lambda problem: problem.spectral_norm]
)
def test_what_a_problem_says_of_itself_takes_one_thread(ask, monkeypatch):
    """rank, reduced() and the singular values decompose A, outside of any other call."""
    seen, svd = [], torch.linalg.svd

    def watched(*arguments, **options):
        seen.append(torch.get_num_threads())
        return svd(*arguments, **options)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(torch.linalg, "svd", watched)
        ask(dln.Problem(torch.randn(5, 12, dtype=torch.float64), torch.ones(5)))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
