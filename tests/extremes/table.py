"""The table of promises, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tests.extremes.cases import Row

__all__ = ["table"]

HEAD = """# What each function promises over which range

Written by `python -m tests.extremes` from inputs whose answer is known in closed form or to 60 digits by another route
(`tests/extremes/oracle.py`). *right*: the answer says `converged` and is within the tolerance, or within ten times the
uncertainty that it states, relative to its largest entry. *status*: the answer says that it is not to be relied on
(`below_input_precision`, `failed`, a budget). *refused*: an error of one line. Nothing was wrong without saying so; the
suite checks that.

| function | over | within | right | status | refused |
| --- | --- | --- | --- | --- | --- |
"""


def table(rows: Sequence[Row]) -> str:
    """One line for each row."""
    lines = [
        f"| `{row.function}` | {row.family} | {row.tolerance:g} | {row.right} | {row.status} | {row.refused} |"
        for row in rows
    ]
    return HEAD + "\n".join(lines) + "\n"
