"""Runs studies: the points that are not in the cache, then claims and files. Reports are made by the caller."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import check_count
from dlntorch.store.folder import atomic_write
from dlntorch.studies.base import Claim, Point, Row, Study, Verdict
from dlntorch.studies.cache import PointCache, row_version
from dlntorch.studies.catalogue import load_study, study_settings
from dlntorch.studies.worker import Job, compute_all

__all__ = ["StudyResult", "run_studies", "run_study"]

#: Called after each point with: the study, how many of its points are done, how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class StudyResult:
    """A finished study.

    Attributes:
        name: Its name.
        study: What it is.
        settings: What it was run with.
        rows: The data, in the order of the points.
        claims: The table of verdicts.
        folder: Where its files are.
        computed: Points computed now; the others were in the cache.
        points: Points in all.
        seconds: Of computing, summed over the points computed now.
    """

    name: str
    study: Study
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    folder: Path
    computed: int
    points: int
    seconds: float

    __repr__ = short_repr

    def count(self, verdict: Verdict) -> int:
        """How many claims have that verdict."""
        return sum(claim.verdict is verdict for claim in self.claims)


def run_study(
    name: str,
    folder: str | Path,
    *,
    small: bool = False,
    changes: Mapping[str, Any] | None = None,
    workers: int = 1,
    fresh: bool = False,
    progress: Progress | None = None,
) -> StudyResult:
    """Run one study and write ``data.csv``, ``table.md``, ``table.csv``, ``summary.json`` and ``settings.yaml``.

    Args:
        name: One of :func:`~dlntorch.studies.catalogue.study_names`.
        folder: The study's folder; made when missing. Finished points are kept in ``points/`` inside.
        small: The version that the tests run.
        changes: Settings to replace.
        workers: Processes.
        fresh: Compute every point anew.
        progress: Told after each point.

    Raises:
        InputError: an unknown study or key, or a setting out of range.
    """
    settings = {name: study_settings(name, small, changes)}
    return run_studies(settings, {name: Path(folder)}, workers=workers, fresh=fresh, progress=progress)[0]


def run_studies(
    settings: Mapping[str, Mapping[str, Any]],
    folders: Mapping[str, Path],
    *,
    workers: int = 1,
    fresh: bool = False,
    progress: Progress | None = None,
    finished: Callable[[StudyResult], None] | None = None,
) -> list[StudyResult]:
    """Run several studies over one pool of processes.

    Args:
        settings: Of each study, by name.
        folders: Of each study, by name.
        workers: Processes.
        fresh: Compute every point anew.
        progress: Told after each point.
        finished: Told of each study as its last point is done (its report is drawn while the others run).
    """
    check_count("workers", workers)
    running = {name: _Running(name, settings[name], folders[name], fresh) for name in settings}
    if progress is not None:
        for name, study in running.items():
            progress(name, study.done, len(study.points))
    results: dict[str, StudyResult] = {}

    def close(name: str) -> None:
        results[name] = running[name].finish()
        if finished is not None:
            finished(results[name])

    for name, study in running.items():
        if study.complete:
            close(name)
    jobs: list[Job] = [(name, i, study.points[i]) for name, study in running.items() for i in study.missing]
    for (name, where, _), rows, seconds in compute_all(jobs, workers):
        study = running[name]
        study.add(where, rows, seconds)
        if progress is not None:
            progress(name, study.done, len(study.points))
        if study.complete:
            close(name)
    return [results[name] for name in settings]


class _Running:
    """A study under way."""

    def __init__(self, name: str, settings: Mapping[str, Any], folder: Path, fresh: bool) -> None:
        self.name, self.settings, self.folder = name, settings, folder
        self.study = load_study(name)
        self.points = _different(self.study.points(settings))
        folder.mkdir(parents=True, exist_ok=True)  # first of all: it fails where nothing could be written later
        self.cache = PointCache(folder / "points", name)
        self.rows: list[list[Row] | None] = [None if fresh else self.cache.load(point) for point in self.points]
        self.missing = tuple(i for i, rows in enumerate(self.rows) if rows is None)
        self.done = len(self.points) - len(self.missing)
        self.seconds = 0.0

    @property
    def complete(self) -> bool:
        return self.done == len(self.points)

    def add(self, where: int, rows: list[Row], seconds: float) -> None:
        self.cache.store(self.points[where], rows)
        self.rows[where] = rows
        self.done += 1
        self.seconds += seconds

    def finish(self) -> StudyResult:
        rows = tuple(row for part in self.rows if part is not None for row in part)
        result = StudyResult(
            name=self.name,
            study=self.study,
            settings=self.settings,
            rows=rows,
            claims=tuple(self.study.claims(rows, self.settings)),
            folder=self.folder,
            computed=len(self.missing),
            points=len(self.points),
            seconds=self.seconds,
        )
        _write(result)
        return result


def _different(points: list[Point]) -> list[Point]:
    """Each point once: a value that a setting lists twice would double its rows."""
    return list({json.dumps(point, sort_keys=True): point for point in points}.values())


# -- files --------------------------------------------------------------------------------------------------------


def _write(result: StudyResult) -> None:
    names = list(dict.fromkeys(key for row in result.rows for key in row))
    atomic_write(result.folder / "data.csv", _csv(names, [[row.get(key) for key in names] for row in result.rows]))
    head = ["claim", "predicted", "measured", "verdict", "rule"]
    table = [[getattr(claim, key) for key in head] for claim in result.claims]
    atomic_write(result.folder / "table.csv", _csv(head, table))
    atomic_write(result.folder / "table.md", _markdown(result).encode())
    atomic_write(result.folder / "settings.yaml", yaml.safe_dump(dict(result.settings), sort_keys=False).encode())
    summary = {
        "study": result.name,
        "small": result.settings["small"],
        "verdicts": {str(verdict): result.count(verdict) for verdict in Verdict},
        "claims": [asdict(claim) for claim in result.claims],
        "points": result.points,
        "rows": len(result.rows),
        "computed_now": result.computed,
        "seconds": result.seconds,
        "code": row_version(result.name),
    }
    text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False)
    atomic_write(result.folder / "summary.json", f"{text}\n".encode())


def _csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Numbers with all their digits; an empty field for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue().encode()


def _markdown(result: StudyResult) -> str:
    lines = [
        f"# {result.name}: {result.study.summary}",
        "",
        "| claim | predicted | measured | verdict | rule |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for claim in result.claims:
        cells = (claim.claim, shown_side(claim.predicted), shown_side(claim.measured), claim.verdict, claim.rule)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def shown_side(value: float | str | None) -> str:
    """A side of a claim as a person reads it."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.5g}"
