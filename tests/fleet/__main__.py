"""``python -m tests.fleet`` compares every run with its frozen θ; ``python -m tests.fleet freeze`` freezes them anew."""

from __future__ import annotations

import sys

import numpy as np

from tests.fleet.fleet import frozen, processor, save, train_fleet


def main() -> int:
    fleet = train_fleet()
    if sys.argv[1:] == ["freeze"]:
        save(fleet)
        print(f"{len(fleet)} runs frozen on {processor()}")
        return 0
    where, before = frozen()
    print(f"frozen on {where}; here {processor()}")
    different = 0
    for name, theta in fleet.items():
        same = np.array_equal(theta, before[name])
        different += not same
        worst = float(np.max(np.abs(theta - before[name]) / np.abs(before[name])))
        print(f"{'equal    ' if same else 'DIFFERENT'} {name}" + ("" if same else f": {worst:.2e}"))
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
