"""Sweepers that search: a point may come twice, and what cannot be searched for is said in one line."""

from __future__ import annotations

import pytest

from tests.run.conftest import stamps

pytestmark = pytest.mark.slow


#: Optuna 2 warns where it is imported, as our commands, which show no warnings of others, do not.
optuna_warns = pytest.mark.filterwarnings("ignore")
#: A search in this process, one point at a time.
SEARCH = ("hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "problem=line", "p=2", "references=true")


@optuna_warns
def test_a_search_may_propose_a_point_twice(sweep):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    done = sweep(*SEARCH, "hydra.sweeper.n_trials=3", "alpha=choice(0.1)")
    assert done.status == 0, done.err
    assert len(stamps(done.folder)) == 1
    assert done.out.count("1 points, 1 done already and skipped") == 2
    both = sweep(*SEARCH, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2", "alpha=choice(0.2)", "pack=auto")
    assert both.status == 0, both.err
    assert len(stamps(both.folder)) == 2
    assert "warning" not in both.err


@optuna_warns
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["references=false"], "references must be true with a sweeper that minimises the distance to W_p"),
        (["dry_run=true"], "hydra/sweeper=optuna must have points with a distance to W_p to minimise, got none in 1"),
        (["hydra.sweeper.storage=nonsense"], "hydra/sweeper must be able to search with its settings, got 'optuna'"),
    ],
    ids=["references", "no values", "storage"],
)
def test_a_search_that_cannot_be_is_one_line(sweep, monkeypatch, words, message):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    from dlntorch.sweep import launcher

    monkeypatch.setattr(launcher, "version", lambda name: "1.4.54")
    done = sweep(*SEARCH, "hydra.sweeper.n_trials=1", "alpha=choice(0.1)", *words)
    assert done.status == 2
    assert done.err.splitlines()[-1].startswith(f"error: {message}")


@optuna_warns
def test_a_search_is_stored_or_its_storage_is_refused_with_the_version_that_cannot(sweep, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    from importlib.metadata import version

    words = (*SEARCH, "hydra.sweeper.n_trials=2", f"hydra.sweeper.storage=sqlite:///{tmp_path}/search.db")
    for _ in range(2):
        done = sweep(*words, "hydra.sweeper.study_name=one", "alpha=interval(0.1,0.2)")
        if version("sqlalchemy") >= "2":
            assert done.status == 2
            assert done.err.startswith("error: hydra.sweeper.storage must be left out with SQLAlchemy 2")
            assert done.err.count("\n") == 1
        else:
            assert done.status == 0, done.err
            assert (tmp_path / "search.db").is_file()
