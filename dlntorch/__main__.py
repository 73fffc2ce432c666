"""``python -m dlntorch study=NAME``, or ``python -m dlntorch train p=3 alpha=1e-3`` for the main job."""

import sys

from dlntorch.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
