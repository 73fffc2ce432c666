"""Tables of a page with many columns: whole on a desk's screen, and a card for each row on a phone's."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from dlntorch.report.style import format_number

__all__ = ["number_table", "word_cell"]


def number_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table whose first column names its rows; numbers are never broken, and no column is hidden.

    Args:
        heads: The columns' names.
        rows: Numbers, words, and None; what :func:`word_cell` has made stays as it is.
    """
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    body = []
    for row in rows:
        cells = "".join(_cell(name, value) for name, value in zip(heads[1:], row[1:], strict=True))
        name = row[0] if isinstance(row[0], _Words) else html.escape(str(row[0]))
        body.append(f'<tr><th scope="row" data-name="{html.escape(heads[0])}">{name}</th>{cells}</tr>')
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>' + "\n".join(body) + "</tbody></table>"


class _Words(str):
    """HTML of a cell."""


def word_cell(markup: str) -> str:
    """A cell that is HTML already."""
    return _Words(markup)


def _cell(name: str, value: Any) -> str:
    words = isinstance(value, str)
    text = value if isinstance(value, _Words) else html.escape(value if words else format_number(value, 4))
    return f'<td class="{"words" if words else "number"}" data-name="{html.escape(name, quote=True)}">{text}</td>'
