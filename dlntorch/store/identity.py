"""What a saved state belongs to: the problem, the rule and the stream of batches that continue it bitwise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem

__all__ = ["check_identity", "problem_digest"]


def problem_digest(problem: Problem) -> str:
    """SHA-256 of (A, y) in float64, what identifies a problem in a checkpoint; of y for an A of a user's own functions."""
    exact = problem.to("cpu", "float64")
    digest = hashlib.sha256(f"{problem.m},{problem.n};".encode())
    try:
        entries = tuple(exact.operator.arrays().values())
    except InputError:  # no file can hold it
        entries = ()
    for array in (*entries, exact.y.numpy()):
        digest.update(np.ascontiguousarray(array).data)  # no copy: A may be large
    return digest.hexdigest()


def check_identity(
    saved: Mapping[str, Any], asked: Mapping[str, Any], name: str, error: type[InputError] = InputError
) -> None:
    """Refuse to continue a saved state as another run.

    Args:
        saved: The identity beside the state.
        asked: The identity of the run that is to go on from it; keys of ``saved`` alone are not compared.
        name: What the user calls the saved state: ``resume`` or ``ckpt_path``.
        error: What is raised.

    Raises:
        InputError: naming the first key that differs, or rather ``error``.
    """
    for key in asked:
        if saved.get(key) != asked[key]:
            text = f"its checkpoint has {key}={saved.get(key)!r}, got {asked[key]!r}"
            raise error(f"{name} must continue the same run: {text}")
