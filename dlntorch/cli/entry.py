"""The command ``dlntorch``, which is ``python -m dlntorch``: ``train …`` is the main job, and the rest are studies."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        from dlntorch import __version__

        print(f"dlntorch {__version__}")
        return 0
    if words[:1] == ["train"]:
        from dlntorch.cli.main_job import main as main_job

        return main_job(words[1:])
    from dlntorch.cli.study_command import main as study

    return study(words)
