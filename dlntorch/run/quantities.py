"""What is said about a number of the summary, beside the number: its meaning, symbol and unit, and where it is shown.

A part of the summary is a dataclass whose fields are made by :func:`number`, :func:`count`, :func:`word`, :func:`flag`,
:func:`part` and :func:`record`. From these fields the summary is computed and checked when it is read, and the console, the
page, the tables of networks and sweeps, W&B's tables and the documentation are drawn: a new number is one entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

__all__ = [
    "ABSENT",
    "Explained",
    "Quantity",
    "Shown",
    "check_part",
    "count",
    "flag",
    "in_ascii",
    "number",
    "part",
    "quantities",
    "record",
    "summarized",
    "with_reason",
    "word",
]

#: What a quantity gives that a run does not have, as the ε of another schedule than ``certified``.
ABSENT: Any = object()

#: How letters of formulas are written where only ASCII is sure to be shown.
_IN_ASCII = {
    "ψ": "psi", "θ": "theta", "α": "alpha", "η": "eta", "κ": "kappa", "ϱ": "rho", "ε": "epsilon", "Σ": "sum ", "∞": "inf",
    "‖": "||", "−": "-", "₂": "_2", "₁": "_1", "²": "^2", "ᵀ": "^T", "·": " ", "ℓ": "l", "ŝ": "s^", "≤": "<=",
    "ν": "nu", "’": "'", "λ": "lambda", "∇": "grad",
}  # fmt: skip


def in_ascii(text: str) -> str:
    """A text with its formulas in ASCII."""
    return text.translate(str.maketrans(_IN_ASCII))


class Explained(NamedTuple):
    """A value with the reason why it is as it is: mostly None, and why."""

    value: Any
    reason: str


def with_reason(value: Any, reason: str = "") -> Explained:
    """A value, or None with its reason."""
    return Explained(value, reason)


@dataclass(frozen=True)
class Quantity:
    """What is said about a value of the summary.

    Attributes:
        meaning: What it is, in words.
        of: Computes it from a finished run; :class:`Explained` where it may be missing.
        kinds: The types that its value may have beside None.
        unit: Of the number.
        symbol: The formula.
        head: What the head of a table's column calls it; by default its key in words.
        console: Whether the closing table has it.
        page: Whether the page of a run has it.
        row: Whether it is in the tables of networks.
        inside: The dataclass of a part.
        optional: Whether a saved summary may lack it: version 0.1 had none, or only some runs have it.
    """

    meaning: str
    of: Callable[[Any], Any]
    kinds: tuple[type, ...]
    unit: str = ""
    symbol: str = ""
    head: str = ""
    console: bool = False
    page: bool = True
    row: bool = False
    inside: type | None = None
    optional: bool = False

    @property
    def words(self) -> str:
        """Meaning and formula."""
        return f"{self.meaning}: {self.symbol}" if self.symbol else self.meaning


def number(meaning: str, of: Callable[[Any], Any], unit: str = "1", **more: Any) -> Any:
    """A finite number, or None with a reason beside it."""
    return field(metadata={"quantity": Quantity(meaning, of, (float, int), unit, **more)})


def count(meaning: str, of: Callable[[Any], Any], **more: Any) -> Any:
    """A whole number, or None."""
    return field(metadata={"quantity": Quantity(meaning, of, (int,), **{"page": False, **more})})


def word(meaning: str, of: Callable[[Any], Any], **more: Any) -> Any:
    """A word or a sentence, or None."""
    return field(metadata={"quantity": Quantity(meaning, of, (str,), **{"page": False, **more})})


def flag(meaning: str, of: Callable[[Any], Any], **more: Any) -> Any:
    """Yes, no, or None for undecided."""
    return field(metadata={"quantity": Quantity(meaning, of, (bool,), **{"page": False, **more})})


def record(meaning: str, of: Callable[[Any], Any], **more: Any) -> Any:
    """Values by name, or a list."""
    return field(metadata={"quantity": Quantity(meaning, of, (dict, list), **{"page": False, **more})})


def part(meaning: str, inside: type, has: Callable[[Any], bool] = lambda run: True, **more: Any) -> Any:
    """A part of the summary, whose dataclass is ``inside``; of the runs that have it."""
    computed = lambda run: summarized(inside, run) if has(run) else ABSENT  # noqa: E731
    return field(metadata={"quantity": Quantity(meaning, computed, (dict,), page=False, inside=inside, **more)})


def quantities(summary: type) -> Iterator[tuple[str, Quantity]]:
    """The keys of a part of the summary with what is said about them."""
    for one in fields(summary):
        yield one.name, one.metadata["quantity"]


def summarized(summary: type, run: Any) -> dict[str, Any]:
    """A part of the summary of a finished run.

    A number that is not finite, or that could not be computed, is None with a ``…_reason`` beside it: never NaN, never left out.
    """
    found: dict[str, Any] = {}
    for key, quantity in quantities(summary):
        value, reason = quantity.of(run), ""
        if isinstance(value, Explained):
            value, reason = value
            reason = reason if value is None or value is False else ""
            reason = reason or ("not computed" if value is None else "")
        if value is ABSENT:
            continue
        if float in quantity.kinds:
            value, reason = _finite(value, reason)
        found[key] = value
        if reason:
            found[f"{key}_reason"] = reason
    return found


def _finite(value: Any, reason: str) -> tuple[float | None, str]:
    """A finite number, or None with a reason."""
    if value is None:
        return None, reason or "not computed"
    value = float(value)
    if math.isfinite(value):
        return value, ""
    return None, reason or f"the value is {value}, which is not a finite number"


def check_part(summary: type, values: Mapping[str, Any], inside: str = "") -> None:
    """Refuse a saved summary that is not as this program writes it; an older one may lack what came later.

    Raises:
        ValueError: naming the key.
    """
    for key, quantity in quantities(summary):
        name = f"{inside}{key}"
        if key not in values:
            if quantity.optional:
                continue
            raise ValueError(f"summary.json has no {name}")
        value = values[key]
        if value is None:
            continue
        fits = isinstance(value, quantity.kinds) and (isinstance(value, bool) <= (bool in quantity.kinds))
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"summary.json must have {quantity.meaning} as {name}, got {value!r:.40}")
        if quantity.inside is not None:
            check_part(quantity.inside, dict(value), f"{name}.")  # type: ignore[arg-type]


class Shown(NamedTuple):
    """A value of a summary as a table shows it.

    Attributes:
        key: Its key.
        value: The value.
        words: Its meaning and formula, or why there is no value.
    """

    key: str
    value: Any
    words: str

    @staticmethod
    def all(summary: type, values: Mapping[str, Any], where: str) -> list[Shown]:
        """What a saved part has of the quantities that are shown in a place: ``console``, ``page`` or ``row``."""
        rows = []
        for key, quantity in quantities(summary):
            if getattr(quantity, where) and key in values:
                reason = (
                    ""
                    if values[key] is not None
                    else f" (not available: {values.get(f'{key}_reason', 'not computed')})"
                )
                rows.append(Shown(key, values[key], quantity.words + reason))
        return rows
