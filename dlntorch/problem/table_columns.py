"""Which columns of a text table are A's and which is y: by what the user says, else by what the header says."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlntorch.numerics.validation import InputError
from dlntorch.problem.formats import FileProblem, one_line

__all__ = ["Columns", "OptionError", "TableOptions", "is_header", "number_in"]

_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|", "\\t": "\t"}
_MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "missing", ".", "-", "?"}
#: What a first column of row names is called: nothing by R and pandas, ``Unnamed: 0`` by pandas reading its own file.
_ROW_NAMES = {"", "unnamed: 0", "rownames", "rowname", "row.names", "row_names", "row names"}
#: Names under which distinct whole numbers are row names too.
_COUNTERS = {"index", "id", "row", "obs", "no", "nr", "case", "sample", "x.1"}
#: What y is called, the surest first; b is also what a second column is called.
_TARGETS = ({"y"}, {"target", "response", "rhs", "outcome", "label"}, {"b"})


class OptionError(InputError):
    """A wrong ``y``, ``columns``, ``delimiter`` or ``header``: the message begins with its name."""


@dataclass(frozen=True)
class TableOptions:
    """What the user has chosen of a table; see :func:`~dlntorch.problem.load_problem`."""

    y: str | None = None
    columns: tuple[str, ...] | None = None
    delimiter: str = ","
    header: bool | None = None

    @classmethod
    def checked(cls, y: Any, columns: Any, delimiter: Any, header: Any, table: bool) -> TableOptions:
        """The options, checked; ``table`` says whether the file is one: no other format takes any.

        Raises:
            OptionError: naming the argument, the rule and the value.
        """
        given = {"y": y, "columns": columns, "delimiter": delimiter, "header": header}
        for name, value in given.items():
            if value is not None and not table:
                raise OptionError(f"{name} must be left out where the file is no .csv, got {_shown(value)}")
        if y is not None and not _is_reference(y):
            raise OptionError(f"y must be the name of a column, or its number from 1 on, got {_shown(y)}")
        if isinstance(columns, str | int):
            columns = [part.strip() for part in str(columns).split(",")] if isinstance(columns, str) else [columns]
        if columns is not None:
            sound = isinstance(columns, Sequence) and len(columns) > 0 and all(map(_is_reference, columns))
            if not sound:
                raise OptionError(f"columns must be a list of names, numbers or FIRST:LAST, got {_shown(columns)}")
        if header is not None and not isinstance(header, bool):
            raise OptionError(f"header must be true or false, got {_shown(header)}")
        chosen = None if columns is None else tuple(str(one).strip() for one in columns)
        return cls(None if y is None else str(y).strip(), chosen, _delimiter(delimiter), header)


def _is_reference(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(str(value).strip())


def _delimiter(value: Any) -> str:
    if value is None:
        return ","
    mark = _DELIMITERS.get(value, value) if isinstance(value, str) else ""
    if len(mark) != 1 or mark.isalnum() or mark in "\"'+-._#\r\n\0" or not (mark.isprintable() or mark == "\t"):
        words = ", ".join(name for name in _DELIMITERS if name.isalpha())
        raise OptionError(f"delimiter must be one of {words}, or one character, got {_shown(value)}")
    return mark


def _shown(value: Any) -> str:
    return one_line(repr(value), 60)


def number_in(cell: str) -> float | None:
    """The number in a cell, or None; Python's 1_000 is not a number here."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def is_header(cells: Sequence[str]) -> bool:
    """Whether a first line names the columns: by words, beside which there may be a count 0, 1, 2, … or 1, 2, 3, ….

    Marks of missing values are no words. An empty first cell beside a count is what pandas writes above row names.
    """
    words = [cell for cell in cells if number_in(cell) is None and cell.strip().lower() not in _MISSING]
    numbers = [cell.strip() for cell in cells if number_in(cell) is not None]
    if not numbers:
        return bool(words)
    counts = any(numbers == [str(start + i) for i in range(len(numbers))] for start in (0, 1))
    return counts and (len(numbers) > 1 or numbers == ["0"]) and (bool(words) or not cells[0].strip())


