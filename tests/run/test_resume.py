"""``resume=FOLDER`` and ``repeat=FOLDER`` from anywhere: whose budget it is, where the data are, what a folder is called."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlntorch.cli.arguments import take_paths_as_typed, unquoted
from dlntorch.numerics.validation import InputError
from dlntorch.problem import load_problem, make_problem
from dlntorch.run.open_numbers import new_descent
from dlntorch.run.settings import RunSettings
from dlntorch.sweep.quoting import quoted
from dlntorch.training.ensemble import EnsembleDescent

QUICK = ("logger=none", "trainer.progress=false", "callbacks.figures=false", "references=false")


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_wall_clock_budget_is_that_of_one_command(command, tmp_path):
    first = command(*QUICK, "alpha=0.1", "max_wall_seconds=1e-9", folder=tmp_path / "run")
    assert first.status == 0, first.err
    assert summary(first.folder)["status"] == "max_wall_seconds"
    again = command(f"resume={first.folder}", *QUICK[:3])  # it does not stick to the folder
    assert again.status == 0, again.err
    assert summary(first.folder)["status"] == "converged"
    assert yaml.safe_load((first.folder / "config.yaml").read_text())["max_wall_seconds"] is None


@pytest.mark.parametrize("ensemble", [False, True], ids=["one", "ensemble"])
def test_what_earlier_commands_took_does_not_count(ensemble):
    problem = make_problem("line")

    def made():
        settings = RunSettings.checked(problem, 2, 0.1, max_steps=1000, max_wall_seconds=1e5, tol=0)
        one = new_descent(problem, settings)
        return EnsembleDescent([one], max_wall_seconds=1e5) if ensemble else one

    first = made()
    first.advance()
    state = first.state_dict()
    state["wall_seconds"] = 1e6  # a long first part
    second = made()
    second.load_state_dict(state)
    while second.advance() is None:
        pass
    assert second.status == "max_steps"
    assert second.wall_seconds > 1e6  # all of it is in the summary


def test_a_repeated_pass_has_the_budget_that_the_one_before_left():
    problem = make_problem("line")
    settings = RunSettings.checked(problem, 2, 0.1, max_wall_seconds=1e5, tol=0)
    first = new_descent(problem, settings)
    first.wall_seconds, first.wall_before = 1.5e5, 0.7e5
    second = new_descent(problem, settings, after=first)
    assert second.advance() is None
    first.wall_seconds = 1.8e5
    assert new_descent(problem, settings, after=first).advance() == "max_wall_seconds"


# -- data from a file -------------------------------------------------------------------------------------------------


def write_data(file, seed=0, dtype=np.float32):
    """A problem in float32, whose precision decides on ranks."""
    numbers = np.random.default_rng(seed)
    np.savez(file, A=numbers.normal(size=(3, 5)).astype(dtype), y=numbers.normal(size=3).astype(dtype))
    return file


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Two working folders; the second is entered by calling it."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    return lambda: monkeypatch.chdir(second)


def vary(change, file):
    """What happens to a data file between two commands; returns what is said of it."""
    if change == "gone":
        file.unlink()
    elif change == "other":
        write_data(file, seed=1)
    elif change == "broken":
        file.write_bytes(b"nonsense")
    elif change == "precision":
        arrays = np.load(file)
        np.savez(file, **{key: arrays[key].astype(np.float64) for key in arrays})
    return {
        "same": None,
        "gone": "is gone",
        "other": "has changed since",
        "precision": "has changed since",
        "broken": "can no longer be read",
    }[change]


@pytest.mark.parametrize(
    "change",
    ["gone", *(pytest.param(change, marks=pytest.mark.slow) for change in ("same", "other", "broken", "precision"))],
)
def test_a_run_from_a_file_goes_on_and_is_repeated_from_any_folder(command, tmp_path, elsewhere, change):
    file = write_data(tmp_path / "first" / "data.npz")
    words = (*QUICK, "alpha=0.1", "problem.path=data.npz")
    whole = command(*words, "max_steps=400", folder=tmp_path / "whole")
    cut = command(*words, "max_steps=150", folder=tmp_path / "cut")
    said = vary(change, file)
    elsewhere()
    again = command(f"repeat={whole.folder}", *QUICK[:3], folder=tmp_path / "again")
    assert again.status == 0, again.out + again.err
    assert "repeat: equal to" in again.out
    resumed = command(f"resume={cut.folder}", "max_steps=400", *QUICK[:3])
    assert resumed.status == 0, resumed.err
    for done, copy in ((again, whole.folder), (resumed, cut.folder)):
        lines = [line for line in done.out.splitlines() if "the data are the run's own" in line]
        expected = [] if said is None else [f"{file} {said}: the data are the run's own, kept in {copy}/problem.npz"]
        assert lines == expected
    results = [np.load(folder / "result.npz")["theta_plus"] for folder in (whole.folder, again.folder, cut.folder)]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    assert summary(cut.folder)["problem"]["name"] == summary(whole.folder)["problem"]["name"] == "data"
    kept = load_problem(cut.folder / "problem.npz")
    assert kept.precision == np.finfo(np.float32).eps
    # both can go on from there themselves
    assert command(f"repeat={again.folder}", *QUICK[:3], folder=tmp_path / "third").status == 0
    assert command(f"resume={cut.folder}", "max_steps=500", *QUICK[:3]).status == 0


@pytest.mark.slow
def test_the_keys_of_a_table_are_not_asked_of_the_copy(command, tmp_path, elsewhere):
    table = tmp_path / "first" / "table.csv"
    table.write_text("response;a;b;c\n1;2;0;1\n3;1;1;0\n")
    words = ("problem.path=table.csv", "problem.y=response", "problem.delimiter=semicolon", "max_steps=50")
    first = command(*QUICK, *words, folder=tmp_path / "run")
    assert first.status == 0, first.err
    elsewhere()
    table.unlink()
    again = command(f"repeat={first.folder}", *QUICK[:3], folder=tmp_path / "again")
    assert again.status == 0, again.out + again.err
    assert summary(again.folder)["problem"]["name"] == "table"


@pytest.mark.slow
def test_an_ensemble_reads_its_copies_where_one_of_its_files_is_gone(command, tmp_path, elsewhere):
    for i in range(2):
        write_data(tmp_path / "first" / f"data{i}.npz", seed=i)
    words = ("ensemble.problem_path=[data0.npz,data1.npz,data0.npz]", "max_steps=50", "alpha=0.1")
    first = command(*QUICK, *words, folder=tmp_path / "run")
    assert first.status == 0, first.err
    saved = yaml.safe_load((first.folder / "config.yaml").read_text())["ensemble"]["problem_path"]
    assert saved == [str(tmp_path / "first" / f"data{i}.npz") for i in (0, 1, 0)]
    elsewhere()
    (tmp_path / "first" / "data1.npz").unlink()
    again = command(f"repeat={first.folder}", *QUICK[:3], folder=tmp_path / "again")
    assert again.status == 0, again.out + again.err
    assert "data1.npz is gone" in again.out
    assert command(f"resume={first.folder}", "max_steps=90", *QUICK[:3]).status == 0


def test_without_file_and_copy_it_is_one_line(command, tmp_path):
    file = write_data(tmp_path / "data.npz")
    first = command(*QUICK, f"problem.path={file}", "max_steps=50", folder=tmp_path / "run")
    file.unlink()
    (first.folder / "problem.npz").write_bytes(b"nonsense")
    done = command(f"resume={first.folder}", *QUICK[:3])
    assert done.status == 2
    assert done.err.startswith("error: problem.path must be")
    assert done.err.count("\n") == 1


# -- names of folders -------------------------------------------------------------------------------------------------

NAMES = (
    "it's ${p}, \"{a: b}\" x=$y", "it's", 'two "words", {a: b}', "x=$y", "${p}", "\\${p}\\", "[1,2]", "a'b\"c", "20240101",
    "~#!?*;|&<>", "ψ(∞)",
)  # fmt: skip
ANY_NAME = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)
    | st.text("'\"\\${}[],= x", min_size=1)
)
def test_a_quoted_name_is_read_back(name):
    (override,) = OverridesParser.create().parse_overrides([f"resume={quoted(name)}"])
    config = OmegaConf.create({"p": 3, "resume": None})
    OmegaConf.update(config, "resume", override.value())
    assert config.resume == name
    assert OmegaConf.to_container(config, resolve=True)["resume"] == name


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def test_a_run_in_a_folder_of_any_name(command, tmp_path, monkeypatch, name):
    folder = tmp_path / name
    folder.mkdir()
    file = write_data(folder / f"{name}.npz")
    monkeypatch.chdir(folder)  # the default folders begin there
    first = command(*QUICK, f"problem.path={file}", f"hydra.run.dir={folder}", "max_steps=50", folder=folder)
    assert first.status == 0, first.err
    again = command(f"repeat={folder}", f"hydra.run.dir={tmp_path / 'again'}", *QUICK[:3])
    assert again.status == 0, again.out + again.err
    resumed = command(f"resume={folder}", "max_steps=90", *QUICK[:3])
    assert resumed.status == 0, resumed.err
    assert summary(folder)["steps"] == 90
    assert not (folder / "outputs").exists()
    from dlntorch.sweep.launcher import register_resolvers

    register_resolvers()
    points = command(
        "-m", f"problem.path={file}", f"hydra.sweep.dir={folder}", "p=2,3", "pack=false", "max_steps=9", *QUICK
    )
    assert points.status == 0, points.err
    assert len(list(folder.glob("*/summary.json"))) == 2


def test_what_means_something_to_hydra_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = ["resume=auto", "repeat=null", "problem.path='a b'", "hydra.run.dir=${p}", "p=2", "-m", "problem.path="]
    assert take_paths_as_typed(kept, False) == kept
    assert take_paths_as_typed(["problem.path=a.npz,b.npz"], True) == ["problem.path=a.npz,b.npz"]
    (tmp_path / "a.npz,b.npz").touch()
    assert take_paths_as_typed(["problem.path=a.npz,b.npz"], True) == ["problem.path='a.npz,b.npz'"]
    assert unquoted("'a b'") == "a b"
    (tmp_path / "'a b'").touch()
    assert unquoted("'a b'") == "'a b'"


def test_another_folder_beside_resume_is_refused(command, tmp_path):
    first = command(*QUICK, "alpha=0.1", "max_steps=20", folder=tmp_path / "run")
    done = command(f"resume={first.folder}", f"hydra.run.dir={tmp_path / 'other'}")
    assert done.status == 2
    assert "hydra.run.dir must be left out with resume, which goes on in its own folder" in done.err
    assert command(f"resume={first.folder}", f"hydra.run.dir={first.folder}", *QUICK[:3]).status == 0


@pytest.mark.parametrize("stored", [np.nan, np.inf, -1.0, 1.0, np.ones(3)])
def test_a_copy_with_an_impossible_precision_is_refused(tmp_path, stored):
    file = write_data(tmp_path / "problem.npz")
    np.savez(
        file, **dict(np.load(file)), dlntorch_precision=stored, dlntorch_name=np.frombuffer(b"mine", dtype=np.uint8)
    )
    with pytest.raises(InputError, match="dlntorch_precision must be one number between 0 and 0.1"):
        load_problem(file)
    np.savez(
        file, A=np.ones((1, 2)), y=np.ones(1), dlntorch_precision=0.01, dlntorch_name=np.array([109, 300.0, np.nan])
    )
    assert load_problem(file).precision == 0.01


def test_a_start_from_a_file_is_saved_as_its_numbers(command, tmp_path, elsewhere):
    np.save(tmp_path / "first" / "it's.npy", np.array([0.1, 0.2, 0.3]))
    words = (*QUICK, "problem=line", "alpha=it's.npy", "alpha_minus=0.2")
    first = command(*words, "max_steps=50", folder=tmp_path / "run")
    assert first.status == 0, first.err
    assert yaml.safe_load((first.folder / "config.yaml").read_text())["alpha"] == [0.1, 0.2, 0.3]
    (tmp_path / "first" / "it's.npy").unlink()
    elsewhere()
    assert command(f"repeat={first.folder}", *QUICK[:3], folder=tmp_path / "again").status == 0
    assert command(f"resume={first.folder}", "max_steps=90", *QUICK[:3]).status == 0
    gone = command(*words)
    assert gone.status == 2
    assert gone.err.count("\n") == 1
    assert 'alpha must be a number, a list or a file of numbers, got "it\'s.npy"' in gone.err
