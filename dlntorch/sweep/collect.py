"""All summaries of a sweep in one table: also while it runs, and with the points that are cut, failed or waiting."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlntorch.numerics.validation import InputError
from dlntorch.run.summary import said_of
from dlntorch.store.folder import atomic_write
from dlntorch.sweep.points import PointState, point_state, read_failure, read_points, read_summary, split_overrides

__all__ = ["collect_sweep", "varied_keys", "write_table"]

#: Columns that come first, where a sweep has them.
FIRST = ("point", "state", "status", "p", "alpha", "seed", "problem.name", "problem.m", "problem.n", "steps", "time")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

#: What a summary holds beside numbers and words: left to its own file.
LEFT_OUT = ("versions", "signatures", "advice")


def collect_sweep(sweep: str | Path) -> list[dict[str, Any]]:
    """One row for each point of a sweep: its folder, overrides, state, and its flattened summary where it has one.

    Args:
        sweep: A sweep's folder (``hydra.sweep.dir``), finished or not.

    Raises:
        InputError: when it is not a folder of a sweep, or has no points.
    """
    folder = Path(sweep)
    if not folder.is_dir():
        raise InputError(f"sweep must be the folder of a sweep, got {str(sweep)!r}, which is no folder")
    overrides = read_points(folder)
    found = {path.parent.name for path in folder.glob("*/config.yaml")}
    names = [*overrides, *sorted(found - set(overrides))]
    if not names:
        raise InputError(f"sweep must be the folder of a sweep, got {str(sweep)!r}, which has no points")
    return [_row(folder / name, overrides.get(name, "")) for name in names]


def _row(folder: Path, overrides: str) -> dict[str, Any]:
    state = point_state(folder)
    row: dict[str, Any] = {"point": folder.name, "overrides": overrides, "state": str(state), **varied_keys(overrides)}
    if state is PointState.FAILED:
        failure = read_failure(folder) or {}
        row["reason"] = failure.get("reason", "")
    summary = read_summary(folder)
    if summary is not None:
        row |= {key: value for key, value in _flat(summary).items() if key not in row or value is not None}
    return row


def varied_keys(overrides: str) -> dict[str, Any]:
    """The keys and values of overrides, numbers as numbers: what the sweep set that a summary need not hold."""
    found: dict[str, Any] = {}
    for key, value in split_overrides(overrides).items():
        number = float(value) if _NUMBER.fullmatch(value) else value
        found[key] = int(number) if isinstance(number, float) and number.is_integer() else number
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; lists and what :data:`LEFT_OUT` names are left out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if not prefix and key in LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            flat[prefix + key] = value
    return flat


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """All columns of the rows, those that people look for first, reasons last."""
    every = dict.fromkeys(key for row in rows for key in row)
    first = [key for key in FIRST if key in every]
    rest = [key for key in every if key not in first]
    return [*first, *sorted(rest, key=lambda key: key.endswith("reason"))]


def write_table(rows: Sequence[Mapping[str, Any]], sweep: str | Path) -> list[Path]:
    """``summaries.csv``, and ``summaries.parquet`` where pyarrow is installed, in the sweep's folder.

    Numbers have all their digits; what a point lacks is empty (null in parquet). The fields of the parquet file have meaning,
    symbol and unit as metadata.
    """
    columns = columns_of(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    paths = [Path(sweep) / "summaries.csv"]
    atomic_write(paths[0], text.getvalue().encode())
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        return paths
    arrays = {name: pa.array(_one_kind([row.get(name) for row in rows])) for name in columns}
    schema = pa.schema([pa.field(name, array.type, metadata=said_of(name)) for name, array in arrays.items()])
    table = pa.table(arrays, schema=schema)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    paths.append(Path(sweep) / "summaries.parquet")
    atomic_write(paths[1], buffer.getvalue())
    return paths


def _one_kind(values: list[Any]) -> list[Any]:
    """A column of one type: whole numbers beside fractions become fractions; anything else mixed becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return [None if value is None else float(value) for value in values]
    if len(kinds) > 1:
        return [None if value is None else str(value) for value in values]
    return values
