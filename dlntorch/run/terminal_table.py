"""Tables for a terminal of any width: numbers are never cut; columns that do not fit beside others go below them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_numbers", "table_of", "terminal"]

_BETWEEN = 3  # characters that the frame takes beside each column


def terminal() -> Console:
    """Where tables go; wide enough for one where it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=110)


def table_of(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> Table:
    """A table whose columns of ``numbers`` are as wide as their longest cell; the others' words fold.

    Args:
        title: What stands above it.
        heads: The columns' names; all empty for a table without.
        rows: The cells.
        numbers: Which columns have numbers, from 0 on.
    """
    table = Table(title=Text(title), title_justify="left", show_header=any(heads))
    for i, head in enumerate(heads):
        right = i in numbers
        least = max(cell_len(row[i]) for row in rows) if right and rows else None
        table.add_column(Text(head), justify="right" if right else "left", overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def print_numbers(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of numbers and single words, none of which is broken.

    Where the columns do not fit side by side there are several tables, each of which begins with the first column.
    """
    console = terminal()
    need = [max([*map(cell_len, head.split()), *(cell_len(row[i]) for row in rows)]) for i, head in enumerate(heads)]
    for part, columns in enumerate(_blocks(need, console.width)):
        table = Table(title=Text(title) if part == 0 else None, title_justify="left")
        for i in columns:
            table.add_column(Text(heads[i]), justify="right", min_width=need[i], max_width=need[i])
        for row in rows:
            table.add_row(*(Text(row[i]) for i in columns))
        # Of two columns that are too wide for the terminal the lines are broken, not the numbers cut.
        console.width = max(console.width, sum(need[i] + _BETWEEN for i in columns) + 1)
        console.print(table, crop=False)


def _blocks(need: Sequence[int], width: int) -> list[list[int]]:
    """The columns of each table: as many as fit into ``width`` beside the first one, and at least one."""
    blocks = [[0]]
    used = first = need[0] + _BETWEEN + 1
    for i in range(1, len(need)):
        if used + need[i] + _BETWEEN > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = first
        blocks[-1].append(i)
        used += need[i] + _BETWEEN
    return blocks
