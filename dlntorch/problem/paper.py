"""The small problems of the paper (Wind, Antun and Hansen, arXiv 2307.07410): its experiments and its hard family."""

from __future__ import annotations

from dlntorch.numerics.validation import check_number
from dlntorch.problem.problem import Problem

__all__ = ["kink", "line", "plane", "random"]


def line() -> Problem:
    """A = [[1, 1, 1], [3, 0, 1]], y = (3, 3): the minimisers form the segment (1 − t, 2(1 − t), 3t), 0 <= t <= 1.

    W_2 has t = 2^{2/3}/(3 + 2^{2/3}) and W_p, p > 2, has t = 1/(1 + (3^{2/p}/(2^{2/p} + 1))^{−p/(p−2)}).
    """
    return Problem([[1.0, 1.0, 1.0], [3.0, 0.0, 1.0]], [3.0, 3.0], name="line")


def plane() -> Problem:
    """A = [[2, −1, 0, 1], [0, 3, 2, 0]], y = (0, 6): the segment of :func:`line`, and a fourth coordinate that is 0."""
    return Problem([[2.0, -1.0, 0.0, 1.0], [0.0, 3.0, 2.0, 0.0]], [0.0, 6.0], name="plane")


def random() -> Problem:
    """The paper's random 3×5 problem, to its three printed decimals: the ℓ1-minimiser is unique."""
    A = [
        [-0.111, 0.120, -0.370, -0.240, -1.197],
        [0.209, -0.972, -0.755, 0.324, -0.109],
        [0.210, -0.391, 0.235, 0.665, 0.353],
    ]
    return Problem(A, [0.973, -0.039, -0.886], name="random")


def kink(delta: float = 0.1) -> Problem:
    """A = (1, 1 − δ), y = 1: the minimiser is e₁ for δ > 0, e₂/(1 − δ) for δ < 0, and their segment for δ = 0.

    The network follows the jump only once α^p ≪ |δ|^{p/(p−2)} (p > 2): the kink of the paper's Figure 2.

    Args:
        delta: −1 <= δ <= 0.999.

    Raises:
        InputError: naming the argument.
    """
    delta = check_number("delta", delta, at_least=-1, at_most=0.999)
    return Problem([[1.0, 1.0 - delta]], [1.0], name="kink")
