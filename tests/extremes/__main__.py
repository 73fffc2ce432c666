"""``python -m tests.extremes``: write the table of what each function promises over which range, and say what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.extremes.cases import run
from tests.extremes.table import table

if __name__ == "__main__":
    rows = run()
    Path(__file__).with_name("promises.md").write_text(table(rows))
    for row in rows:
        print(
            f"{row.function:<20} {row.family}: {row.right} right ({row.worst:.1e}), {row.status} status, {row.refused} refused"
        )
        for wrong in row.wrong[:20]:
            print(f"    WRONG {wrong}")
    sys.exit(1 if any(row.wrong for row in rows) else 0)
