"""Reading and writing problems: every format's round trip, and what wrong, hostile and broken files get."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, load_problem, make_problem, save_problem
from tests import problems

GENERATOR = np.random.default_rng(5)
A = GENERATOR.standard_normal((3, 5))
Y = GENERATOR.standard_normal(3)
TRUTH = np.array([0.0, 1.0, 0.0, -2.0, 0.0])


def write_csv(path: Path, header: str = "") -> None:
    rows = [",".join(map(repr, row)) for row in np.c_[A, Y].tolist()]
    path.write_text("\n".join(([header] if header else []) + rows) + "\n")


def write_npy(path: Path) -> None:
    np.save(path.with_name("d_A.npy"), A)
    np.save(path.with_name("d_y.npy"), Y)
    np.save(path.with_name("d_truth.npy"), TRUTH)


def write_mat(**options: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = {"A": A, "y": Y, "truth": TRUTH, "other": "text"}
        if options.get("format") != "4":
            content |= {"cells": np.array([1, "x"], dtype=object), "s": {"a": 1.0}}
        scipy.io.savemat(path, content, **options)  # type: ignore[arg-type]

    return write


FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "npz": ("d.npz", lambda path: np.savez(path, A=A, y=Y, truth=TRUTH, other=np.array(["text"]))),
    "npz compressed": ("d.npz", lambda path: np.savez_compressed(path, A=np.asfortranarray(A), y=Y, truth=TRUTH)),
    "npy, A given": ("d_A.npy", write_npy),
    "npy, y given": ("d_y.npy", write_npy),
    "npy, name given": ("d.npy", write_npy),
    "csv": ("d.csv", write_csv),
    "csv with header": ("d.csv", lambda path: write_csv(path, "a,b,c,d,e,y")),
    "csv of savetxt": (
        "d.csv",
        lambda path: np.savetxt(path, np.c_[A, Y], delimiter=",", fmt="%.17g", header="made by hand\na,b,c,d,e,y"),
    ),
    "mat": ("d.mat", write_mat()),
    "mat compressed": ("d.mat", write_mat(do_compression=True)),
    "mat column": ("d.mat", write_mat(oned_as="column")),
    "mat level 4": ("d.mat", write_mat(format="4")),
    "pt": (
        "d.pt",
        lambda path: torch.save({"A": torch.tensor(A), "y": torch.tensor(Y), "truth": torch.tensor(TRUTH)}, path),
    ),
}


def reason(path: object, **options: object) -> str:
    """The one line that a file gets."""
    with pytest.raises(InputError) as caught:
        load_problem(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith("path must")
    assert message.isprintable()  # so it is one line
    return message


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FORMATS)
def test_every_format_round_trips_bitwise(case: str, tmp_path: Path) -> None:
    name, write = FORMATS[case]
    write(tmp_path / name)
    problem = load_problem(tmp_path / name)
    assert problem.name == "d"
    np.testing.assert_array_equal(problem.A.numpy(), A, strict=True)
    np.testing.assert_array_equal(problem.y.numpy(), Y, strict=True)
    if "csv" in case:
        assert problem.truth is None
    else:
        assert problem.truth is not None
        np.testing.assert_array_equal(problem.truth.numpy(), TRUTH, strict=True)


def test_a_pair_without_a_name_takes_the_folders(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    np.save(folder / "A.npy", A)
    np.save(folder / "y.npy", Y)
    for given_file in ("A.npy", "y.npy"):
        assert load_problem(folder / given_file).name == "mine"


@pytest.mark.parametrize("planted", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_save_and_load_are_bitwise_inverse(planted: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    problem = problems.gaussian(4, 9, seed=0, nonzeros=2 if planted else None).to(dtype=dtype)
    written = save_problem(problem, tmp_path / "saved.npz")
    again = load_problem(written, dtype=dtype, name="again")
    assert again.name == "again"
    assert torch.equal(again.A, problem.A)
    assert torch.equal(again.y, problem.y)
    assert (again.truth is None) == (not planted)
    if planted:
        assert again.truth is not None
        assert problem.truth is not None
        assert torch.equal(again.truth, problem.truth)
    assert os.listdir(tmp_path) == ["saved.npz"]


def test_saving_reports_what_cannot_be_written(tmp_path: Path) -> None:
    problem = problems.line()
    with pytest.raises(InputError, match="path must end in .npz"):
        save_problem(problem, tmp_path / "x.mat")
    with pytest.raises(InputError, match="path must be a file that can be written, got .*: no such file"):
        save_problem(problem, tmp_path / "missing" / "x.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="path must be a file that can be written"):
        save_problem(problem, tmp_path / "folder.npz")
    assert os.listdir(tmp_path) == ["folder.npz"]


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", ">i4", "f2", ">f8", "g"])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_other_number_types_become_float64(dtype: str, suffix: str, tmp_path: Path) -> None:
    a, y = np.array([[1, 0, 1]]).astype(dtype), np.array([1]).astype(dtype)
    if suffix == "npz":
        np.savez(tmp_path / "d.npz", A=a, y=y)
    else:
        np.save(tmp_path / "d_A.npy", a)
        np.save(tmp_path / "d_y.npy", y)
    problem = load_problem(tmp_path / f"d.{suffix}")
    assert torch.equal(problem.A, torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3, 1), (1, 3)])
def test_y_as_a_row_or_a_column(shape: tuple[int, int], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", A=A, y=Y.reshape(shape), truth=TRUTH.reshape(1, 5))
    problem = load_problem(tmp_path / "d.npz")
    assert torch.equal(problem.y, torch.tensor(Y))


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
@pytest.mark.parametrize("make", [scipy.sparse.csc_array, scipy.sparse.csc_matrix])
def test_sparse_matlab_matrices_become_dense(make: type, options: dict, tmp_path: Path) -> None:
    a = np.where(np.abs(A) > 0.5, A, 0.0)
    scipy.io.savemat(tmp_path / "d.mat", {"A": make(a), "y": Y}, **options)
    np.testing.assert_array_equal(load_problem(tmp_path / "d.mat").A.numpy(), a)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"])
def test_matlab_number_classes_agree_with_scipy(dtype: str, tmp_path: Path) -> None:
    a = np.arange(12).reshape(3, 4).astype(dtype)
    scipy.io.savemat(tmp_path / "d.mat", {"A": a, "y": Y.astype(dtype)})
    problem = load_problem(tmp_path / "d.mat")
    by_scipy = scipy.io.loadmat(tmp_path / "d.mat")
    np.testing.assert_array_equal(problem.A.numpy(), by_scipy["A"].astype(float))
    np.testing.assert_array_equal(problem.y.numpy(), by_scipy["y"].ravel().astype(float))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize("a", [[[1, 0, 1, 1], [0, 0, 1, 1]], [[0, 1, 0, 0], [0, 0, 0, 1]], [[1] * 9, [1] * 9]])
def test_matlabs_sparse_logical_matrices(a: list, spare: int, compressed: bool, tmp_path: Path) -> None:
    """MATLAB writes their values as bytes, under the type of doubles; more rows may be allotted than are used."""

    def element(kind: int, data: bytes) -> bytes:
        if len(data) <= 4:
            return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    matrix = scipy.sparse.csc_array(np.array(a))
    rows = np.r_[matrix.indices, np.zeros(spare)].astype("<i4")
    values = bytes([1] * matrix.nnz)
    body = element(6, struct.pack("<II", 0x0205, rows.size)) + element(5, struct.pack("<ii", *matrix.shape))
    body += element(1, b"A") + element(5, rows.tobytes())
    body += element(5, matrix.indptr.astype("<i4").tobytes()) + element(9, values)
    stored = element(14, body)
    if compressed:
        stored = struct.pack("<II", 15, len(zlib.compress(stored))) + zlib.compress(stored)
    scipy.io.savemat(tmp_path / "d.mat", {"y": Y[:2]})
    (tmp_path / "d.mat").write_bytes((tmp_path / "d.mat").read_bytes() + stored)
    np.testing.assert_array_equal(load_problem(tmp_path / "d.mat").A.numpy(), np.array(a, dtype=float))
    by_scipy = scipy.io.loadmat(tmp_path / "d.mat")["A"]
    np.testing.assert_array_equal(by_scipy.toarray(), np.array(a, dtype=bool))


def test_a_big_endian_matlab_file(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def array(name: str, value: np.ndarray) -> bytes:
        flags, shape = struct.pack(">II", 6, 0), struct.pack(">ii", *value.shape)
        numbers = np.asfortranarray(value).astype(">f8").tobytes(order="F")
        return element(14, element(6, flags) + element(5, shape) + element(1, name.encode()) + element(9, numbers))

    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "d.mat").write_bytes(head + array("A", A) + array("y", Y[:, None]))
    problem = load_problem(tmp_path / "d.mat")
    np.testing.assert_array_equal(problem.A.numpy(), A)
    np.testing.assert_array_equal(problem.A.numpy(), scipy.io.loadmat(tmp_path / "d.mat")["A"])


# -- what is refused, and why -----------------------------------------------------------------------------------------


def test_missing_and_odd_paths(tmp_path: Path) -> None:
    for suffix in ("npz", "npy", "csv", "mat", "pt"):
        line = reason(tmp_path / f"missing.{suffix}")
        assert "no such file or directory" in line
        assert "A" in line  # the rule says what is read
        assert "y" in line
        (tmp_path / f"folder.{suffix}").mkdir()
        assert "folder" in reason(tmp_path / f"folder.{suffix}").split("': ")[1]
        (tmp_path / f"empty.{suffix}").touch()
        assert "it is empty" in reason(tmp_path / f"empty.{suffix}")
    (tmp_path / "data.txt").write_text("1,2")
    assert "must end in one of .npz, .npy, .csv, .mat, .pt" in reason(tmp_path / "data.txt")
    assert "it is a folder" in reason(tmp_path)
    assert "no such file" in reason(tmp_path / "nothing")
    assert "file name too long" in reason(tmp_path / ("x" * 300 + ".npz"))
    for odd in (None, 3, "", "  ", b"x.npz", "a\0b.npz", "a\nb.npz", ["a.npz"]):
        reason(odd)
    if os.path.exists("/dev/zero"):
        os.symlink("/dev/zero", tmp_path / "device.csv")
        assert "it is not a regular file" in reason(tmp_path / "device.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("1,2\n")
    (tmp_path / "d.csv").chmod(0)
    assert "permission denied" in reason(tmp_path / "d.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3\n4,five,6\n", "line 2, column 2 must be a number, got 'five'"),
        ("1,2,3\n\n4,,6\n", "line 3, column 2 must be a number, got ''"),
        ("a,b,y\n1,2,nan\n", "line 2, column 3 must be finite, got 'nan'"),
        ("1,1_0,3\n", "line 1, column 2 must be a number, got '1_0'"),
        ("1,x,3\n1,2,3\n", "line 1, column 2 must be a number, got 'x'"),
        ("1,2,3\n4,5\n", "line 2 has 2 columns, not 3"),
        ("a,b,y\n1,2\n", "line 2 has 2 columns, not 3"),
        ("# a,y,b\n1,2,3\n", "its header calls column 2 y, but not the first or the last: y=NAME decides"),
        ("# comment\n", "it has no row of numbers"),
        ("a,y,b\n1,2,3\n", "its header calls column 2 y, but not the first or the last: y=NAME decides"),
        (
            "1;2;3\n",
            "it has no row of numbers (separated by ','; delimiter=semicolon makes 3 columns of its first line)",
        ),
        ("1\n2\n", "it has one column"),
        ("a,b\n", "it has no row of numbers"),
        ("\n\n", "it has no row of numbers"),
        ('1,"2\n', "it is not comma-separated text"),
        ("1,2,1e999\n", "line 1, column 3 must be finite"),
        ("0,0,3\n", "A must have a nonzero entry"),
    ],
)
def test_wrong_csv_files_name_the_place(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(text)
    line = reason(tmp_path / "d.csv")
    assert words in line
    assert "its last column y and the others A" in line


def test_csv_encodings(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes("\ufeff1, 2 ,3\r\n4,5,6\r\n".encode())
    with pytest.warns(UserWarning, match="m = 2 rows and n = 2 columns"):
        problem = load_problem(tmp_path / "d.csv")
    assert problem.A.tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert problem.y.tolist() == [3.0, 6.0]
    (tmp_path / "e.csv").write_bytes("1,2,3\n".encode("utf-16"))
    assert "it is not text in UTF-8" in reason(tmp_path / "e.csv")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"A": A}, "it has no key y (found: A)"),
        ({"X": A, "b": Y}, "it has no key A and no y (found: X, b)"),
        ({"A": A, "y": Y[:2]}, "y must have one entry for each of the 3 rows of A, got shape (2,)"),
        ({"A": A[0], "y": Y}, "A must have shape (m, n), got shape (5,)"),
        ({"A": A * np.nan, "y": Y}, "A must be finite, got nan at [0, 0]"),
        ({"A": A, "y": [1.0, np.inf, 0.0]}, "y must be finite, got inf at [1]"),
        ({"A": A * 0, "y": Y}, "A must have a nonzero entry, got a matrix of zeros"),
        ({"A": A * 1j, "y": Y}, "A must hold real numbers, got dtype complex128"),
        ({"A": A.astype(str), "y": Y}, "A must hold real numbers, got dtype"),
        ({"A": A.astype("M8[s]"), "y": Y}, "A must hold real numbers, got dtype datetime64"),
        ({"A": A.astype(object), "y": Y}, "A is an object array (a pickle), which is never read"),
        ({"A": A[:0], "y": Y[:0]}, "A must have at least one row and one column"),
        ({"A": A, "y": Y, "truth": Y}, "truth must have one entry for each of the 5 columns"),
    ],
)
def test_wrong_arrays(arrays: dict, words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    line = reason(tmp_path / "d.npz")
    assert words in line
    assert "the keys A (m, n) and y (m,)" in line


def test_npy_pairs_name_the_missing_part(tmp_path: Path) -> None:
    np.save(tmp_path / "d_A.npy", A)
    assert "d_y.npy: no such file or directory" in reason(tmp_path / "d_A.npy")
    np.save(tmp_path / "e.npy", A)
    assert "e_A.npy: no such file or directory" in reason(tmp_path / "e.npy")
    np.save(tmp_path / "f.npy", A.astype(object))
    assert "f.npy is an object array (a pickle), which is never read" in reason(tmp_path / "f.npy")
    np.save(tmp_path / "g_A.npy", np.zeros(3, dtype=[("a", "f8")]))
    np.save(tmp_path / "g_y.npy", Y)
    assert "g_A.npy must hold real numbers" in reason(tmp_path / "g.npy")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1.0}, "A must be a numeric array, got a MATLAB struct"),
        (np.array([1.0, "x"], dtype=object), "A must be a numeric array, got a MATLAB cell"),
        ("text", "A must be a numeric array, got a MATLAB char"),
        (A * 1j, "A must be real, got a complex array"),
        (scipy.sparse.csc_array(A * 1j), "A must be real, got a complex array"),
        (np.ones((2, 2, 2)), "A must have shape (m, n), got shape (2, 2, 2)"),
        (scipy.io.matlab.MatlabObject(np.zeros((1, 1), dtype=[("a", object)]), "inline"), "got a MATLAB object"),
    ],
)
def test_matlab_variables_that_are_no_numbers(value: object, words: str, tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "d.mat", {"A": value, "y": Y})
    assert words in reason(tmp_path / "d.mat")


def test_matlab_versions_and_keys(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "d.mat", {"y": Y, "B": A})
    assert "it has no variable A (found: B, y)" in reason(tmp_path / "d.mat")
    head = b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(64)
    (tmp_path / "e.mat").write_bytes(head)
    assert "MATLAB v7.3 (HDF5), which is not read: save it with '-v7'" in reason(tmp_path / "e.mat")
    for kind, words in ((16, "function"), (17, "opaque")):
        inner = struct.pack("<IIII", 6, 8, kind, 0)
        if kind == 16:
            inner += struct.pack("<IIii", 5, 8, 1, 1)
        inner += struct.pack("<HH", 1, 1) + b"A\0\0\0"
        head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
        (tmp_path / "f.mat").write_bytes(head + struct.pack("<II", 14, len(inner)) + inner)
        assert f"A must be a numeric array, got a MATLAB {words}" in reason(tmp_path / "f.mat")


@pytest.mark.parametrize("damage", ["row too large", "row negative", "starts decrease", "starts beyond"])
def test_sparse_indices_are_checked_before_use(damage: str, tmp_path: Path) -> None:
    matrix = scipy.sparse.csc_array(np.diag([1.0, 2.0, 3.0])[:, [0, 1, 2, 2]])
    rows, starts = matrix.indices.astype("<i4"), matrix.indptr.astype("<i4")
    scipy.io.savemat(tmp_path / "d.mat", {"A": matrix, "y": Y})
    content = (tmp_path / "d.mat").read_bytes()
    if damage.startswith("row"):
        wrong, right = rows.copy(), rows
        wrong[1] = 10**6 if "large" in damage else -5
    else:
        wrong, right = starts.copy(), starts
        wrong[2] = 0 if "decrease" in damage else wrong[2]
        wrong[-1] = wrong[-1] if "decrease" in damage else 10**6
    assert content.count(right.tobytes()) == 1
    (tmp_path / "d.mat").write_bytes(content.replace(right.tobytes(), wrong.tobytes()))
    assert "A is a sparse array" in reason(tmp_path / "d.mat")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.tensor(A), torch.tensor(Y)], "it holds a list"),
        (torch.tensor(A), "it holds a Tensor"),
        ({"A": torch.tensor(A)}, "it has no key y (found: A)"),
        ({"A": torch.tensor(A), "y": Y.tolist()}, "y must be a tensor, got list"),
        ({"A": torch.tensor(A).to_sparse(), "y": torch.tensor(Y)}, "A must be a dense real tensor"),
        ({"A": torch.tensor(A) * 1j, "y": torch.tensor(Y)}, "A must be a dense real tensor"),
        ({"A": torch.tensor(A, device="meta"), "y": torch.tensor(Y)}, "A must be a dense real tensor"),
        ({"A": torch.zeros(1).expand(10**6, 10**6), "y": torch.tensor(Y)}, "A takes 8000000000000 bytes, more than"),
        ({"A": A, "y": Y}, "it holds something else than tensors, and no other pickle is executed"),
    ],
)
def test_wrong_pt_files(content: object, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "d.pt")
    assert words in reason(tmp_path / "d.pt")


def test_pt_accepts_integers_parameters_and_views(tmp_path: Path) -> None:
    a = torch.nn.Parameter(torch.tensor(A.T.copy()))
    torch.save({"A": a.T, "y": torch.tensor([1, 2, 3])}, tmp_path / "d.pt")
    problem = load_problem(tmp_path / "d.pt")
    np.testing.assert_array_equal(problem.A.numpy(), A)
    assert problem.y.tolist() == [1.0, 2.0, 3.0]
    assert not problem.A.requires_grad


# -- hostile files ----------------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple:
        return (open, (self.marker, "w"))


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    bomb = Bomb(marker)
    objects = np.empty((1, 1), dtype=object)
    objects[0, 0] = bomb
    np.savez(tmp_path / "d.npz", A=objects, y=Y)
    np.save(tmp_path / "d_A.npy", objects)
    np.save(tmp_path / "d_y.npy", Y)
    torch.save({"A": bomb, "y": torch.tensor(Y)}, tmp_path / "d.pt")
    torch.save({"A": torch.tensor(A), "y": torch.tensor(Y), "extra": bomb}, tmp_path / "extra.pt")
    torch.save({"A": bomb}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    for name in ("bare.npy", "bare.npz", "bare.pt", "bare.mat", "bare.csv"):
        (tmp_path / name).write_bytes(pickle.dumps(bomb))
    for file in sorted(tmp_path.iterdir()):
        reason(file)
    assert not marker.exists()
    pickle.loads(pickle.dumps(bomb)).close()  # the bomb would have worked
    assert marker.exists()


def zeros_of(size: int) -> io.BytesIO:
    """A .npy of ``size`` bytes of float64 zeros, packed by deflate into a .npz as y; A beside it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("A.npy", "w") as stream:
            np.lib.format.write_array(stream, A)
        with archive.open("y.npy", "w") as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "<f8", "fortran_order": False, "shape": (size // 8,)}
            )
            for _ in range(size // 2**20):
                stream.write(bytes(2**20))
    return packed


def test_archives_are_refused_by_their_unpacked_size(tmp_path: Path) -> None:
    packed = zeros_of(64 * 2**20).getvalue()
    assert len(packed) < 2**17
    (tmp_path / "d.npz").write_bytes(packed)
    line = reason(tmp_path / "d.npz", max_bytes=2**20)
    assert "its unpacked content takes" in line
    assert "more than the limit max_bytes = 1048576" in line
    with pytest.raises(InputError, match="problem.path must be .* more than the limit max_bytes"):
        make_problem("file", path=str(tmp_path / "d.npz"), max_bytes=2**20)
    with zipfile.ZipFile(tmp_path / "d.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/data.pkl", bytes(2**22))
    assert "its unpacked content takes" in reason(tmp_path / "d.pt", max_bytes=2**20)
    assert "compressed members" in reason(tmp_path / "d.pt")


def test_a_directory_that_lies_about_sizes_is_not_believed(tmp_path: Path) -> None:
    packed = zeros_of(4 * 2**20).getvalue()
    size = struct.pack("<I", 4 * 2**20 + 128)
    assert packed.count(size) >= 1
    (tmp_path / "d.npz").write_bytes(packed.replace(size, struct.pack("<I", 152)))
    reason(tmp_path / "d.npz")  # imports what is needed, before memory is counted
    tracemalloc.start()
    try:
        line = reason(tmp_path / "d.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "it is not a sound zip archive (Bad CRC-32 for file 'y.npy')" in line
    assert peak < 2**20


def test_a_huge_npy_header_allocates_nothing(tmp_path: Path) -> None:
    for shape, words in (((10**7, 10**6), "more than the limit"), ((1000, 1000), "declares 8000000 bytes of numbers")):
        with open(tmp_path / "d_A.npy", "wb") as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
            stream.write(bytes(16))
        assert words in reason(tmp_path / "d_A.npy")


def test_a_huge_or_bombed_matlab_variable_allocates_nothing(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "d.mat", {"A": np.zeros((1, 2**21)), "y": Y}, do_compression=True)
    assert (tmp_path / "d.mat").stat().st_size < 2**16
    assert "more than max_bytes allows" in reason(tmp_path / "d.mat", max_bytes=2**20)
    scipy.io.savemat(tmp_path / "e.mat", {"A": scipy.sparse.csc_array((10**9, 4)), "y": Y})
    assert "A takes 32000000000 bytes, more than the limit max_bytes = 2147483648" in reason(tmp_path / "e.mat")
    scipy.io.savemat(tmp_path / "f.mat", {"A": A, "y": Y}, do_compression=True)
    content = bytearray((tmp_path / "f.mat").read_bytes())
    size = struct.unpack_from("<I", content, 132)[0]
    assert zlib.decompress(bytes(content[136 : 136 + size]))[:4] == struct.pack("<I", 14)
    content[136 + size - 1] ^= 1  # the checksum of the first variable
    (tmp_path / "f.mat").write_bytes(content)
    assert "it is not a sound MATLAB file" in reason(tmp_path / "f.mat")


def test_a_storage_cannot_claim_more_than_its_record(tmp_path: Path) -> None:
    torch.save({"A": torch.tensor(A), "y": torch.tensor(Y)}, tmp_path / "d.pt")
    with zipfile.ZipFile(tmp_path / "d.pt") as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    # BININT1 15 (the entries of A's storage) becomes BININT 10**7, and the shape (3, 5) becomes (200, 50000).
    long = {b"K\x0f": b"J" + struct.pack("<i", 10**7), b"K\x03K\x05": b"M\xc8\x00M\x50\xc3"}
    with zipfile.ZipFile(tmp_path / "e.pt", "w") as archive:
        for name, content in members.items():
            if name.endswith("data.pkl"):
                for short, replacement in long.items():
                    assert short in content
                    content = content.replace(short, replacement, 1)
            archive.writestr(name, content)
    assert "it cannot be parsed" in reason(tmp_path / "e.pt")


def test_a_changed_byte_in_a_pt_is_noticed(tmp_path: Path) -> None:
    torch.save({"A": torch.tensor(A), "y": torch.tensor(Y)}, tmp_path / "d.pt")
    content = (tmp_path / "d.pt").read_bytes()
    at = content.index(A.tobytes())
    (tmp_path / "d.pt").write_bytes(content[:at] + b"\x55" + content[at + 1 :])
    assert "does not match its checksum" in reason(tmp_path / "d.pt")


def seed_files(folder: Path) -> dict[str, list[bytes]]:
    """Sound files of every format, as bytes."""
    found: dict[str, list[bytes]] = {}
    for name, write in FORMATS.values():
        write(folder / name)
        found.setdefault(Path(name).suffix, []).append(
            (folder / name).read_bytes() if (folder / name).exists() else b""
        )
    scipy.io.savemat(folder / "s.mat", {"A": scipy.sparse.csc_array(A), "y": Y})
    found[".mat"].append((folder / "s.mat").read_bytes())
    found[".npy"] = [(folder / "d_A.npy").read_bytes()]
    return found


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    return seed_files(tmp_path_factory.mktemp("seeds"))


def mutated(data: st.DataObject, content: bytes) -> bytes:
    """The file cut short, or with bytes changed, or with bytes put in."""
    place = st.integers(0, len(content) - 1)
    how = data.draw(st.sampled_from(["cut", "change", "change", "insert"]))
    if how == "cut":
        return content[: data.draw(place)]
    if how == "insert":
        at = data.draw(place)
        return content[:at] + data.draw(st.binary(min_size=1, max_size=9)) + content[at:]
    changed = bytearray(content)
    for at, byte in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=6)):
        changed[at] = byte
    return bytes(changed)


