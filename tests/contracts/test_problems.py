"""What every generator and every reader promises, run over all that are registered."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
import scipy.io
import torch

import dlntorch as dln
from dlntorch.numerics.validation import DataWarning
from dlntorch.problem import GENERATORS, make_problem
from dlntorch.problem.readers import _RULES as READERS
from tests import problems


def made(name, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # data that are rank-deficient on purpose
        return make_problem(name, **arguments)


@pytest.mark.parametrize("name", GENERATORS)
class TestGenerators:
    def test_a_problem_that_can_be_trained(self, name):
        problem = made(name)
        assert isinstance(problem, dln.Problem)
        assert problem.m < problem.n
        assert problem.y.shape == (problem.m,)
        assert problem.y.dtype == torch.float64
        assert bool(torch.isfinite(problem.y).all())
        assert float(problem.y.abs().max()) > 0
        psi = torch.randn(problem.n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        r = torch.randn(problem.m, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        forth, back = problem.operator.matvec(psi) @ r, problem.operator.rmatvec(r) @ psi
        assert float(forth) == pytest.approx(float(back), rel=1e-10)
        run = dln.train(problem, 3, 0.1, max_steps=3, references=False)
        assert run.summary["steps"] <= 3

    def test_the_truth_solves_it(self, name):
        problem = made(name)
        if problem.truth is None or (problem.dense and not problem.consistent):
            return
        left = problem.operator.matvec(problem.truth) - problem.y
        assert float(left.abs().max()) <= 1e-9 * float(problem.y.abs().max())

    def test_it_is_the_same_each_time_and_of_its_seed(self, name):
        one, other = made(name), made(name)
        assert torch.equal(one.y, other.y)
        if "seed" in inspect.signature(GENERATORS[name]).parameters:
            assert not torch.equal(one.y, made(name, seed=123).y)

    def test_precision_and_mistakes(self, name):
        assert made(name, dtype="float32").y.dtype == torch.float32
        with pytest.raises(dln.InputError, match=rf"problem.nonsense is not a key of problem '{name}'"):
            made(name, nonsense=1)
        assert inspect.getdoc(GENERATORS[name])


def write(suffix, folder, problem):
    """The file of a format, by somebody else's means."""
    A, y = problem.A.numpy(), problem.y.numpy()
    path = folder / f"data{suffix}"
    if suffix == ".npz":
        np.savez(path, A=A, y=y)
    elif suffix == ".npy":
        np.save(folder / "data_A.npy", A)
        np.save(folder / "data_y.npy", y)
    elif suffix == ".csv":
        path.write_text("\n".join(",".join(map(repr, row)) for row in np.c_[A, y].tolist()) + "\n")
    elif suffix == ".mat":
        scipy.io.savemat(path, {"A": A, "y": y})
    elif suffix == ".pt":
        torch.save({"A": problem.A, "y": problem.y}, path)
    else:
        pytest.fail(f"no file of the format {suffix} is written here yet")
    return path


@pytest.mark.parametrize("suffix", READERS)
class TestReaders:
    def test_bits_round_trip(self, suffix, tmp_path):
        problem = problems.gaussian(3, 6, seed=3)
        path = write(suffix, tmp_path, problem)
        for read in (dln.load_problem(path), make_problem("file", path=str(path))):
            assert torch.equal(read.A, problem.A)
            assert torch.equal(read.y, problem.y)
            assert read.name == "data"
            assert "data" in read.source

    def test_what_is_wrong_is_one_line(self, suffix, tmp_path):
        path = write(suffix, tmp_path, problems.gaussian(3, 6, seed=3))
        with pytest.raises(dln.InputError, match=r"^path must be ") as refused:
            dln.load_problem(tmp_path / f"absent{suffix}")
        assert "\n" not in str(refused.value)
        broken = path if path.exists() else tmp_path / "data_A.npy"
        broken.write_bytes(b"\x00\xff" + broken.read_bytes()[: broken.stat().st_size // 2])
        with pytest.raises(dln.InputError, match=r"^path must be ") as refused:
            dln.load_problem(path)
        assert "\n" not in str(refused.value)

    def test_a_file_that_is_too_large_is_refused_before_it_is_read(self, suffix, tmp_path):
        path = write(suffix, tmp_path, problems.gaussian(3, 6, seed=3))
        with pytest.raises(dln.InputError, match=r"^path must be "):
            dln.load_problem(path, max_bytes=8)
