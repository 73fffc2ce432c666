"""The table of a judged sample: killed of total by file, then every survivor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.judge import DEAD, Verdict
from tests.mutation.sample import Mutant

__all__ = ["WHY", "markdown"]

#: Why a mutant may live (it is the same program, or the change is within what is promised), by the mutant's name.
WHY = Path(__file__).with_name("why.json")


def markdown(mutants: Sequence[Mutant], verdicts: dict[str, Verdict], why: Path = WHY) -> str:
    """The report of a sample; mutants that were not judged are counted apart."""
    reasons = json.loads(why.read_text()) if why.exists() else {}
    judged = [mutant for mutant in mutants if mutant.name in verdicts]
    living = [mutant for mutant in judged if verdicts[mutant.name].status not in DEAD]
    dead = len(judged) - len(living)
    timeouts = sum(verdicts[mutant.name].status == "timeout" for mutant in judged)
    share = f"{100 * dead / len(judged):.1f} %" if judged else "-"
    lines = [
        f"{dead} of {len(judged)} mutants killed ({share}), {timeouts} of them by time; "
        f"{len(mutants) - len(judged)} of the sample not judged.",
        "",
        "| file | killed | of |",
        "| --- | ---: | ---: |",
    ]
    for file in sorted({mutant.file for mutant in judged}):
        here = [mutant for mutant in judged if mutant.file == file]
        lines.append(f"| `{file}` | {sum(mutant not in living for mutant in here)} | {len(here)} |")
    lines += ["", "## Survivors", ""]
    for mutant in sorted(living, key=lambda mutant: (mutant.file, mutant.line, mutant.column)):
        verdict = verdicts[mutant.name]
        lines += [
            f"- `{mutant.file}:{mutant.line}:{mutant.column}` {mutant.operator}, {verdict.status}"
            f" ({verdict.tests} test functions): {reasons.get(mutant.name, 'no reason is known')}",
            f"  - `{mutant.before}`",
            f"  - `{mutant.after}`",
        ]
    return "\n".join(lines) + "\n"
