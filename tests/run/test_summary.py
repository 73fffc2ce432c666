"""The typed summary: one entry makes a number, everywhere; a saved one that was altered is refused in one line."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import math
import sys
from pathlib import Path

import pytest

import dlntorch as dln
from dlntorch.report.page import result_rows
from dlntorch.run import summary as summary_module
from dlntorch.run.console import conclude
from dlntorch.run.ensemble_result import network_rows
from dlntorch.run.quantities import in_ascii, quantities
from dlntorch.run.summary import PARTS, Summary, check_summary
from tests.problems import line

ENTRY = (
    '    twice: float | None = number("twice the residual", lambda run: 2 * run.residual, "[r]", symbol="2ϱ", '
    'head="2r", console=True, row=True)\n'
)
EXTENSIONS = Path(__file__).resolve().parents[2] / "docs" / "_extensions"


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> dict:
    """The package with one more entry in ``run/summary.py``, and nothing else changed: that module's names."""
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    importlib.import_module("generated_pages")
    source = inspect.getsource(summary_module)
    assert source.count("    l1_gap:") == 1
    names = dict(vars(summary_module))
    exec(compile(source.replace("    l1_gap:", f"{ENTRY}    l1_gap:"), "summary", "exec"), names)
    old = dict(vars(summary_module))
    for place, module in list(sys.modules.items()):
        if place.startswith("dlntorch.") or place == "generated_pages":
            for name in summary_module.__all__:
                if vars(module).get(name) is old[name]:
                    monkeypatch.setattr(module, name, names[name])
    return names


def test_a_new_number_is_one_entry(changed, capsys):
    run = dln.train(line(), 3, 0.1, max_steps=20)
    twice = 2 * run.summary["residual"]
    assert run.summary["twice"] == twice  # summary.json; W&B's summary has all of it
    changed["check_summary"](run.summary)
    with pytest.raises(ValueError, match="summary.json has no twice"):
        changed["check_summary"]({key: value for key, value in run.summary.items() if key != "twice"})
    assert ("twice", twice, "twice the residual: 2ϱ") in result_rows(run.summary)  # the page
    conclude(run)
    assert "twice the residual: 2rho" in capsys.readouterr().out  # the closing table
    (row,) = network_rows([run])  # networks.csv, its page and W&B's table
    assert row["twice"] == twice
    assert changed["networks_heads"]()["twice"] == "2r"
    assert changed["said_of"]("twice") == {
        "meaning": "twice the residual",
        "symbol": "2ϱ",
        "unit": "[r]",
    }  # a sweep's parquet
    assert "| `twice` | twice the residual: 2ϱ |" in sys.modules["generated_pages"].summary_keys()  # the documentation


def test_every_number_says_what_it_is():
    for summary in (Summary, *PARTS.values()):
        for key, quantity in quantities(summary):
            assert quantity.meaning, key
            if quantity.console:
                assert in_ascii(quantity.words).isascii(), f"{key}: a letter that a plain terminal does not have"


ALTERED = {
    "a word for a number": (("residual",), "small", "residual"),
    "a number for a word": (("status",), 3, "status"),
    "yes for a number": (("steps",), True, "steps"),
    "a number for yes": (("references", "unique"), 1, "references.unique"),
    "a part that is none": (("budget",), 0.1, "budget"),
    "a number of a part": (("budget", "discretization"), [0.1], "budget.discretization"),
    "not finite": (("distance_to_selected",), math.inf, "distance_to_selected"),
    "a fraction of steps": (("steps",), 1.5, "steps"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_summary_is_refused_in_one_line(name, tmp_path):
    from dlntorch.store.folder import RunFolder

    path, value, told = ALTERED[name]
    run = dln.train(line(), 3, 0.1, max_steps=10)
    check_summary(run.summary)
    place = RunFolder(tmp_path)
    place.write_problem(run.problem)
    place.write_arrays("result.npz", run.arrays())
    (tmp_path / "config.yaml").write_text("p: 3\n")
    summary = copy.deepcopy(run.summary)
    inside = summary
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(dln.InputError, match=rf"folder must hold a whole run, .*{told}") as found:
        dln.load_run(tmp_path)
    assert "\n" not in str(found.value)
