"""What an installation puts where Python looks."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import dlntorch as dln

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
    assert (place / "dlntorch" / "py.typed").is_file()


def test_the_version_is_one_number():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == dln.__version__
    assert f"version: {dln.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{dln.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel that is made of the source distribution, and the libraries of this one."""
    place = tmp_path_factory.mktemp("installed")
    source, here = place / "source", place / "environment"
    ignored = shutil.ignore_patterns(
        "__pycache__", ".git", ".venv", "outputs", "multirun", "*.egg-info", "build", "dist"
    )
    shutil.copytree(ROOT, source, ignore=ignored)

    def build(kind, folder):
        program = f"from setuptools import build_meta; print(build_meta.{kind}({str(place)!r}))"
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, text=True)
        return place / done.stdout.splitlines()[-1]

    with tarfile.open(build("build_sdist", source)) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    shutil.rmtree(source)
    wheel = build("build_wheel", unpacked)
    venv.create(here, with_pip=False)
    python = here / "bin" / "python"
    command = ["-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q", str(wheel)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    (site,) = (here / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # of a folder, whose own .pth stay unread
    shutil.rmtree(place / "unpacked")
    return here


@pytest.mark.slow
def test_an_installed_wheel_needs_no_checkout(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        words = [str(installed / "bin" / command[0]), *command[1:]]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    home = run("python", "-c", "import dlntorch; print(dlntorch.__file__)").stdout
    assert home.startswith(str(installed))
    assert run("dlntorch", "--version").stdout == f"dlntorch {dln.__version__}\n"
    for command in (("dlntorch",), ("python", "-m", "dlntorch")):
        listed = run(*command, "study=list")
        assert (listed.returncode, listed.stderr) == (0, "")
        assert "figure1" in listed.stdout
    quick = ("logger=none", "trainer.progress=false", "callbacks.figures=false", "max_steps=200", "references=false")
    done = run("dlntorch", "train", "p=3", "alpha=1e-1", "hydra.run.dir=run", *quick)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 200
    done = run("dlntorch", "train", "resume=run", "max_steps=300", "logger=none")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 300
    done = run("python", "-m", "dlntorch", "train", "-m", "p=2,3", "hydra.sweep.dir=sweep", *quick)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "sweep").glob("*/summary.json"))) == 2
    wrong = run("dlntorch", "train", "p=1")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: p must be a finite real number >= 2, got 1")
    assert not (tmp_path / "conf").exists()
