"""One name, one matrix problem: what ``problem=completion problem.KEY=VALUE`` on the command line calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from dlntorch.matrix import generators
from dlntorch.matrix.problem import MatrixProblem
from dlntorch.numerics.validation import InputError
from dlntorch.problem.synthetic import gaussian

__all__ = ["MATRIX_GENERATORS", "make_matrix_problem"]


def _embedded(m: int = 4, n: int = 8, noncommuting: float = 0.0, seed: int = 0) -> MatrixProblem:
    return generators.embedded(gaussian(m=m, n=n, seed=seed), noncommuting=noncommuting, seed=seed)


#: The generators by the names that ``problem=`` takes.
MATRIX_GENERATORS: dict[str, Callable[..., MatrixProblem]] = {
    "completion": generators.completion,
    "sensing": generators.gaussian_sensing,
    "embedded": _embedded,
    "two_by_two": generators.two_by_two,
    "digits_table": generators.digits_table,
}


def make_matrix_problem(name: Any, **arguments: Any) -> MatrixProblem:
    """Make the matrix problem called ``name``.

    Raises:
        InputError: naming the key, the rule and the value.
    """
    if name not in MATRIX_GENERATORS:
        known = ", ".join(MATRIX_GENERATORS)
        raise InputError(f"problem must be one of {known} with model=factorization, got {name!r}")
    allowed = list(inspect.signature(MATRIX_GENERATORS[name]).parameters)
    for key in arguments:
        if key not in allowed:
            raise InputError(f"problem.{key} is not a key of problem {name!r}: must be one of {', '.join(allowed)}")
    try:
        return MATRIX_GENERATORS[name](**arguments)
    except InputError as error:
        first = str(error).split(" ", 1)[0]
        raise InputError(f"problem.{error}" if first in allowed else f"problem: {error}") from None
    except MemoryError:
        raise InputError("problem: the measurements must be small enough to fit in memory") from None
