"""Products and norms that the compiled integrator's functions share: compiled once, where each use would be compiled again."""

from __future__ import annotations

import math

import numpy as np

from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["copy", "fill", "largest", "multiply", "norm", "times_columns", "times_rows"]


@kernel
def multiply(left, right, out):
    """out = left·right, for contiguous matrices; right may be a transpose."""
    np.dot(left, right, out)


@kernel(fastmath=SUMS)
def times_rows(matrix, x, out):
    """out = matrix·x."""
    for i in range(matrix.shape[0]):
        total = 0.0
        for j in range(x.size):
            total += matrix[i, j] * x[j]
        out[i] = total


@kernel(fastmath=SUMS)
def times_columns(matrix, x, out):
    """out = matrixᵀ·x."""
    for j in range(out.size):
        out[j] = 0.0
    for i in range(x.size):
        for j in range(out.size):
            out[j] += matrix[i, j] * x[i]


@kernel
def copy(x, out):
    """Copy a vector."""
    for i in range(out.size):
        out[i] = x[i]


@kernel
def fill(out, value):
    """Every entry of a vector is ``value``."""
    for i in range(out.size):
        out[i] = value


@kernel(fastmath=SUMS)
def norm(x):
    """‖x‖₂."""
    total = 0.0
    for i in range(x.size):
        total += x[i] * x[i]
    return math.sqrt(total)


@kernel(fastmath=SUMS)
def largest(x):
    """‖x‖_∞."""
    most = 0.0
    for i in range(x.size):
        most = max(most, abs(x[i]))
    return most
