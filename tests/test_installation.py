"""What an installation puts where Python looks."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _built(tmp_path, kind):
    """A clone in a folder called dlntorch, and the wheel of this kind that is made of it, unpacked."""
    clone, place = tmp_path / "work" / "dlntorch", tmp_path / "site"
    shutil.copytree(ROOT / "dlntorch", clone / "dlntorch", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", clone / "conf")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "train.py"):
        shutil.copy(ROOT / name, clone / name)
    build = f"from setuptools import build_meta; build_meta.{kind}({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place)
    return clone, place


def _home(folder, place):
    """Where dlntorch is imported from in ``folder``, with nothing installed but ``place``."""
    program = f"import site; site.addsitedir({str(place)!r}); import dlntorch; print(dlntorch.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-c", program]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_an_editable_installation_is_imported_from_the_folder_that_holds_the_clone(tmp_path):
    clone, place = _built(tmp_path, "build_editable")
    for folder in (clone.parent, clone, tmp_path):
        assert _home(folder, place) == str(clone / "dlntorch" / "__init__.py")


def test_a_wheel_has_the_package_and_its_configuration_and_is_imported_from_the_folder_that_holds_a_clone(tmp_path):
    clone, place = _built(tmp_path, "build_wheel")
    assert {path.name.split("-")[0] for path in place.iterdir()} == {"dlntorch"}
    assert (place / "dlntorch" / "conf" / "train.yaml").is_file()
    assert _home(clone.parent, place) == str(place / "dlntorch" / "__init__.py")
