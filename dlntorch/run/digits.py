"""How many digits the data of a run need before its answer means anything, and how many they have."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import torch

from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.run.references import References

__all__ = ["data_digits", "digits_report"]

#: Entries of A up to which exact arithmetic is quick enough for every run.
MAX_ENTRIES = 2000
#: Decimal numbers with more digits than this are not told from results of computations.
_MOST_DECIMALS = 12

_known: WeakKeyDictionary[Problem, tuple[int | None, str]] = WeakKeyDictionary()


def data_digits(problem: Problem) -> tuple[int, str]:
    """Significant decimal digits that the data have, and the reason: their type, or how they are written in the file."""
    digits = math.floor(-math.log10(problem.precision))
    kind = "float32" if problem.precision > 1e-8 else "float64"
    if not problem.source or not problem.dense:
        return digits, kind
    numbers = torch.cat([problem.A.reshape(-1), problem.y]).double().cpu()
    fractions = numbers[numbers != numbers.round()].tolist()  # whole numbers are taken as exact
    for count in range(1, _MOST_DECIMALS + 1 if fractions else 0):
        if all(float(f"{value:.{count - 1}e}") == value for value in fractions):
            return min(digits, count), f"the file's numbers have {count} significant digits"
    return digits, kind


def digits_report(problem: Problem, references: References) -> dict[str, Any]:
    """``digits``, ``digits_of_data`` and, where the second are fewer, ``digits_warning``; None with a reason."""
    needed, why = _needed(problem, references)
    has, kind = data_digits(problem)
    report: dict[str, Any] = {"digits": needed, "digits_of_data": has, "digits_warning": ""}
    if needed is None:
        report["digits_reason"] = why
    elif needed > has:
        report["digits_warning"] = (
            f"the l1-minimiser depends on digit {needed} of the data, which have {has} ({kind}): "
            "data that agree in those have another minimiser, 1 % or more away"
        )
    return report


def _needed(problem: Problem, references: References) -> tuple[int | None, str]:
    if references.l1 is None:
        return None, references.reasons.get("l1", "") or "the references were not computed"
    if problem.m * problem.n > MAX_ENTRIES:
        return None, f"A has {problem.m * problem.n} entries, more than the {MAX_ENTRIES} that every run is checked for"
    if problem not in _known:
        from dlntorch.reference.ill_posedness import needed_digits

        try:
            _known[problem] = needed_digits(problem.to("cpu", "float64"))
        except (ArithmeticError, InputError) as error:
            _known[problem] = None, str(error)
    return _known[problem]
