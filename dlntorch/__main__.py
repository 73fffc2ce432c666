"""``python -m dlntorch study=NAME``."""

import sys

from dlntorch.cli.study_command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
