"""The package is found from any folder, the parent of a clone included."""

from __future__ import annotations

import os
import subprocess
import sys


def test_the_parent_of_a_clone_is_no_empty_namespace_package(tmp_path):
    """A clone's own folder has the package's name and no ``__init__.py``; the installed package wins over it."""
    (tmp_path / "dlntorch" / "dlntorch").mkdir(parents=True)
    (tmp_path / "dlntorch" / "dlntorch" / "__init__.py").write_text("__version__ = 'of the clone'\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = "import dlntorch; print(dlntorch.__version__, dlntorch.Problem.__name__)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split()[1] == "Problem"