@pytest.mark.filterwarnings("ignore:A has m")
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv", ".mat", ".pt"])
@settings(
    deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_broken_files_are_read_or_refused_in_one_line(
    suffix: str, data: st.DataObject, seeds: dict[str, list[bytes]], tmp_path: Path
) -> None:
    content = mutated(data, data.draw(st.sampled_from(seeds[suffix])))
    file = tmp_path / ("d_A.npy" if suffix == ".npy" else f"d{suffix}")
    file.write_bytes(content)
    np.save(tmp_path / "d_y.npy", Y)
    outcome: Problem | InputError
    try:
        outcome = load_problem(file, max_bytes=2**20)
    except InputError as error:
        outcome = error
    if isinstance(outcome, InputError):
        assert str(outcome).startswith("path must")
        assert str(outcome).isprintable()
    else:
        assert torch.isfinite(outcome.A).all()
        assert torch.isfinite(outcome.y).all()


def test_warnings_as_errors_are_not_taken_for_a_broken_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", A=np.eye(2), y=np.ones(2))
    with pytest.warns(UserWarning, match="not over-parameterised"):
        assert isinstance(load_problem(tmp_path / "d.npz"), Problem)
    with pytest.raises(UserWarning, match="not over-parameterised"):
        load_problem(tmp_path / "d.npz")


def test_an_operator_file_that_declares_a_huge_size_allocates_nothing(tmp_path: Path) -> None:
    """Every product with the operator takes vectors of that size."""
    transform = {"frequencies": np.array([1, 2]), "scale": np.array(1.0)}
    for name in ("cosine", "fourier"):
        declared = {f"{name}_{key}": value for key, value in {"n": np.array(2**36), **transform}.items()}
        np.savez(tmp_path / "d.npz", y=np.ones(2 if name == "cosine" else 4), **declared)
        words = f"a vector of the size in {name}_n takes {2**39} bytes, more than the limit"
        assert words in reason(tmp_path / "d.npz")
    csr = {"csr_data": np.ones(1), "csr_indices": np.zeros(1, int), "csr_indptr": np.array([0, 1])}
    np.savez(tmp_path / "d.npz", y=np.ones(1), csr_shape=np.array([1, 2**36]), **csr)
    assert "a vector of the size in csr_shape takes" in reason(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", y=np.ones(1), csr_shape=np.array([1, 20]), **csr)
    assert load_problem(tmp_path / "d.npz").n == 20


def test_the_numbers_of_a_text_are_counted_before_they_are_parsed(tmp_path: Path) -> None:
    """'1,' is two bytes, and its number eight."""
    (tmp_path / "d.csv").write_text(",".join("1" * 200) + "\n")
    assert load_problem(tmp_path / "d.csv", max_bytes=1600).n == 199
    line = reason(tmp_path / "d.csv", max_bytes=1599)
    assert "its table takes 1600 bytes, more than the limit max_bytes = 1599" in line
