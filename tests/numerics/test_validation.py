"""Every check names the argument, the rule and the value, in one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.model.dual import relaxation_time
from dlntorch.model.potentials import h
from dlntorch.numerics.validation import (
    InputError,
    check_alpha,
    check_choice,
    check_count,
    check_depth,
    check_device,
    check_dtype,
    check_number,
    check_times,
    check_unmasked,
)
from dlntorch.problem import digit_image
from dlntorch.problem.operators import PartialCosine


@pytest.mark.parametrize("p", [1.999, 1, 0, -3, math.nan, math.inf, "3", None, True, [3], 10**400])
def test_depth_is_a_finite_real_number_of_at_least_two(p):
    with pytest.raises(InputError, match=r"^p must be a finite real number >= 2, got "):
        check_depth(p)


@pytest.mark.parametrize("p", [2, 2.0, 2.5, 50])
def test_depths_that_are_right_come_back_as_floats(p):
    assert check_depth(p) == float(p)


@pytest.mark.parametrize("alpha", [0, -1e-3, math.nan, math.inf, "a", None])
def test_alpha_is_positive(alpha):
    with pytest.raises(InputError, match=r"^alpha must be a finite real number > 0, got "):
        check_alpha(alpha)


def test_counts_accept_integral_floats_only():
    assert check_count("k", 1e6) == 1_000_000
    for bad in (0, 1.5, "1", True, math.nan, math.inf):
        with pytest.raises(InputError, match="k must be an integer >= 1"):
            check_count("k", bad)
    with pytest.raises(InputError, match="k must be an integer >= 1 and <= 5, got 6"):
        check_count("k", 6, at_most=5)


def test_messages_are_one_short_line():
    with pytest.raises(InputError) as caught:
        check_number("x", "a\nb" * 200)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("t", [[1, 0.5], [0, 0], [-1], [math.nan], [], "soon", [[1, 2]], [math.inf]])
def test_times_are_finite_nonnegative_and_increasing(t):
    with pytest.raises(InputError, match="^t must be "):
        check_times(t)


def test_times_come_back_as_a_vector():
    assert check_times(2.0).tolist() == [2.0]
    assert check_times([0, 1, 3]).tolist() == [0.0, 1.0, 3.0]


def test_choice_lists_what_there_is():
    with pytest.raises(InputError, match="engine must be one of a, b, got 'c'"):
        check_choice("engine", "c", ("a", "b"))


def test_devices_and_dtypes():
    assert check_device(None) == check_device("auto") == torch.device("cpu")
    for bad in ("gpu9", "mps", 3.5):
        with pytest.raises(InputError, match="device must be auto, cpu, cuda or cuda:N"):
            check_device(bad)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="finds no CUDA GPU"):
            check_device("cuda")
    assert check_dtype(None) is check_dtype("float64") is torch.float64
    assert check_dtype(torch.float32) is torch.float32
    for bad in ("float16", torch.int64, 3):
        with pytest.raises(InputError, match="dtype must be float64 or float32"):
            check_dtype(bad)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for good in ("cuda", "cuda:0"):
        assert check_device(good) == torch.device(good)
    with pytest.raises(InputError, match=r"device must be available, got 'cuda:3': torch finds 1 CUDA GPU\(s\) here"):
        check_device("cuda:3")


A = np.array([[1.0, 2.0, 0.5], [0.0, 1.0, -1.0]])


def masked(*shape: int, whole: bool = False) -> np.ma.MaskedArray:
    """Ones, of which the last is masked, or none."""
    mask = np.zeros(shape, dtype=bool)
    mask.flat[-1] = not whole
    return np.ma.array(np.ones(shape), mask=mask)


class Masking:
    """An operator whose products have a masked entry."""

    shape = (2, 3)

    def matvec(self, x: Any) -> Any:
        return np.ma.array(A @ np.asarray(x), mask=[False, True])

    def rmatvec(self, r: Any) -> Any:
        return A.T @ np.asarray(r)


class MaskedNorms(Masking):
    column_norms = masked(3)

    def matvec(self, x: Any) -> Any:
        return A @ np.asarray(x)


def line() -> dln.Problem:
    return dln.Problem(A, [1.0, 2.0])


#: Where arrays of a user's enter, by the name of the argument.
ENTRIES: list[tuple[str, Callable[[], Any]]] = [
    ("A", lambda: dln.Problem(masked(2, 3), [1.0, 2.0])),
    ("A", lambda: dln.Problem(list(masked(2, 3)), [1.0, 2.0])),
    ("y", lambda: dln.Problem(A, masked(2))),
    ("y", lambda: dln.Problem(A, list(masked(2)))),
    ("truth", lambda: dln.Problem(A, [1.0, 2.0], truth=masked(3))),
    ("A.matvec", lambda: dln.Problem(Masking(), [1.0, 2.0])),
    ("A.column_norms", lambda: dln.Problem(MaskedNorms(), [1.0, 2.0]).operator.column_norms()),
    ("A", lambda: dln.basis_pursuit(masked(2, 3), [1.0, 2.0])),
    ("y", lambda: dln.basis_pursuit(A, masked(2))),
    ("A", lambda: dln.basis_pursuit([masked(2, 3)], [[1.0, 2.0]])),
    ("alpha", lambda: dln.flow_limit(line(), 3, masked(2))),
    ("alpha", lambda: dln.DiagonalLinearNetwork(3, 3, masked(3))),
    ("alpha", lambda: dln.train_ensemble(line(), 3, masked(2))),  # pyright: ignore
    ("t", lambda: dln.integrate_flow(line(), 3, 0.1, np.cumsum(masked(2)))),
    ("t", lambda: check_times(list(masked(2)))),
    ("psi_limit", lambda: relaxation_time(line(), 3, 0.1, masked(3))),
    ("frequencies", lambda: PartialCosine(8, masked(3).astype(int))),
    ("psi", lambda: digit_image(masked(64))),
    ("tau", lambda: h(masked(3), 3)),
]


@pytest.mark.parametrize("case", range(len(ENTRIES)))
def test_a_mask_is_never_ignored(case: int) -> None:
    """NumPy would hand over what stands behind it."""
    name, call = ENTRIES[case]
    with pytest.raises(dln.InputError, match=rf"^{name} must have no masked entries, got (1 of|one)"):
        call()


def test_an_array_that_masks_nothing_is_an_array() -> None:
    problem = dln.Problem(np.ma.array(A), masked(2, whole=True))
    assert torch.equal(problem.A, torch.from_numpy(A))
    assert dln.basis_pursuit(np.ma.array(A), masked(2, whole=True)).status is dln.Status.CONVERGED
    np.testing.assert_array_equal(check_times(np.ma.array([1.0, 2.0])), [1.0, 2.0])


def test_torchs_masked_tensors_are_refused() -> None:
    class MaskedTensor(torch.Tensor):
        """As torch.masked's, whose import warns that it is a prototype."""

    with pytest.raises(InputError, match="^A must be a tensor without a mask, got a MaskedTensor"):
        check_unmasked("A", torch.zeros(2).as_subclass(MaskedTensor))
