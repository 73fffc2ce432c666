"""Nothing is wrong without saying so, over the whole range of the arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.extremes import cases
from tests.extremes.cases import ROWS

PROMISES = Path(__file__).with_name("promises.md").read_text()


#: Rows of a few seconds each.
QUICK = (
    cases.l1_minimizer, cases.basis_pursuit, cases.train_over_scales, cases.nothing_to_fit,
)  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [row if row in QUICK else pytest.param(row, marks=pytest.mark.slow) for row in ROWS],
    ids=[row.__name__ for row in ROWS],
)
def test_every_answer_is_right_or_has_a_status_or_is_refused(make):
    row = make()
    assert not row.wrong, "\n".join(row.wrong[:10])
    assert row.right > 0
    line = next(line for line in PROMISES.splitlines() if line.startswith(f"| `{row.function}` | {row.family} |"))
    promised = int(line.split("|")[4])
    assert row.right >= promised, f"{row.right} right, {promised} promised: run python -m tests.extremes"
