"""Published experiments with diagonal networks, by paper: ``study=reproduce study.paper=even2023``, or all of them."""

from __future__ import annotations

from collections.abc import Sequence

from dlntorch.numerics.validation import check_choice
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, select, values_of
from dlntorch.studies.papers import PAPERS, paper_module

__all__ = ["STUDY"]

ABOUT = (
    "Experiments of other papers with their published settings, as far as these are known, and a verdict on each of "
    "their claims. What could not be known of the original is said; a claim that is not confirmed here is left so.",
    *(paper_module(paper).ABOUT for paper in PAPERS),
)


def points(settings: Settings) -> list[Point]:
    chosen = check_choice("study.paper", settings["paper"], (*PAPERS, "all"))
    papers = PAPERS if chosen == "all" else (chosen,)
    return [point for paper in papers for point in paper_module(paper).points(settings)]


def compute(point: Point) -> list[Row]:
    return paper_module(point["paper"]).compute(point)


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    papers = values_of(rows, "paper")
    return [claim for paper in papers for claim in paper_module(paper).claims(select(rows, paper=paper), settings)]


STUDY = Study(
    summary="other papers' experiments with their settings, and a verdict on each claim: study.paper=even2023, …, all",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
