"""Text tables: what R, pandas and people write comes out as the A and y that they meant, or is refused in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from dlntorch.numerics.validation import InputError
from dlntorch.problem import load_problem, make_problem

GENERATOR = np.random.default_rng(14)
A = np.round(GENERATOR.standard_normal((4, 5)), 3)
Y = np.round(GENERATOR.standard_normal(4), 3)
NAMES = [f"g{i}" for i in range(1, 6)]


def lines(header: list[str], *columns: object, quote: bool = False) -> str:
    """A table of text from its header and its columns."""
    cells = [[str(cell) for cell in row] for row in zip(*columns, strict=True)]
    names = [f'"{name}"' for name in header] if quote else header
    return "\n".join(",".join(row) for row in ([names] if header else []) + cells) + "\n"


def read(tmp_path: Path, text: str, **options: object) -> tuple[list, list, str]:
    """A, y, and the line that says what was read."""
    (tmp_path / "d.csv").write_text(text)
    problem = load_problem(tmp_path / "d.csv", **options)  # type: ignore[arg-type]
    assert "\n" not in problem.source
    return problem.A.tolist(), problem.y.tolist(), problem.source


COUNT = [*range(len(Y))]
TABLES = {
    "R's write.csv": lines(["", *NAMES, "y"], [f'"{i + 1}"' for i in COUNT], *A.T, Y, quote=True),
    "R's write.csv of named rows": lines(
        ["", *NAMES, "y"], ['"Mazda"', '"Fiat, 1"', '"x"', '"1e3"'], *A.T, Y, quote=True
    ),
    "R's write.table, which names no column of row names": lines([*NAMES, "y"], [f'"{i + 1}"' for i in COUNT], *A.T, Y),
    "pandas' to_csv": lines(["", *NAMES, "y"], COUNT, *A.T, Y),
    "pandas' to_csv of shuffled rows": lines(["", *NAMES, "y"], [7, 3, 12, 0], *A.T, Y),
    "pandas' to_csv of dates": lines(["", *NAMES, "y"], ["2024-01-01", "2024-01-02", "NaT", ""], *A.T, Y),
    "pandas' to_csv with a named index": lines(["index", *NAMES, "y"], COUNT, *A.T, Y),
    "pandas' to_csv of a table that it has read": lines(["Unnamed: 0", *NAMES, "y"], COUNT, *A.T, Y),
    "pandas' to_csv of an array with y": lines(["", *"01234", "y"], COUNT, *A.T, Y),
    "pandas' to_csv of an array": lines(["", *"012345"], COUNT, *A.T, Y),
    "the same without an index": lines([*"012345"], *A.T, Y),
    "a header that counts from 1, and y": lines([*"12345", "y"], *A.T, Y),
    "y first": lines(["y", *NAMES], Y, *A.T),
    "Y first": lines(["Y", *NAMES], Y, *A.T),
    "b first": lines(["b", *NAMES], Y, *A.T),
    "target first": lines(["target", *NAMES], Y, *A.T),
    "Response first, between quotes": lines(["Response", *NAMES], Y, *A.T, quote=True),
    "row names, then y": lines(["", "y", *NAMES], COUNT, Y, *A.T),
    "an id, then y": lines(["id", "y", *NAMES], [17, 4, 8, 9], Y, *A.T),
    "y first in a comment": lines(["# y", *NAMES], Y, *A.T),
    "y last, b first": lines(["b", "g2", "g3", "g4", "g5", "y"], *A.T, Y),
    "no header": lines([], *A.T, Y),
}


@pytest.mark.parametrize("case", TABLES)
def test_row_names_are_no_data_and_y_is_the_column_called_so(case: str, tmp_path: Path) -> None:
    a, y, _ = read(tmp_path, TABLES[case])
    assert a == A.tolist()
    assert y == Y.tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NA,NA,NA,NA\n1,2,3,4\n2,1,0,3\n", "line 1, column 1 must be a number, got 'NA'"),
        (",,\n.,-,?\n1,2,3\n", "line 2, column 1 must be a number, got '.'"),
        ("0,1,2\n3,4,5\n", "its first line counts 0 … 2 above whole numbers: say header=true"),
        ("x,y,z\n1,2,3\n", "its header calls column 2 y, but not the first or the last: y=NAME decides"),
        ("a,target,z\n1,2,3\n", "its header calls column 2 target, but not the first or the last"),
        ("Y,a,y\n1,2,3\n", "its header has columns 1 'Y' and 3 'y' that may be y: y=NAME says which one is"),
        ("label,a,target\n1,2,3\n", "its header has columns 1 'label' and 3 'target' that may be y"),
        ("name,a,y\nx,2,3\n", "line 2, column 1 must be a number, got 'x' (columns= chooses those of A)"),
        ("a\tb\ty\n1\t2\t3\n", "delimiter=tab makes 3 columns of its first line"),
        (",x\n1,2\n", "it has one column: at least one of A and one of y are needed"),
        ("1,2,x\n3,4,5\n6,7\n", "line 3 has 2 columns, not 3"),
    ],
)
def test_what_the_evidence_leaves_open_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="path must be a .csv of numbers") as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("options", "a", "y"),
    [
        ({"y": "b"}, [1, 2, 4], 3),
        ({"y": 1}, [2, 3, 4], 1),
        ({"y": "1"}, [2, 3, 4], 1),
        ({"columns": ["b", "2"]}, [3, 1], 4),
        ({"columns": "b"}, [3], 4),
        ({"columns": "2, b"}, [1, 3], 4),
        ({"columns": ["1:3"]}, [2], 4),  # named 1: its number would be 2
        ({"columns": "2:b"}, [1, 2, 3], 4),
        ({"columns": ["c"], "y": "b"}, [4], 3),
    ],
)
@pytest.mark.filterwarnings("ignore:A has m")
def test_the_user_chooses_columns_by_name_or_number(options: dict, a: list, y: int, tmp_path: Path) -> None:
    """Here a column is called 2 and another 1:3; names go before numbers."""
    text = "2,1:3,b,c\n1,2,3,4\n"
    found = read(tmp_path, text, **options, header=True)
    assert found[:2] == ([[float(x) for x in a]], [float(y)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": "z"}, "y must be a column of d.csv: one of its names or numbers (found: a, bb, cc, a), got 'z'"),
        ({"y": "b"}, "got 'b'; did you mean bb?"),
        ({"y": 5}, "y must be a column of d.csv"),
        ({"y": 0}, "y must be a column of d.csv"),
        ({"y": "a"}, "y must be a column of d.csv: a number from 1 on, for a name that several have"),
        ({"y": True}, "y must be the name of a column, or its number from 1 on, got True"),
        ({"y": 1.5}, "y must be the name of a column"),
        ({"y": ""}, "y must be the name of a column"),
        ({"columns": []}, "columns must be a list of names, numbers or FIRST:LAST, got []"),
        ({"columns": [None]}, "columns must be a list"),
        ({"columns": {"a": 1}}, "columns must be a list"),
        ({"columns": ["bb", 2]}, "columns must name each column once"),
        ({"columns": ["bb", 4]}, "y must be given where columns have 'a', y the last otherwise, got None"),
        ({"columns": ["bb"], "y": "bb"}, "columns must leave out y's column 'bb'"),
        ({"columns": ["3:2"]}, "columns must have FIRST before LAST, got '3:2'"),
        ({"delimiter": ""}, "delimiter must be one of comma, semicolon, tab, space, pipe, or one character, got ''"),
        ({"delimiter": ", "}, "delimiter must be one of"),
        ({"delimiter": "."}, "delimiter must be one of"),
        ({"delimiter": "1"}, "delimiter must be one of"),
        ({"delimiter": 3}, "delimiter must be one of"),
        ({"header": "no"}, "header must be true or false, got 'no'"),
    ],
)
def test_wrong_choices_name_the_argument(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, "a,bb,cc,a\n1,2,3,4\n", **options)
    assert message in str(caught.value)
    assert str(caught.value).startswith(message.split(" ")[0]) or "got 'b'" in message
    with pytest.raises(InputError) as by_name:
        make_problem("file", path=str(tmp_path / "d.csv"), **options)
    assert str(by_name.value) == f"problem.{caught.value}"


def test_only_a_table_has_columns_to_choose(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", A=A, y=Y)
    for name, value in (("y", "b"), ("columns", ["a"]), ("delimiter", ";"), ("header", False)):
        with pytest.raises(InputError, match=f"^{name} must be left out where the file is no .csv"):
            load_problem(tmp_path / "d.npz", **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delimiter", "mark"), [("semicolon", ";"), (";", ";"), ("tab", "\t"), ("\t", "\t"), ("|", "|"), ("space", "  ")]
)
def test_other_delimiters(delimiter: str, mark: str, tmp_path: Path) -> None:
    text = TABLES["Y first"].replace(",", mark)
    assert read(tmp_path, text, delimiter=delimiter)[:2] == (A.tolist(), Y.tolist())


def test_a_line_of_numbers_that_looks_like_a_header_is_the_users_to_decide(tmp_path: Path) -> None:
    text = "0,1,2\n3,4,5\n"
    assert read(tmp_path, text, header=True)[:2] == ([[3.0, 4.0]], [5.0])
    with pytest.warns(UserWarning, match="m = 2 rows and n = 2 columns"):
        assert read(tmp_path, text, header=False)[:2] == ([[0.0, 1.0], [3.0, 4.0]], [2.0, 5.0])


@pytest.mark.filterwarnings("ignore:A has m")
def test_one_line_says_what_was_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dlntorch"):
        _, _, note = read(tmp_path, TABLES["R's write.csv"])
    assert note == (
        "read d.csv: 4 rows under a header; A is 5 columns, 'g1' to 'g5'; y is column 7 'y', as it is called; "
        "left out is column 1, row names"
    )
    assert caplog.messages == [note]
    assert (
        read(tmp_path, "1.5,2,3\n")[2]
        == "read d.csv: 1 row without a header; A is 2 columns, 1 to 2; y is column 3, the last"
    )
    assert "column 1 of A counts 1 to 3 (columns= leaves it out)" in read(tmp_path, "1,5,3\n2,4,4\n3,0,1\n")[2]
    assert "left out is column 1 'id', row names" in read(tmp_path, TABLES["an id, then y"])[2]
    assert "y is column 2 'g2', as chosen" in read(tmp_path, "g1,g2,g3\n1,2,3\n", y="g2")[2]
    np.savez(tmp_path / "d.npz", A=A, y=Y, other=Y)
    assert load_problem(tmp_path / "d.npz").source == "read d.npz: A 4x5, y 4"
