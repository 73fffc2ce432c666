"""``python -m tests.mutation``: does a test fail when a line of the numerical rooms is wrong?

Draws a sample of mutants (cosmic-ray's operators) and runs, for each, the tests that execute the changed line, in private
copies of the tree. Results are appended to a file as they come; mutants that are in it already are not judged again.

    python -m tests.mutation --list --json mutants.json             # draw; needs cosmic-ray
    python -m tests.mutation --mutants mutants.json --workers 16    # judge; needs coverage, or --baseline of an earlier run
    python -m tests.mutation --mutants mutants.json --report        # the table
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.mutation import report, sample
from tests.mutation.baseline import Baseline, files_under, timed
from tests.mutation.judge import Verdict, judge_all, line_of, verdicts
from tests.mutation.process import copy_tree
from tests.mutation.sample import Mutant
from tests.mutation.selection import Selection

ROOT = Path(__file__).parents[2]
#: Tests that can see a wrong number here, and are quick; those that start processes of their own are left out.
TESTS = (
    "tests/model", "tests/optim", "tests/flow", "tests/limit", "tests/reference", "tests/bounds",
    "tests/training", "tests/engine/test_fused.py", "tests/engine/test_batches.py",
    "tests/extremes",
)  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=300, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=Path, metavar="JSON", help="a sample that was saved, instead of drawing one")
    parser.add_argument("--list", action="store_true", help="print the mutants and end")
    parser.add_argument("--json", type=Path, metavar="JSON", help="with --list: save them")
    parser.add_argument("--only", default="", help="judge mutants of files whose name contains this")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="judge every N-th mutant from the I-th on")
    parser.add_argument("--first", type=int, metavar="N", help="judge the first N at most")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="time for everything, the baseline included"
    )
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="test files and folders")
    parser.add_argument("--results", type=Path, default=Path("mutation.jsonl"), help="appended to")
    parser.add_argument("--again", action="store_true", help="judge the survivors in the results once more")
    parser.add_argument(
        "--baseline", type=Path, metavar="JSON", help="use it where it exists, else measure and save it"
    )
    parser.add_argument("--report", action="store_true", help="print the table of the results and end")
    return parser.parse_args()


def _sample(chosen: argparse.Namespace) -> list[Mutant]:
    if chosen.mutants:
        return sample.load(chosen.mutants)
    mutants, places = sample.draw(ROOT, sample.source_files(ROOT), chosen.sample, chosen.seed)
    print(f"{len(mutants)} mutants of {places} places", file=sys.stderr)
    return mutants


def _judge(mutants: list[Mutant], chosen: argparse.Namespace) -> int:
    end = time.monotonic() + chosen.seconds
    modules = sample.source_files(ROOT, ["dlntorch"])
    tests = files_under(ROOT, chosen.tests)
    with tempfile.TemporaryDirectory() as place, chosen.results.open("a", encoding="utf-8") as results:
        base = Path(place) / "base"
        copy_tree(ROOT, base)
        cold = bool(chosen.baseline and chosen.baseline.exists())
        if cold:
            baseline = Baseline.load(chosen.baseline)
        else:
            baseline = timed(base, tests, modules, chosen.workers, chosen.baseline or Path(place) / "baseline.json")

        def keep(verdict: Verdict) -> None:
            results.write(line_of(verdict))
            results.flush()
            print(f"{verdict.status:<11} {verdict.seconds:6.1f} s  {verdict.name}    {verdict.by[:120]}", flush=True)

        selection = Selection(base, baseline, modules, tests)
        left = end - time.monotonic()
        return judge_all(mutants, base, selection, keep, workers=chosen.workers, seconds=left, cold=cold)


def main() -> int:
    chosen = _options()
    mutants = _sample(chosen)
    if chosen.list:
        if chosen.json:
            sample.save(chosen.json, mutants)
        print("\n".join(map(str, mutants)))
        return 0
    found = verdicts(chosen.results)
    if not chosen.report:
        part, parts = map(int, chosen.shard.split("/"))
        done = {name for name, verdict in found.items() if not (chosen.again and verdict.status != "killed")}
        waiting = [m for m in mutants[part::parts] if chosen.only in m.file and m.name not in done][: chosen.first]
        skipped = _judge(waiting, chosen)
        print(f"{len(waiting) - skipped} judged, {skipped} left for another run", flush=True)
        found = verdicts(chosen.results)
    print(report.markdown(mutants, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
