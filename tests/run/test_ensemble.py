"""Ensembles: from Python, from the command line, and what they leave."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from dlntorch.problem import make_problem
from dlntorch.report.ensemble import ENSEMBLE_FIGURES
from dlntorch.run import lifecycle, places, planning
from dlntorch.run.members import zipped
from dlntorch.trackers import loggers
from dlntorch.training.ensemble import EnsembleDescent
from tests.problems import gaussian
from tests.run.conftest import hit

pytestmark = pytest.mark.slow

SMALL = ("problem.m=4", "problem.n=9", "trainer.progress=false")


def key_names(value: object) -> object:
    """The names of a summary without its values; reasons come and go with them."""
    if isinstance(value, dict):
        return {key: key_names(inner) for key, inner in value.items() if not key.endswith("_reason") and key != "notes"}
    return None


def test_networks_from_python_are_those_of_train() -> None:
    problems = [gaussian(4, 9, 0), gaussian(4, 9, 1), gaussian(4, 9, 0)]
    depths, alphas, kappas = [2, 3, 2.5], np.array([0.1, 0.05, 0.2]), (0.01, 0.03, 0.02)
    together = dln.train_ensemble(problems, depths, alphas, kappa=kappas, max_steps=2000, threads=2)
    assert len(together) == 3
    assert together.psi.shape == together.theta_plus.shape == (3, 9)
    for i, network in enumerate(together):
        alone = dln.train(problems[i], depths[i], float(alphas[i]), kappa=kappas[i], max_steps=2000)
        assert torch.equal(network.theta_plus, alone.theta_plus)
        assert torch.equal(together.theta_minus[i], alone.theta_minus)
        assert torch.equal(network.trajectory.psi, alone.trajectory.psi)
        assert network.status == alone.status
        assert key_names(network.summary) == key_names(alone.summary)
        assert together.summary["networks"][i] is network.summary
        for key in ("distance_to_l1", "distance_to_selected", "distance_to_limit", "distance_to_flow"):
            assert network.summary[key] == pytest.approx(alone.summary[key], rel=1e-9, abs=1e-12)


def test_all_alphas_of_a_depth_share_one_sweep_and_one_linear_programme(monkeypatch: pytest.MonkeyPatch) -> None:
    import dlntorch.limit.flow_limit as limit
    import dlntorch.reference.l1_minimizer as l1

    calls: list[object] = []
    sweep, solve = limit.flow_limit, l1.l1_minimizer
    monkeypatch.setattr(
        limit, "flow_limit", lambda problem, p, alpha: (calls.append(alpha), sweep(problem, p, alpha))[1]
    )
    monkeypatch.setattr(l1, "l1_minimizer", lambda problem: (calls.append("l1"), solve(problem))[1])
    result = dln.train_ensemble(gaussian(4, 9, 0), [3, 3, 3, 2], [0.1, 0.01, 0.1, 0.1], max_steps=10)
    assert calls.count("l1") == 1
    assert [a for a in calls if isinstance(a, list)] == [[0.01, 0.1]]
    for network in result:
        expected = sweep(network.problem, network.summary["p"], network.summary["alpha"]).psi
        distance = float(torch.linalg.vector_norm(network.psi - expected))
        assert network.summary["distance_to_limit"] == pytest.approx(distance, rel=1e-9)


def test_seeds_of_mini_batches_and_a_single_value_for_all() -> None:
    result = dln.train_ensemble(gaussian(4, 9, 0), 3, 0.1, seed=[0, 1, 2], batch_size=2, max_steps=50, references=False)
    assert [network.summary["seed"] for network in result] == [0, 1, 2]
    assert not torch.equal(result.psi[0], result.psi[1])
    assert len(dln.train_ensemble(gaussian(4, 9, 0), 3, 0.1, max_steps=5, references=False)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": [0.1, 0.2], "p": [2, 3, 4]}, "lists of one length .*, got p: 3, alpha: 2"),
        ({"alpha": []}, "at least one network, got empty lists: alpha"),
        ({"alpha": [0.1, -1.0]}, "alpha must be"),
        ({"p": [3, 1.5]}, "p must be a finite real number >= 2, got 1.5"),
        ({"problem": [gaussian(6, 17, 0), gaussian(5, 17, 0)]}, r"problems of one shape \(m, n\), got \(5, 17\) and"),
        ({"threads": 0}, "threads must be an integer >= 1"),
        ({"batch_size": 7}, "batch_size must be an integer >= 1 and <= 6"),
        ({"engine": ["fused", "warp"]}, "engine must be one of .*, got 'warp'"),
        ({"seed": [0, 1], "kappa": [0.1, 0.2, 0.3]}, "got seed: 2, kappa: 3"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    arguments = {"problem": gaussian(6, 17, 0), "p": 3, "alpha": 0.1, "references": False, "max_steps": 5}
    with pytest.raises(InputError, match=message):
        dln.train_ensemble(**{**arguments, **change})


@given(
    lists=st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=4), min_size=1),
    single=st.one_of(st.none(), st.integers(), st.text()),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_lists_go_together_entry_by_entry(lists: dict[str, list[int]], single: object) -> None:
    if len({len(values) for values in lists.values()}) > 1:
        with pytest.raises(InputError, match="lists of one length"):
            zipped({**lists, "single": single})
        return
    members = zipped({**lists, "single": single})
    for name, values in lists.items():
        assert [member[name] for member in members] == values
    assert all(member["single"] == single for member in members)


# -- from the command line --------------------------------------------------------------------------------------------


def test_an_ensemble_leaves_one_folder_whose_networks_are_single_runs(command) -> None:
    done = command("ensemble.alpha=[1e-1,3e-2]", "ensemble.p=[3,2]", *SMALL)
    assert done.status == 0, done.err
    assert "2 networks on gaussian: m=4 n=9, p=2…3 alpha=0.03…0.1" in done.out
    assert "converged: 2 of 2 converged" in done.out
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["status"] == "converged"
    assert summary["size"] == len(summary["networks"]) == 2
    result = dln.load_ensemble(done.folder)
    with np.load(done.folder / "result.npz") as arrays:
        assert arrays["theta_plus"].shape == arrays["theta_minus"].shape == arrays["psi"].shape == (2, 9)
    for i, (alpha, p) in enumerate([("1e-1", 3), ("3e-2", 2)]):
        alone = command(f"alpha={alpha}", f"p={p}", *SMALL, folder=done.folder.parent / f"alone{i}")
        run = dln.load_run(alone.folder)
        assert torch.equal(result[i].theta_plus, run.theta_plus)
        assert torch.equal(result[i].trajectory.psi, run.trajectory.psi)
        assert key_names(result[i].summary) == key_names(run.summary)
        assert list(result[i].history) == list(run.history)
        for name, values in run.history.items():
            np.testing.assert_allclose(result[i].history[name], values, rtol=1e-9, atol=1e-12)
        assert result[i].problem.m == 4
    rows = list(csv.DictReader((done.folder / "networks.csv").read_text().splitlines()))
    assert [(float(row["alpha"]), float(row["p"]), row["status"]) for row in rows] == [
        (0.1, 3, "converged"),
        (0.03, 2, "converged"),
    ]
    assert {path.stem for path in (done.folder / "figures").iterdir()} == set(ENSEMBLE_FIGURES)
    page = (done.folder / "report.html").read_text()
    assert "2 networks" in page
    assert page.count("<img") == len(ENSEMBLE_FIGURES)
    with pytest.raises(InputError, match="use load_ensemble"):
        dln.load_run(done.folder)
    with pytest.raises(InputError, match="folder must be that of a finished ensemble"):
        dln.load_ensemble(done.folder.parent / "alone0")


def test_problems_of_one_shape_by_seed_and_by_file(command, tmp_path: Path) -> None:
    done = command("ensemble.problem_seed=[1,2,1]", "max_steps=50", *SMALL)
    assert done.status == 0, done.err
    result = dln.load_ensemble(done.folder)
    assert len(result.problems) == 2
    assert torch.equal(result.psi[0], result.psi[2])
    assert not torch.equal(result[0].problem.A, result[1].problem.A)
    for seed in (5, 6):
        problem = gaussian(3, 8, seed)
        np.savez(tmp_path / f"{seed}.npz", A=problem.A.numpy(), y=problem.y.numpy())
    files = f"ensemble.problem_path=['{tmp_path}/5.npz','{tmp_path}/6.npz']"
    done = command(files, "max_steps=20", "trainer.progress=false", folder=tmp_path / "files")
    assert done.status == 0, done.err
    assert torch.equal(dln.load_ensemble(done.folder)[1].problem.A, gaussian(3, 8, 6).A)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["ensemble.alpha=[0.1,0.2]", "ensemble.p=[2,3,4]"],
            "ensemble must have lists of one length (they go together entry by entry), "
            "got ensemble.p: 3, ensemble.alpha: 2",
        ),
        (["ensemble.alpha=[]"], "ensemble must have at least one network, got empty lists: ensemble.alpha"),
        (["ensemble.alpha=[0.1,-1]"], "alpha must be a finite real number > 0, got -1"),
        (["ensemble.alpha=[0.1,0.2]", "ensemble.wandb=two"], "ensemble.wandb must be one of one, each, got 'two'"),
        (["ensemble.alpha=[0.1,0.2]", "ensemble.threads=0"], "ensemble.threads must be an integer >= 1, got 0"),
        (["ensemble.alhpa=[0.1,0.2]"], "unknown key 'ensemble.alhpa'; did you mean ensemble.alpha?"),
        (["+ensemble.beta=[0.1]"], "unknown key 'ensemble.beta'"),
        (["ensemble=3"], "ensemble must be a group of lists"),
        (["ensemble.problem_seed=[0,1]", "problem=line"], "problem.seed is not a key of problem 'line'"),
        (["ensemble.problem_seed=[0,1]", "ensemble.problem_path=[a,b]"], "ensemble.problem_seed must be left out"),
    ],
)
def test_mistakes_are_one_line(command, arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (done.folder / "summary.json").exists()


def test_dry_run_plans_every_network(command) -> None:
    done = command("ensemble.alpha=[1e-1,1e-2]", "dry_run=true", *SMALL)
    assert done.status == 0, done.err
    assert "2 networks, alpha=[0.1, 0.01]" in done.out
    assert not done.folder.exists()


def test_an_interrupted_ensemble_keeps_everything_and_resumes_bitwise(command, monkeypatch, tmp_path: Path) -> None:
    asked = ["ensemble.alpha=[1e-1,1e-2,2e-2]", "tol=1e-9", *SMALL]
    whole = command(*asked, folder=tmp_path / "whole")
    assert whole.status == 0, whole.err
    original, blocks = EnsembleDescent.advance, []

    def interrupted(self: EnsembleDescent):
        blocks.append(1)
        if len(blocks) == 1:
            self.block_seconds = 1e-4
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    monkeypatch.setattr(EnsembleDescent, "advance", interrupted)
    cut = command(*asked, folder=tmp_path / "cut")
    monkeypatch.undo()
    assert cut.status == 3
    assert "interrupted" in cut.out
    assert json.loads((cut.folder / "summary.json").read_text())["status"] == "interrupted"
    resumed = command(f"resume={cut.folder}", folder=cut.folder)
    assert resumed.status == 0, resumed.err
    left, right = dln.load_ensemble(cut.folder), dln.load_ensemble(whole.folder)
    assert torch.equal(left.theta_plus, right.theta_plus)
    for a, b in zip(left, right, strict=True):
        assert a.summary["steps"] == b.summary["steps"]
        assert torch.equal(a.trajectory.psi, b.trajectory.psi)
    changed = command(f"resume={cut.folder}", "ensemble.alpha=[0.1]", folder=cut.folder)
    assert changed.status == 2
    assert "ensemble.alpha must be left out with resume" in changed.err


def test_a_network_that_ends_badly_gives_exit_status_3(command) -> None:
    arguments = ["ensemble.alpha=[0.1,4.0]", "schedule=constant", "schedule.eta=0.05", "max_steps=100", *SMALL]
    done = command(*arguments)
    assert done.status == 3
    statuses = [network["status"] for network in json.loads((done.folder / "summary.json").read_text())["networks"]]
    assert statuses == ["max_steps", "left_positive_orthant"]


@pytest.mark.parametrize("choice", ["one", "each"])
def test_wandb_takes_one_run_with_tables_or_one_for_each(command, choice: str) -> None:
    arguments = ["ensemble.alpha=[0.1,0.2]", f"ensemble.wandb={choice}", "logger=wandb", "logger.offline=true"]
    done = command(*arguments, "max_steps=30", *SMALL)
    assert done.status == 0, done.err
    runs = list(done.folder.rglob("offline-run-*"))
    assert len([run for run in runs if run.is_dir()]) == (1 if choice == "one" else 2)
    tables = {path.name.split("_")[0] for path in done.folder.rglob("*.table.json")}
    assert tables == ({"networks", "trajectory"} if choice == "one" else set())


def test_a_csv_logger_for_each_network(command) -> None:
    done = command("ensemble.alpha=[0.1,0.2]", "logger=csv", "max_steps=30", *SMALL)
    assert done.status == 0, done.err
    for i in range(2):
        lines = (done.folder / "networks" / str(i) / "csv" / "metrics.csv").read_text().splitlines()
        assert len(lines) > 10


# -- signals, and what goes on from a checkpoint ----------------------------------------------------------------------


def test_a_certified_ensemble_cut_in_its_second_pass_resumes_bitwise(command, monkeypatch, tmp_path: Path) -> None:
    chosen = planning.chosen_schedule

    def coarse(problem, settings):
        """Steps three times too long, so that the first pass misses ε."""
        schedule = chosen(problem, settings)
        return schedule.with_steps(kappa=3 * (schedule.kappa or 0.0), c=min(1.0, 3 * schedule.c))

    monkeypatch.setattr(planning, "chosen_schedule", coarse)
    asked = ["ensemble.alpha=[0.1,0.12]", "schedule=certified", "schedule.epsilon=2e-3", "references=false", *SMALL]
    whole = command(*asked, folder=tmp_path / "whole")
    assert whole.status == 0, whole.err
    with pytest.MonkeyPatch.context() as patch:
        hit(patch, signal.SIGTERM, passes=2)
        cut = command(*asked, folder=tmp_path / "cut")
    assert cut.status == 3, cut.err
    resumed = command(f"resume={cut.folder}", folder=cut.folder)
    assert resumed.status == 0, resumed.err
    left, right = dln.load_ensemble(cut.folder), dln.load_ensemble(whole.folder)
    assert torch.equal(left.theta_plus, right.theta_plus)
    assert [a.summary["schedule"] for a in left] == [b.summary["schedule"] for b in right]


@pytest.mark.parametrize(("name", "requeued"), [("SIGUSR1", 1), ("SIGTERM", 0)])
def test_sigusr1_requeues_the_job_once_all_is_written(command, monkeypatch, name: str, requeued: int) -> None:
    asked: list[str] = []
    monkeypatch.setattr(lifecycle, "requeue_slurm_job", lambda: asked.append("requeued"))
    hit(monkeypatch, getattr(signal, name))
    done = command("ensemble.alpha=[0.1,0.12]", "tol=0", *SMALL)
    assert done.status == 3
    assert (done.folder / "summary.json").is_file()
    assert asked == ["requeued"] * requeued


def test_a_signal_while_results_are_written_waits(command, monkeypatch) -> None:
    write = places.write_ensemble

    def hit_first(*arguments) -> None:
        signal.raise_signal(signal.SIGINT)
        write(*arguments)

    monkeypatch.setattr(places, "write_ensemble", hit_first)
    done = command("ensemble.alpha=[0.1,0.12]", "max_steps=20", *SMALL)
    assert done.status == 3
    assert len(dln.load_ensemble(done.folder)) == 2


def test_one_problem_first_then_several_in_the_same_folder(command) -> None:
    quick = ("max_steps=20", "callbacks.figures=false", "references=false", *SMALL)
    first = command("ensemble.alpha=[0.1,0.2]", *quick)
    assert first.status == 0, first.err
    for seeds in ("[0,1]", "[5,5]", "[3,4]"):
        done = command(f"ensemble.problem_seed={seeds}", *quick)
        assert done.status == 0, done.err
        for network, seed in zip(dln.load_ensemble(done.folder), json.loads(seeds), strict=True):
            shape = network.problem
            assert torch.equal(shape.A, make_problem(name="gaussian", m=shape.m, n=shape.n, seed=seed).A)


# -- loggers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["one", "each"])
def test_a_logger_that_cannot_be_is_refused_before_training(command, monkeypatch, tmp_path: Path, choice: str) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(EnsembleDescent, "advance", None)
    arguments = ["ensemble.alpha=[0.1,0.2]", f"ensemble.wandb={choice}", "logger=wandb", "logger.offline=false"]
    done = command(*arguments, *SMALL)
    assert done.status == 2
    assert done.err.startswith("error: logger.offline must be auto or true where no W&B API key is")


def test_networks_whose_loggers_fail_cost_one_warning(command, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no server")

    monkeypatch.setattr(loggers, "make_logger", broken)
    done = command("ensemble.alpha=[0.1,0.2]", "logger=csv", "max_steps=20", *SMALL)
    assert done.status == 0
    assert done.err == "warning: logger=csv failed and is left out for 2 of 2 runs: no server\n"


def test_the_wandb_run_is_closed_where_training_fails(command, monkeypatch) -> None:
    from wandb.sdk.wandb_run import Run

    closed: list[int | None] = []
    finish = Run.finish

    def watched(run: Run, exit_code: int | None = None) -> None:
        closed.append(exit_code)
        finish(run, exit_code=exit_code)

    def fail(_: EnsembleDescent) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Run, "finish", watched)
    monkeypatch.setattr(EnsembleDescent, "advance", fail)
    done = command("ensemble.alpha=[0.1,0.2]", "logger=wandb", "logger.offline=true", *SMALL)
    assert done.status == 1
    assert closed == [1]


def test_a_resumed_ensemble_goes_on_with_its_networks_wandb_runs(command) -> None:
    from tests.run.test_interruptions import rows_of, wandb_files

    arguments = ["ensemble.alpha=[0.1,0.2]", "ensemble.wandb=each", "logger=wandb", "logger.offline=true", *SMALL]
    for extra in ("max_steps=20", "max_steps=60"):
        done = command(*arguments, extra, "resume=auto")
        assert done.status == 0, done.err
    for i, network in enumerate(dln.load_ensemble(done.folder)):
        place = done.folder / "networks" / str(i)
        assert {p.stem.removeprefix("run-") for p in wandb_files(place)} == {(place / "wandb/run_id.txt").read_text()}
        steps = [row["step"] for file in wandb_files(place) for row in rows_of(file)]
        assert steps == sorted(set(steps))  # each once, over both parts
        assert set(network.history["step"]) <= set(steps)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ensemble.alpha=[0.1,0.2]", "alpha_minus=0.05", "p=3"), "2 starts"),
        (("ensemble.alpha=[0.1,0.2]", "model=product", "model.layers=3"), "Product(3)"),
    ],
)
def test_networks_without_a_depth_or_of_several_numbers_are_reported(command, words, said):
    done = command(*SMALL, *words, "max_steps=100", "references=false")
    assert done.status == 0, done.err
    assert said in (done.folder / "report.html").read_text()
