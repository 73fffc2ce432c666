"""The site builds without a warning; its Python runs, its commands compose, and its tables are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import dlntorch as dln
from dlntorch.problem import make_problem
from dlntorch.run import run_experiment
from dlntorch.run.configuration import (
    check_keys,
    choose_own_nouns,
    choose_problem_file,
    config_directory,
    known_keys,
    name_solver,
    study_keys,
)
from dlntorch.run.summary import PARTS
from dlntorch.studies.catalogue import study_names, study_settings
from dlntorch.sweep.launcher import register_resolvers

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(file for file in DOCS.rglob("*.md") if not {"generated", "_build"} & set(file.relative_to(DOCS).parts))
TEXTS = {file: file.read_text() for file in [*PAGES, ROOT / "README.md"]}


def name(file: Path) -> str:
    return str(file.relative_to(ROOT).with_suffix(""))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.S | re.M)


# -- the code ---------------------------------------------------------------------------------------------------------


#: Pages whose code takes seconds.
LONG = (
    "docs/extend/engine",
    "docs/extend/operator",
    "docs/extend/parametrization",
    "docs/tutorials/new_parametrization",
)
WITH_CODE = [file for file in PAGES if blocks(TEXTS[file], "python")]


@pytest.mark.parametrize(
    "page",
    [pytest.param(file, marks=pytest.mark.slow if name(file) in LONG else (), id=name(file)) for file in WITH_CODE],
)
@pytest.mark.filterwarnings("ignore:The `srun` command is available")
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # Lightning's own use of torch
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    for block in blocks(TEXTS[page], "python"):
        exec(compile(block, str(page), "exec", dont_inherit=True), names)


# -- the commands -----------------------------------------------------------------------------------------------------

#: What stands for something else in a command that the text speaks of.
PLACEHOLDER = re.compile(r"…|\b(KEY|VALUE|NAME|FOLDER|FILE|GROUP|CHOICE|RUN_FOLDER)\b")


def commands(text: str) -> list[list[str]]:
    """The commands of this package that a page shows, in blocks and between its words, without the program."""
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
    lines += [found for found in re.findall(r"`(python [^`]*)`", outside) if not PLACEHOLDER.search(found)]
    found = []
    for line in lines:
        match = re.search(r"(?:python|/python) (train\.py|-m dlntorch)\b(.*)", line.partition(" #")[0])
        if match and not line.startswith("#"):
            found.append([match[1], *shlex.split(match[2])])
    return found


ALL_COMMANDS = [(file, words) for file, text in TEXTS.items() for words in commands(text)]


@pytest.mark.parametrize(
    ("page", "words"), ALL_COMMANDS, ids=lambda value: "" if isinstance(value, Path) else " ".join(value)
)
def test_a_command_of_the_docs_composes(page, words):
    program, *arguments = words
    if program == "train.py":
        compose_training(arguments)
    else:
        check_study(arguments)


def compose_training(arguments: list[str]) -> None:
    register_resolvers()
    words = [word for word in arguments if word not in ("-m", "--help")]
    choose_problem_file(words)
    choose_own_nouns(words)
    name_solver(words)
    chosen = []
    for override in OverridesParser.create().parse_overrides(words):
        key = override.get_key_element()
        if override.is_sweep_override():  # its first point
            if key == "alpha" and override.is_interval_sweep():
                chosen.append(f"{key}=1e-2")
            else:
                chosen.append(f"{key}={next(iter(override.sweep_string_iterator()))}")
        elif not (key == "hydra/sweeper" or (key == "hydra/launcher" and "joblib" in override.input_line)):
            chosen.append(override.input_line)  # those two are Hydra's plugins, with keys of their own
    if any("joblib" in word for word in words):
        chosen = [word for word in chosen if not word.startswith("hydra.launcher")]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", chosen, return_hydra_config=True)
    plain = OmegaConf.to_container(config)
    del plain["hydra"]
    check_keys(plain)


def check_study(arguments: list[str]) -> None:
    given = dict(word.split("=", 1) for word in arguments if "=" in word)
    chosen = given.pop("study", None)
    if chosen is None:
        assert set(arguments) <= {"--help", "--version"} or arguments[0] == "train"
        if arguments[:1] == ["train"]:
            compose_training(arguments[1:])
        return
    assert chosen in (*study_names(), "all", "list", "collect")
    of_study = {key.removeprefix("study."): value for key, value in given.items() if key.startswith("study.")}
    small = of_study.pop("small", "false") == "true"
    if chosen in study_names():
        study_settings(chosen, small, of_study)
    else:
        assert not of_study or chosen == "all"
    assert {key for key in given if not key.startswith("study.")} <= set(study_keys())


def test_there_are_commands():
    assert len(ALL_COMMANDS) > 30
    with pytest.raises(Exception, match="nosuch"):
        compose_training(["nosuch=1"])
    with pytest.raises(dln.InputError):
        check_study(["study=figure1", "study.nosuch=1"])


# -- what the text names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_what_a_page_names_is_there(page):
    text = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.S | re.M).partition("## `summary.json`")[0]
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|yaml|ipynb|npz|txt))`", text):
        if not path.startswith(("checkpoints/", "outputs/", "figures/", "mypackage/")) and "NAME" not in path:
            assert (ROOT / path).exists() or (ROOT / "dlntorch" / path).exists(), path
    for module in re.findall(r"python -m (tests[\w.]*)", text):
        assert import_spec(module), module
    for dotted in re.findall(r"`(dlntorch(?:\.\w+)+)`", text):
        assert resolves(dotted), dotted
    for public in re.findall(r"`dln\.(\w+)", text):
        assert public in dln.__all__, public
    for key in re.findall(r"`((?:schedule|problem|logger|trainer|callbacks|optimizer|model|ensemble)\.\w+)=?", text):
        if key.split(".")[1] not in ("_target_", "NAME") and not resolves(f"dlntorch.{key}"):
            assert key in KEYS, key


#: Keys, and members of a problem that look like some.
KEYS = {*known_keys(), "problem.npz", *(f"problem.{member}" for member in dir(make_problem("line")))}


def import_spec(module: str) -> bool:
    path = ROOT / Path(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:i]))
        except ImportError:
            continue
        for part in parts[i:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


# -- tables -----------------------------------------------------------------------------------------------------------


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """The first table below a heading: the words in back quotes of its first column, with the other cells."""
    text = (DOCS / page).read_text().partition(heading)[2]
    table = re.search(r"(?:^\|.*\n)+", text, flags=re.M)
    assert table is not None
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table[0].splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def flat(summary: dict) -> set[str]:
    found = set()
    for key, value in summary.items():
        if key in PARTS:
            found |= {f"{key}.{inner}" for inner in value}
        else:
            found.add(key)
    reasons = {key for key in found if key.endswith("_reason")}
    assert {key.removesuffix("_reason") for key in reasons} <= found
    return found - reasons


def test_every_key_of_a_summary_and_every_file_of_a_folder_is_explained(tmp_path):
    certified = dln.train(make_problem("line"), 3, 0.1, "certified", epsilon=0.5).summary
    words = ["problem=random", "p=2", "alpha=0.1", "max_steps=100", "logger=none", "trainer.progress=false"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", words), resolve=True)
    run = run_experiment(config, tmp_path / "run")
    sys.path.insert(0, str(DOCS / "_extensions"))
    summary_keys = import_module("generated_pages").summary_keys
    listed = {line.split("`")[1] for line in summary_keys().splitlines()[2:]}
    assert "generated/summary_keys.md" in (DOCS / "run/folder.md").read_text()
    assert (
        {key for key in listed if not key.startswith(("plan", "nearest_to_truth."))}
        <= flat(run.summary) | flat(certified)
        <= listed
    )
    told = rows_of("run/folder.md", "# The run folder")
    written = {str(file.relative_to(tmp_path / "run")) for file in (tmp_path / "run").rglob("*") if file.is_file()}
    drawn = {"figures/*.png", "report.html", "wandb/"}  # by the command, and by the logger
    assert written - {"trajectory.parquet"} == set(told) - drawn


def test_the_version_that_is_cited_is_this_one():
    cited = (ROOT / "CITATION.cff").read_text() + (DOCS / "bibliography.md").read_text()
    assert set(re.findall(r"(?:^version: |version = \{|\[version )(\d+\.\d+\.\d+)", cited, re.M)) == {dln.__version__}


def test_what_the_package_cites_is_in_the_bibliography():
    sources = "".join(file.read_text() for file in (ROOT / "dlntorch").rglob("*.py"))
    cited = set(re.findall(r"arXiv:? (\d{4}\.\d{5})", sources))
    assert cited
    assert cited <= set(re.findall(r"\d{4}\.\d{5}", (DOCS / "bibliography.md").read_text()))


def test_the_statuses_are_those_of_the_code():
    table = rows_of("run/index.md", "## Statuses")
    assert set(table) == {str(status) for status in dln.Status}
    for status in dln.Status:
        assert table[str(status)][-1] == ("3" if status.ended_badly else "0")


def test_the_extras_are_those_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = rows_of("start.md", "## Install")
    assert set(told) <= set(extras)
    assert set(extras) - set(told) <= {"notebooks", "mutation"}


def test_the_rooms_are_those_that_the_import_linter_knows():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    known = {room.strip() for layer in contract["layers"] for room in layer.split("|")} - {"dlntorch.__main__"}
    table = (DOCS / "contributing/index.md").read_text().partition("## Rooms")[2].partition("##")[0]
    told = [f"dlntorch.{room}" for room in re.findall(r"`(\w+)/`", table)]
    assert set(told) == known
    assert all((ROOT / room.replace(".", "/")).is_dir() for room in told)


def test_the_outputs_shown_are_those_of_the_notebooks(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    from notebook_outputs import OUTPUTS, digest

    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        kept = json.loads((OUTPUTS / f"{file.stem}.json").read_text())
        said = f"{file.name} has changed: python docs/notebook_outputs.py {file.stem}"
        assert kept["code"] == digest(json.loads(file.read_text())["cells"]), said


# -- the site ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run([*command, str(DOCS), str(tmp_path / "site")], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 60
    certificate = (tmp_path / "site/mathematics/theorems/certificate.html").read_text()
    assert "<sub>k+1</sub>" in certificate
    assert "<math" in (tmp_path / "site/mathematics/selection.html").read_text()


def test_broken_links_are_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    from whole_links import faults

    (tmp_path / "a.html").write_text('<a href="b.html#there">x</a><a href="#here">y</a><p id="here"></p>')
    (tmp_path / "b.html").write_text('<script src="https://example.org/x.js"></script><p id="there"></p>')
    assert faults(tmp_path) == ["b.html loads https://example.org/x.js"]
    (tmp_path / "b.html").write_text('<a href="a.html#gone">x</a><img src="no.png">')
    assert len(faults(tmp_path)) == 3


def test_what_a_screen_reader_cannot_say_is_found(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    from whole_links import unspoken

    sound = (
        '<h1>a</h1><aside aria-label="b"></aside><p role="heading" aria-level="2">c</p><th class="head"><p>d</p></th>'
    )
    assert unspoken(sound) == []
    assert unspoken('<p role="heading">a</p><aside class="b"></aside><th class="head"><p></p></th>') == [
        "a heading without its level",
        "a sidebar without a name",
        "a column without a title",
        "no first heading",
    ]
