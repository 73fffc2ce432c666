"""NUMBA_DISABLE_JIT=1: every public function and command computes the same, in plain Python."""

import json
import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.numerics import bits
from dlntorch.problem import make_problem

ROOT = Path(__file__).parents[2]

PROBLEM = make_problem("gaussian", m=3, n=6)
#: What differs from one way to the other is rounding: sums that are reordered, and the bound that chooses a certified κ.
CALLS = {
    "basis_pursuit": lambda: dln.basis_pursuit(PROBLEM.A, PROBLEM.y).x,
    "l1_minimizer": lambda: dln.l1_minimizer(PROBLEM).psi,
    "selected_minimizer": lambda: dln.selected_minimizer(PROBLEM, 2.5).psi,
    "predict_rate": lambda: torch.tensor([dln.predict_rate(PROBLEM, 3).constant]),
    "flow_limit": lambda: dln.flow_limit(PROBLEM, 2.5, [1.0, 1e-3, 1e-40]).psi,
    "integrate_flow": lambda: dln.integrate_flow(PROBLEM, 3, 0.1, [1.0, 10.0]).psi,
    "relative": lambda: _trained(3),
    "stable": lambda: _trained(4, schedule="stable"),
    "certified": lambda: _trained(2.5, schedule="certified", epsilon=0.05),
    "real power": lambda: _trained(7.3, schedule="constant", eta=1e-3),
    "mini-batches": lambda: _trained(2, batch_size=2),
    "float32": lambda: _trained(2.5, dtype="float32"),
    "diverging": lambda: _trained(3, schedule="constant", eta=1e6),
    "ensemble": lambda: dln.train_ensemble(PROBLEM, [2, 3], 0.3, max_steps=60, references=False).psi,
    "far below float64": lambda: dln.flow_limit(dln.Problem(PROBLEM.A, PROBLEM.y * 1e-200), 3, 1e-300).psi,
}


def _trained(p, **options):
    return dln.train(PROBLEM, p, 0.3, max_steps=60, references=False, **{"engine": "fused", **options}).psi


def main():
    print(json.dumps({name: call().double().tolist() for name, call in CALLS.items()}))


@pytest.fixture(scope="module")
def plain():
    """What a process in which nothing is compiled finds."""
    program = "from tests.numerics.test_without_compilation import main; main()"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CALLS)
def test_a_public_function_finds_in_plain_python_what_it_finds_compiled(name, plain):
    scale = 1e-4 if name in ("certified", "float32") else 1e-10
    np.testing.assert_allclose(plain[name], CALLS[name]().double().numpy(), rtol=scale, atol=scale)


@pytest.mark.slow
def test_a_command_runs_in_plain_python(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        "problem=line",
        "p=2.5",
        "alpha=0.1",
        "logger=none",
        "max_steps=50",
    ]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    (summary,) = tmp_path.rglob("summary.json")
    assert json.loads(summary.read_text())["steps"] == 50


@pytest.mark.parametrize("x", [0.0, 5e-324, 1.0, -1.0, 1.5e300, float("inf"), float("nan"), -float("inf")])
def test_bits_of_a_float_are_its_own_in_plain_python(x):
    assert bits._as_bits(x) == struct.unpack("<q", struct.pack("<d", x))[0]
    assert struct.pack("<d", bits._as_float(bits._as_bits(x))) == struct.pack("<d", x)
    assert bits._shifted(bits._as_bits(x)) == struct.unpack("<Q", struct.pack("<d", x))[0] >> 52


def test_a_fused_product_is_rounded_once_in_plain_python():
    generator = np.random.default_rng(0)
    for a, b in generator.standard_normal((50, 2)).tolist():
        c = -(a * b)  # what is left is the rounding error of the product, which two roundings lose
        assert bits._fused(a, b, c) == float(Fraction(a) * Fraction(b) + Fraction(c))
    assert bits._fused(1e300, 1e300, 0.0) == float("inf")
    assert np.isnan(bits._fused(float("inf"), 0.0, 1.0))