@dataclass
class Columns:
    """The columns that are read.

    Attributes:
        file: The file's name.
        names: The name of each column, where there is a header.
        width: How many there are.
        A: The numbers of A's columns, from 0 on.
        y: The number of y's.
        why: Why that one is y.
        left_out: What is said of a column that is left out of A.
        chosen: Whether the user has chosen A's columns.
    """

    file: str
    names: list[str] | None
    width: int
    A: list[int]
    y: int
    why: str
    left_out: str = ""
    chosen: bool = False
    used: list[int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        read = [*self.A, self.y]
        self.used = None if read == list(range(self.width)) else read

    @classmethod
    def of(cls, file: str, names: list[str] | None, width: int, options: TableOptions) -> Columns:
        """Choose the columns of a table of this width.

        Raises:
            FileProblem: where the header does not say which column is y, or too few are left.
            OptionError: where the options name columns that are not there.
        """
        find = _Finder(file, names, width)
        row_names = names is not None and names[0].lower() in _ROW_NAMES
        if options.y is not None:
            y, why = find.one("y", options.y), "as chosen"
        else:
            y, why = _find_y(names, width, 1 if row_names else 0)
        if options.columns is not None:
            A = find.several("columns", options.columns)
            if y in A and options.y is None:
                raise OptionError(f"y must be given where columns have {find.called(y)}, y {why} otherwise, got None")
            if y in A:
                raise OptionError(f"columns must leave out y's column {find.called(y)}, got {_shown(options.columns)}")
        else:
            A = [i for i in range(width) if i != y and not (row_names and i == 0)]
        if not A:
            raise FileProblem("it has one column: at least one of A and one of y are needed, separated by commas")
        named = f" {names[0]!r}" if names and names[0] else ""
        left_out = f"column 1{named}, row names" if row_names and y and 0 not in A and not options.columns else ""
        return cls(file, names, width, A, y, why, left_out, options.columns is not None)

    def drop_counter(self, first: np.ndarray) -> bool:
        """Whether A's ``first`` column, shape (m,), counts the rows under a name for that; it is then left out."""
        name = self.names[0] if self.names and self.A[0] == 0 else None
        if name is None or self.chosen or len(self.A) < 2 or name.lower() not in _COUNTERS:
            return False
        if not np.all(first == np.round(first)) or len(np.unique(first)) < max(len(first), 2):
            return False
        self.A, self.left_out = self.A[1:], f"column 1 {name!r}, row names"
        return True

    def note(self, m: int, A: np.ndarray, header: str) -> str:
        """One line that says what was read, of A, shape (m, n)."""
        n, called = len(self.A), _Finder(self.file, self.names, self.width).called
        shown = called(self.A[0]) + ("" if n == 1 else f" to {called(self.A[-1])}")
        parts = [
            f"read {self.file}: {m} row{'s' if m > 1 else ''} {f'under {header}' if self.names else 'without a header'}",
            f"A is {n} column{'s' if n > 1 else ''}, {shown}",
            f"y is column {self.y + 1}{f' {self.names[self.y]!r}' if self.names else ''}, {self.why}",
        ]
        if self.left_out:
            parts.append(f"left out is {self.left_out}")
        elif not self.chosen and self.A[0] == 0 and m > 2 and np.all(np.diff(A[:, 0]) == 1) and A[0, 0] in (0, 1):
            parts.append(f"column 1 of A counts {A[0, 0]:g} to {A[-1, 0]:g} (columns= leaves it out)")
        return one_line("; ".join(parts), 400)


def _find_y(names: list[str] | None, width: int, first: int) -> tuple[int, str]:
    """The column that the header calls y, else the last one, and why; ``first`` is the first one that may be."""
    words = [name.lower() for name in names] if names else []
    ends = {first, width - 1} | ({first + 1} if words and words[first] in _COUNTERS else set())
    for called in _TARGETS:
        found = [i for i, word in enumerate(words) if word in called and (word != "b" or i in ends)]
        if len(found) > 1:
            several = " and ".join(f"{i + 1} {names[i]!r}" for i in found[:2] if names)
            raise FileProblem(f"its header has columns {several} that may be y: y=NAME says which one is")
        if found and found[0] not in ends:
            word = words[found[0]]
            raise FileProblem(
                f"its header calls column {found[0] + 1} {word}, but not the first or the last: y=NAME decides"
            )
        if found:
            return found[0], "as it is called"
    return width - 1, "the last"


@dataclass(frozen=True)
class _Finder:
    """Finds columns by name, or by number from 1 on."""

    file: str
    names: list[str] | None
    width: int

    def called(self, i: int) -> str:
        """How a column is called in messages."""
        return f"{self.names[i]!r}" if self.names else f"{i + 1}"

    def one(self, argument: str, named: str) -> int:
        """The column called ``named``; a name goes before a number."""
        same = [i for i, name in enumerate(self.names or []) if name == named]
        if len(same) == 1:
            return same[0]
        if not same and named.isdecimal() and 1 <= int(named) <= self.width:
            return int(named) - 1
        rule = "a number from 1 on, for a name that several have," if same else "one of its names or numbers"
        known = one_line(", ".join(self.names or []), 80)
        found = f"(found: {known})" if known else f"(numbers 1 … {self.width}, there is no header)"
        near = difflib.get_close_matches(named, self.names or [], n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near and not same else ""
        raise OptionError(f"{argument} must be a column of {self.file}: {rule} {found}, got {named!r}{hint}")

    def several(self, argument: str, named: Sequence[str]) -> list[int]:
        """The columns called so, in that order; ``FIRST:LAST`` are all from one to another."""
        found: list[int] = []
        for name in named:
            first, colon, last = name.partition(":")
            if colon and name not in (self.names or []):
                begin, end = self.one(argument, first.strip()), self.one(argument, last.strip())
                if begin > end:
                    raise OptionError(f"{argument} must have FIRST before LAST, got {name!r}")
                found += range(begin, end + 1)
            else:
                found.append(self.one(argument, name))
        if len(set(found)) < len(found):
            raise OptionError(f"{argument} must name each column once, got {_shown(list(named))}")
        return found
