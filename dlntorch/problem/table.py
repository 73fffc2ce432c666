"""A and y of a text table: which line is its header, which columns are A's, which is y, and one line that says so.

What a column is called and what stands in it are the evidence; what they leave open is refused, with the argument that
decides it. Row names, which R's ``write.csv`` and pandas' ``to_csv`` put first, are no data.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlntorch.problem.formats import FileProblem, check_bytes, check_regular_file, one_line
from dlntorch.problem.table_columns import Columns, TableOptions, is_header, number_in

__all__ = ["read_csv"]


@dataclass
class _Table:
    """The lines of a table as they are read: first those before the numbers, then rows of the columns that are used.

    Attributes:
        file: The file's name.
        options: What the user has chosen.
        rows: The numbers, of A's columns and last of y's; a list of floats would take four times the memory.
        header: The cells of the header, where there is one.
        comment: The cells of the last line before the numbers that starts with ``#``.
        columns: Which columns are read, known from the first row of numbers on.
        doubtful: A first line 0, 1, 2, …: the header of an array that pandas wrote, or numbers.
        decimals: Whether a number below it is written with a point or an exponent, as no such header is.
    """

    file: str
    options: TableOptions
    rows: list[np.ndarray] = field(default_factory=list)
    header: list[str] | None = None
    comment: list[str] | None = None
    columns: Columns | None = None
    doubtful: bool = False
    decimals: bool = False

    def add(self, cells: list[str], line: int) -> None:
        """Take the cells of one line, which is not blank."""
        if self.columns is None:
            if self.header is None and cells[0].lstrip().startswith("#"):
                self.comment = [cell.strip().lstrip("#").strip() for cell in cells]
                return
            if self.header is None and self._is_header(cells):
                self.header = [cell.strip() for cell in cells]
                return
            self.columns = Columns.of(self.file, self._names(len(cells), line), len(cells), self.options)
        if len(cells) != self.columns.width:
            raise FileProblem(f"line {line} has {len(cells)} columns, not {self.columns.width} as those before")
        if self.doubtful and not self.decimals:
            self.decimals = any(mark in cell for cell in cells for mark in ".eE")
        self.rows.append(np.array(_numbers(cells, self.columns, line)))

    def _is_header(self, cells: list[str]) -> bool:
        """Whether the first line is a header; one of 0, 1, 2, … is taken for one until the others are known."""
        if self.options.header is not None:
            return self.options.header
        self.doubtful = len(cells) > 1 and [cell.strip() for cell in cells] == [str(i) for i in range(len(cells))]
        return self.doubtful or is_header(cells)

    def _names(self, width: int, line: int) -> list[str] | None:
        """The name of each column, none without a header; R's ``write.table`` names no column of row names."""
        if self.header is None:
            return self.comment if self.comment is not None and len(self.comment) == width > 1 else None
        if len(self.header) == width - 1 >= 2:
            return ["", *self.header]
        if len(self.header) != width:
            raise FileProblem(f"line {line} has {width} columns, not {len(self.header)} as those before")
        return self.header

    def arrays(self) -> Mapping[str, Any]:
        """A, y, and the line that says what was read."""
        if self.columns is None:
            raise FileProblem("it has no row of numbers")
        if self.doubtful and not self.decimals:
            raise FileProblem(
                f"its first line counts 0 … {self.columns.width - 1} above whole numbers: say header=true where it names "
                "the columns, header=false where it is numbers"
            )
        table = np.array(self.rows, dtype=np.float64)
        A, y = table[:, :-1], table[:, -1]
        if self.columns.drop_counter(A[:, 0]):
            A = A[:, 1:]
        return {"A": A, "y": y, "note": self.columns.note(len(table), A, "a header" if self.header else "a comment")}


def _counted(lines: Iterable[str], limit: int, delimiter: str) -> Iterator[str]:
    """The lines, as long as the numbers that they may hold fit below the limit."""
    count = 0
    for line in lines:
        count += line.count(delimiter) + 1
        check_bytes("its table", 8 * count, limit)
        yield line.strip(" ") if delimiter == " " else line


def read_csv(file: Path, limit: int, options: TableOptions) -> Mapping[str, Any]:
    """A and y of a table of text, and ``note``, a line that says which columns they are.

    Args:
        file: The file.
        limit: Bytes that its numbers may take.
        options: Which columns to read, and how they are separated.

    Raises:
        FileProblem: where the file is no table of numbers, or does not say which column is y.
        OptionError: where ``options`` name columns that are not there.
    """
    check_bytes("it", check_regular_file(file), limit)
    table = _Table(one_line(file.name, 60), options)
    first = ""
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            lines = _counted(stream, limit, options.delimiter)
            reader = csv.reader(
                lines, strict=True, delimiter=options.delimiter, skipinitialspace=options.delimiter == " "
            )
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    first = first or options.delimiter.join(cells)  # before a reason to refuse the file
                    table.add(cells, reader.line_num)
    except UnicodeDecodeError:
        raise FileProblem("it is not text in UTF-8") from None
    except csv.Error as error:
        raise FileProblem(f"it is not comma-separated text ({one_line(error)})") from None
    except FileProblem as error:
        raise FileProblem(f"{error}{_other_delimiter(first, options.delimiter)}") from None
    if not table.rows:
        raise FileProblem(f"it has no row of numbers{_other_delimiter(first, options.delimiter)}")
    return table.arrays()


def _other_delimiter(first: str, used: str) -> str:
    """The hint at another delimiter that the first line has, where it has not the one used."""
    for name, mark in (("semicolon", ";"), ("tab", "\t"), ("comma", ",")):
        if mark in first and used not in first:
            return f" (separated by {used!r}; delimiter={name} makes {first.count(mark) + 1} columns of its first line)"
    return ""


def _numbers(cells: list[str], columns: Columns, line: int) -> list[float]:
    """The cells that are read as finite numbers, or where one is not."""
    if columns.used is not None:
        cells = [cells[i] for i in columns.used]
    if "_" not in "".join(cells):
        try:
            numbers = [*map(float, cells)]
        except ValueError:
            numbers = [math.nan]
        if all(map(math.isfinite, numbers)):
            return numbers
    numbers = []  # cell by cell, to name the wrong one
    for column, cell in zip(columns.used or range(len(cells)), cells, strict=True):
        value = number_in(cell)
        if value is None or not math.isfinite(value):
            rule = "a number" if value is None else "finite"
            hint = "" if columns.names is None or value is not None else " (columns= chooses those of A)"
            raise FileProblem(f"line {line}, column {column + 1} must be {rule}, got {one_line(repr(cell), 40)}{hint}")
        numbers.append(value)
    return numbers
