"""``python -m tests.fuzz [--inputs 20000] [--seed 0] [--only NAME …]``: hostile input to every reader and every key.

Prints a line for each target: inputs, how many were refused, the slowest, and what was found. Exit status 1 where
anything was. The suite runs the same targets on fewer inputs (``tests/fuzz/test_fuzz.py``).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS, prepare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    chosen = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for name in chosen.only:
            outcome = fuzz(name, chosen.inputs, chosen.seed, Path(folder))
            bad += len(outcome.findings)
            print(outcome, flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
