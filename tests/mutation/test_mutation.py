"""``python -m tests.mutation`` on a toy: one of its mutants is killed by its test, and one lives."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

from tests.mutation.baseline import Baseline
from tests.mutation.judge import Verdict, judge, judge_all, line_of, verdicts
from tests.mutation.report import markdown
from tests.mutation.sample import PACKAGES, Mutant, _digest, draw, load, save
from tests.mutation.selection import Selection

SOURCE = '''"""A toy."""

LIMIT = 100


def add(a, b):
    """a + b."""
    return a + b


def unused(a):
    return a > 0
'''
TEST = """from toy.sums import LIMIT, add


def test_add():
    assert add(2, 1) == 3


def test_limit():
    assert LIMIT > 10
"""
SOURCE_FILE, TEST_FILE = "toy/sums.py", "tests/test_sums.py"


@pytest.fixture
def tree(tmp_path):
    """The toy with what a baseline of it would say."""
    root = tmp_path / "base"
    for name, text in (("toy/__init__.py", ""), (SOURCE_FILE, SOURCE), (TEST_FILE, TEST)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / ".is-copy").touch()
    return root


@pytest.fixture
def selection(tree):
    baseline = Baseline(
        seconds={f"{TEST_FILE}::test_add": 0.1, f"{TEST_FILE}::test_limit": 0.1, f"{TEST_FILE}::test_wrong": 0.1},
        failed={f"{TEST_FILE}::test_wrong[1]": "fails without a mutant"},
        contexts=[f"{TEST_FILE}|", f"{TEST_FILE}::test_add|call"],
        lines={SOURCE_FILE: {"3": [0], "6": [0], "8": [1]}},
    )
    return Selection(tree, baseline, [SOURCE_FILE, "toy/__init__.py"], [TEST_FILE])


def change(old: str, new: str) -> Mutant:
    start = SOURCE.index(old)
    line = SOURCE[:start].count("\n") + 1
    return Mutant(SOURCE_FILE, line, 1, "Test", old, new, start, start + len(old), new, _digest(SOURCE))


def test_a_mutant_is_killed_one_lives_and_one_is_met_by_no_test(tree, selection, tmp_path):
    mutants = [change("return a + b", "return a - b"), change("return a + b", "return b + a"), change("a > 0", "a < 0")]
    place = tmp_path / "results.jsonl"

    def keep(verdict: Verdict) -> None:
        with place.open("a") as file:
            file.write(line_of(verdict))

    assert judge_all(mutants, tree, selection, keep, workers=2, seconds=60) == 0
    found = verdicts(place)
    assert [found[mutant.name].status for mutant in mutants] == ["killed", "survived", "not covered"]
    assert found[mutants[0].name].by.startswith(f"{TEST_FILE}::test_add: ")
    (tmp_path / "why.json").write_text(json.dumps({mutants[1].name: "addition is commutative"}))
    table = markdown(mutants, found, tmp_path / "why.json")
    assert "1 of 3 mutants killed (33.3 %)" in table
    assert "survived (1 test functions): addition is commutative" in table
    for number in (0, 1):  # the workers' trees are as they were
        copy, base = tmp_path / f"worker{number}" / SOURCE_FILE, tree / SOURCE_FILE
        assert copy.read_text() == SOURCE
        assert copy.stat().st_mtime_ns == base.stat().st_mtime_ns


def test_no_time_is_no_verdict(tree, selection):
    assert judge(change("return a + b", "return a - b"), tree, selection, remaining=0.01) is None


def test_tests_are_chosen_by_line(selection):
    assert selection.tests(SOURCE_FILE, 8) == [f"{TEST_FILE}::test_add"]
    assert selection.tests(SOURCE_FILE, 12) == []
    assert selection.tests(SOURCE_FILE, 3) == [f"{TEST_FILE}::test_add"]  # whoever executes the module of a constant
    assert not selection.is_kernel(SOURCE_FILE)


def test_a_mutant_of_another_version_is_refused():
    with pytest.raises(ValueError, match="has changed since the sample was drawn"):
        change("a > 0", "a < 0").apply(SOURCE + "\n")


def test_a_sample_is_a_function_of_its_seed(tmp_path):
    pytest.importorskip("cosmic_ray")
    (tmp_path / "toy.py").write_text(
        '"""x < 1."""\n__all__ = ["f"]\n\n\ndef f(x: "int | None" = 1, *, y=1e300):\n'
        '    total = f"{x + 1}" + "a"\n    total += x\n    return min(x, -y) if x < 2 and y else None\n'
    )
    everything, places = draw(tmp_path, ["toy.py"], 1000, 0)
    assert len(everything) == places - 2  # 1e300 ± 1 is 1e300
    assert Counter(mutant.operator for mutant in everything) == {
        "NumberReplacer": 4, "SwapAugmentedAssignment": 1, "ReturnNone": 1, "SwapMinMax": 1, "AddNot": 1,
        "ReplaceUnaryOperator_Delete_USub": 1, "ReplaceComparisonOperator_Lt_LtE": 1, "ReplaceAndWithOr": 1,
    }  # fmt: skip
    some, _ = draw(tmp_path, ["toy.py"], 5, 3)
    assert some == draw(tmp_path, ["toy.py"], 5, 3)[0] != draw(tmp_path, ["toy.py"], 5, 4)[0]
    assert set(some) < set(everything)
    save(tmp_path / "mutants.json", some)
    assert load(tmp_path / "mutants.json") == some
    for mutant in everything:
        compile(mutant.apply((tmp_path / "toy.py").read_text()), "mutant", "exec")


def test_what_is_mutated_is_there():
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    assert all(os.path.isdir(os.path.join(root, package)) for package in PACKAGES)
