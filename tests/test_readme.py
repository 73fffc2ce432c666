"""The README's tour runs as written, and its commands are the ones that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def test_the_tour_runs_top_to_bottom():
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    run = names["run"]
    assert run.status == "converged"
    assert run.summary["budget"]["dominant"] == "discretization"
    assert torch.allclose(names["dln"].selected_minimizer(names["problem"], 3).psi, run.psi, atol=0.5)


def test_ci_finds_exactly_one_test_command():
    lines = [
        line for line in (ROOT / "README.md").read_text().splitlines() if re.match(r"^python3 -m venv .*pytest", line)
    ]
    assert len(lines) == 1
    assert "constraints.txt" in lines[0]


def test_the_top_level_holds_what_the_readme_names():
    for name in ("pyproject.toml", "conf", "notebooks", "train.py", "constraints.txt", "CITATION.cff", "LICENSE"):
        assert (ROOT / name).exists(), name
