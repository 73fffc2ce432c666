"""What a study is: points to compute, rows that come of them, claims that the rows are held against."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from dlntorch.numerics.validation import InputError, check_number

__all__ = [
    "Claim",
    "Point",
    "Row",
    "Settings",
    "Study",
    "Verdict",
    "at_most",
    "column",
    "depths_and_powers",
    "holds",
    "numbers",
    "pick",
    "select",
    "values_of",
    "within",
]

Settings = Mapping[str, Any]
Point = dict[str, Any]
Row = dict[str, Any]


class Verdict(StrEnum):
    """What the measurement says about a claim."""

    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not confirmed"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Claim:
    """One line of the table of verdicts.

    Attributes:
        claim: The statement, in words, with the parameters it is about.
        predicted: A finite number, words, or None where there is none.
        measured: The same.
        verdict: Whether the measurement confirms it.
        rule: How that was decided, for example "within 0.02".
    """

    claim: str
    predicted: float | str | None
    measured: float | str | None
    verdict: Verdict
    rule: str


@dataclass(frozen=True)
class Study:
    """A study; each module of this package defines one as ``STUDY``.

    Attributes:
        summary: One line, for ``study=list``.
        about: What it shows and why it matters, in prose, one string for each paragraph of the page.
        points: From the settings to the parameter dicts to compute, one for each unit of work. It checks the settings.
        compute: From one of them to its rows. Pure: the same point gives the same rows, on any machine and in any
            process. Each row is completed by the point's own entries.
        claims: From all rows (in the order of the points) and the settings to the table of verdicts.
    """

    summary: str
    about: tuple[str, ...]
    points: Callable[[Settings], list[Point]]
    compute: Callable[[Point], list[Row]]
    claims: Callable[[Sequence[Row], Settings], list[Claim]]


def within(
    claim: str, predicted: float | None, measured: float | None, tolerance: float, relative: bool = False
) -> Claim:
    """A claim that ``measured`` is within ``tolerance`` (a share of ``predicted`` if ``relative``) of ``predicted``."""
    rule = f"within {100 * tolerance:.3g} %" if relative else f"within {tolerance:.3g}"
    predicted, measured = _finite(predicted), _finite(measured)
    if predicted is None or measured is None:
        return Claim(claim, predicted, measured, Verdict.UNDECIDED, f"{rule}; one of the two is not available")
    allowed = tolerance * abs(predicted) if relative else tolerance
    good = abs(measured - predicted) <= allowed
    return Claim(claim, predicted, measured, Verdict.CONFIRMED if good else Verdict.NOT_CONFIRMED, rule)


def at_most(claim: str, measured: float | None, bound: float) -> Claim:
    """A claim that ``measured`` is at most ``bound``."""
    measured = _finite(measured)
    if measured is None:
        return Claim(claim, bound, measured, Verdict.UNDECIDED, "measured ≤ predicted; it is not available")
    good = measured <= bound
    return Claim(claim, bound, measured, Verdict.CONFIRMED if good else Verdict.NOT_CONFIRMED, "measured ≤ predicted")


def _finite(value: float | None) -> float | None:
    """None for NaN and infinities, which JSON has no word for: studies need not look before they compare."""
    return float(value) if value is not None and math.isfinite(value) else None


def holds(claim: str, predicted: str, measured: str, good: bool | None, rule: str) -> Claim:
    """A claim whose two sides are words; None for ``good`` means undecided."""
    verdict = Verdict.UNDECIDED if good is None else Verdict.CONFIRMED if good else Verdict.NOT_CONFIRMED
    return Claim(claim, predicted, measured, verdict, rule)


# -- rows ---------------------------------------------------------------------------------------------------------


def select(rows: Iterable[Row], **equal: Any) -> list[Row]:
    """The rows whose entries equal those given."""
    return [row for row in rows if all(key in row and row[key] == value for key, value in equal.items())]


def pick(rows: Iterable[Row], **equal: Any) -> Row:
    """The one row whose entries equal those given; ``LookupError`` when there is none, or more than one."""
    found = select(rows, **equal)
    if len(found) != 1:
        raise LookupError(f"expected one row with {equal}, found {len(found)}")
    return found[0]


def column(rows: Iterable[Row], key: str) -> np.ndarray:
    """A column as float64; NaN where a row has none."""
    return np.array([math.nan if row.get(key) is None else float(row[key]) for row in rows])


def values_of(rows: Iterable[Row], key: str) -> list[Any]:
    """The different values of a column, in the order in which they appear."""
    return list(dict.fromkeys(row[key] for row in rows if row.get(key) is not None))


# -- settings -----------------------------------------------------------------------------------------------------


def numbers(settings: Settings, key: str, check: Callable[[str, Any], Any]) -> list[Any]:
    """A setting that is a nonempty list, each entry checked by ``check(name, value)``.

    Raises:
        InputError: naming the key and the entry.
    """
    values = settings[key]
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError(f"study.{key} must be a nonempty list, got {values!r}")
    return [check(f"study.{key}[{index}]", value) for index, value in enumerate(values)]


def depths_and_powers(
    settings: Settings, depths: str = "depths", powers: str = "powers", repeated: bool = False
) -> list[tuple[float, float]]:
    """Two settings that are lists of the same length: each p >= 2 with its αᵖ, at most 0.1.

    Args:
        settings: Of the study.
        depths: The key of the p.
        powers: The key of the αᵖ.
        repeated: Whether a p may occur more than once; rows that only p tells apart would be mixed.

    Raises:
        InputError: naming the key and the value.
    """
    ps = numbers(settings, depths, lambda name, value: check_number(name, value, at_least=2))
    sizes = numbers(settings, powers, lambda name, value: check_number(name, value, above=0, at_most=0.1))
    if len(ps) != len(sizes):
        raise InputError(f"study.{powers} must have one entry for each of the {len(ps)} depths, got {len(sizes)}")
    if not repeated and len(set(ps)) < len(ps):
        raise InputError(f"study.{depths} must be different numbers, got {settings[depths]}")
    return list(zip(ps, sizes, strict=True))
