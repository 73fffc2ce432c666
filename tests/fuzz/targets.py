"""What is fuzzed: every reader of files, and every key of the configuration.

A target takes hostile input and must return or raise :class:`~dlntorch.numerics.validation.InputError` with one line.

Anything else is a finding. :data:`TARGETS` maps a name to a function of a random generator that makes one input and tries
it; each is deterministic in the generator's seed.
"""

from __future__ import annotations

import copy
import io
import json
import random
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
import yaml

import dlntorch as dln
from dlntorch.cli.resuming import repeated_settings
from dlntorch.numerics.validation import InputError
from dlntorch.problem import make_problem
from dlntorch.problem.readers import save_problem
from dlntorch.run import run_experiment
from dlntorch.run.configuration import check_complete, check_keys, config_directory, is_factorization
from dlntorch.run.matrix_plan import plan_matrix
from dlntorch.run.members import is_ensemble
from dlntorch.run.settings import RunSettings
from dlntorch.run.watched import training_options
from dlntorch.store.folder import RunFolder

__all__ = ["REFUSED", "TARGETS", "attempt", "prepare"]

#: Bytes that mean something in one of the formats.
TOKENS = (
    b"\x93NUMPY\x01\x00", b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }", b"PK\x03\x04", b"PK\x05\x06",
    b"MATLAB 5.0 MAT-file", b"\x80\x02cos\nsystem\n", b"cposix\nsystem\n(S'false'\ntR.", b"nan", b"inf", b"1e999", b"-0",
    b"\x00" * 8, b"\xff" * 8, b",,,", b"\n\n", b"!!python/object/apply:os.system ['false']", b"_target_: os.system",
    b"../../../etc/passwd", b"[[[[[[", b"{" * 50, b"&a [*a,*a]", b"\xef\xbb\xbf", b"\xff\xfe", b"9" * 40,
)  # fmt: skip
#: Values that a key may be given.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 10**6, 10**12, 2**63, 10**400, -(2**70), 0.0, -0.0, 0.5, 1.0, 2.0, 2.5, 1e-300,
    5e-324, 1e300, 1e-12, float("nan"), float("inf"), float("-inf"), "", " ", "auto", "true", "1e-3", "nan", "certified",
    "gaussian", "relative", "cuda", "cpu", "cuda:99", "/", "/dev/zero", "/etc/passwd", "../x", "\x00", "a" * 5000,
    "${oc.env:HOME}", "ψ", [], [1], [1, 2, 3], [[1.0]], [None], ["a"], {}, {"a": 1},
    {"_target_": "os.system", "command": "false"},
    b"bytes", 1j,
)  # fmt: skip


#: What a target returns for input that was refused in one line.
REFUSED = ""


def attempt(work: Callable[[], Any]) -> str | None:
    """Run; None where it returned, :data:`REFUSED` where it refused in one line, else what was found."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except InputError as error:
        text = str(error)
        if not text or "\n" in text:
            return f"a message that is not one line: {text[:300]!r}"
        return REFUSED
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


# -- files ------------------------------------------------------------------------------------------------------------


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few random changes: bytes flipped, cut, doubled, swapped, or replaced by what means something in a format."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(found) + 1)
        length = min(chance.choice((1, 2, 4, 8, 40, 400)), len(found) - at)
        kind = chance.randrange(7)
        if kind == 0 and length:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            del found[at:]
        elif kind == 3:
            del found[at : at + length]
        elif kind == 4:
            found[at:at] = found[at : at + length]
        elif kind == 5:
            token = chance.choice(TOKENS)
            found[at : at + (len(token) if chance.random() < 0.5 else 0)] = token
        else:
            other = chance.randrange(len(found) + 1)
            found[at : at + length] = found[other : other + length]
    return bytes(found)


@cache
def _samples() -> dict[str, bytes]:
    """A valid file of every format that ``problem.path`` takes."""
    A, y = np.arange(12.0).reshape(3, 4) + np.eye(3, 4), np.array([1.0, 2.0, 3.0])
    found: dict[str, bytes] = {}

    def keep(name: str, write: Callable[[Any], Any]) -> None:
        buffer = io.BytesIO()
        write(buffer)
        found[name] = buffer.getvalue()

    keep("npz", lambda b: np.savez(b, A=A, y=y))
    keep("packed.npz", lambda b: np.savez_compressed(b, A=A, y=y, truth=np.ones(4)))
    keep("npy", lambda b: np.save(b, A))
    keep("mat", lambda b: scipy.io.savemat(b, {"A": A, "y": y}, do_compression=True))
    keep("plain.mat", lambda b: scipy.io.savemat(b, {"A": A, "y": y}))
    keep("4.mat", lambda b: scipy.io.savemat(b, {"A": A, "y": y}, format="4"))
    keep("pt", lambda b: torch.save({"A": torch.from_numpy(A), "y": torch.from_numpy(y)}, b))
    found["csv"] = b"A0,A1,A2,A3,y\n" + b"".join(
        b",".join(str(v).encode() for v in (*row, b)) + b"\n" for row, b in zip(A.tolist(), y.tolist(), strict=True)
    )
    return found


def prepare(place: Path) -> None:
    """Make the run that folders and checkpoints are fuzzed from."""
    config = copy.deepcopy(_configuration())
    config |= {"p": 3, "alpha": 0.1, "max_steps": 50, "logger": {"name": "none"}}
    config["problem"] = {**config["problem"], "m": 3, "n": 5}
    config["trainer"] = {**config["trainer"], "progress": False}
    run_experiment(config, place / "run")
    save_problem(dln.load_run(place / "run").problem, place / "problem.npz")


def reader(name: str) -> Callable[[random.Random, Path], str | None]:
    """``dln.load_problem`` on a broken file of one format."""

    def target(chance: random.Random, place: Path) -> str | None:
        suffix = name.split(".")[-1]
        path = place / f"data.{suffix}"
        sample = _samples()[name if chance.random() < 0.95 else chance.choice(list(_samples()))]
        data = mutated(sample, chance)
        if suffix == "npy":
            path = place / "data.A.npy"
            (place / "data.y.npy").write_bytes(_y_of_pair() if chance.random() < 0.7 else mutated(_y_of_pair(), chance))
        path.write_bytes(data)
        return attempt(lambda: dln.load_problem(path))

    return target


def reader_options(chance: random.Random, place: Path) -> str | None:
    """``dln.load_problem`` of a table with options that nobody expects, such as a command line may bring."""
    path = place / "options.csv"
    separator = chance.choice((b",", b";", b"\t", b" ", b"|"))
    lines = [line.replace(b",", separator) for line in _samples()["csv"].splitlines()]
    path.write_bytes(b"\n".join(lines[chance.choice((0, 0, 1)) :]) + b"\n")
    words = ("y", "A0", "A1", "A9", "A0:A2", "A2:A0", ":", "A0:", "1:3", "3:1", "0", "1", "-1", "5", "1e3", "[A0,A1]", "A0,A1",
             "comma", "semicolon", "tab", "space", "pipe", ",", ";", "||", "\n", '"', "#", ".")  # fmt: skip
    options: dict[str, Any] = {}
    for key in ("y", "columns", "delimiter", "header", "name", "dtype", "max_bytes"):
        if chance.random() < 0.35:
            several = [chance.choice((*words, 1, 2, 9)) for _ in range(chance.randrange(4))]
            options[key] = chance.choice((chance.choice(words), chance.choice(words), chance.choice(VALUES), several))
    return attempt(lambda: dln.load_problem(path, **options))


def rationals(chance: random.Random, place: Path) -> str | None:
    """``Problem.from_rationals`` of words that are numbers, nearly are, or are too long, and the exact minimiser."""

    def number() -> Any:
        digits = "".join(chance.choice("0123456789") for _ in range(chance.choice((1, 2, 3, 30, 4500))))
        whole = chance.choice(("", "-", "+", "--", " ")) + digits
        return chance.choice(
            (whole, f"{whole}/{digits}", f"{whole}/0", f"{whole}.{digits}", f"{whole}_0", f"{whole} / 3",
             f"{whole}e{chance.choice((5, -5, 400, 10**9))}", "nan", "inf", "1/", "/2", "0x10", "１", "½",
             int(digits[:20]), 0, 1, -1, chance.choice(VALUES))
        )  # fmt: skip

    m, n = chance.choice(((1, 1), (1, 2), (2, 3), (2, 2)))
    often = chance.random() < 0.6  # most entries are sound, so that some problems are
    entry = lambda: chance.choice(("1", "-2/3", "0.1", 2)) if often and chance.random() < 0.9 else number()  # noqa: E731
    A, y = [[entry() for _ in range(n)] for _ in range(m)], [entry() for _ in range(m)]
    return attempt(lambda: dln.l1_minimizer(dln.Problem.from_rationals(A, y), exact=True))


@cache
def _y_of_pair() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([1.0, 2.0, 3.0]))
    return buffer.getvalue()


def checkpoint(chance: random.Random, place: Path) -> str | None:
    """``resume=FOLDER`` of a run whose checkpoint is broken."""
    whole = _file_of_run(place, "checkpoints/last.ckpt")
    broken = place / "broken" / "checkpoints"
    broken.mkdir(parents=True, exist_ok=True)
    (broken / "last.ckpt").write_bytes(mutated(whole, chance))

    def work() -> None:
        folder = RunFolder(broken.parent)
        try:
            folder.read_checkpoint({"p": 3.0})
        finally:
            folder.close()

    return attempt(work)


def run_folder(chance: random.Random, place: Path) -> str | None:
    """``dln.load_run`` of a folder in which one file is broken."""
    names = ("summary.json", "result.npz", "problem.npz", "config.yaml", "trajectory.csv")
    chosen = chance.choice(names)
    broken = place / "folder"
    broken.mkdir(exist_ok=True)
    for name in names:
        whole = _file_of_run(place, name)
        (broken / name).write_bytes(mutated(whole, chance) if name == chosen else whole)
    return attempt(lambda: dln.load_run(broken))


def saved_configuration(chance: random.Random, place: Path) -> str | None:
    """``repeat=FOLDER`` of a folder whose ``config.yaml`` came from elsewhere."""
    broken = place / "elsewhere"
    broken.mkdir(exist_ok=True)
    (broken / "config.yaml").write_bytes(mutated(_file_of_run(place, "config.yaml"), chance))
    (broken / "summary.json").write_bytes(_file_of_run(place, "summary.json"))
    settings = {**_configuration(), "repeat": str(broken)}
    return attempt(lambda: _validate(repeated_settings(settings, [], place / "new")))


@cache
def _file_of_run(place: Path, name: str) -> bytes:
    return (place / "run" / name).read_bytes()


# -- keys -------------------------------------------------------------------------------------------------------------


@cache
def _configuration() -> dict[str, Any]:
    """The composed configuration of the main job."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train"), resolve=True)
    assert isinstance(plain, dict)
    plain.pop("experiment", None)
    return {str(key): value for key, value in plain.items()}


@cache
def _groups() -> dict[str, list[dict[str, Any]]]:
    """The files of every group whose choice can be tried without a network, a GPU or data of others."""
    found: dict[str, list[dict[str, Any]]] = {}
    for group in ("problem", "schedule", "engine", "logger", "optimizer", "model"):
        files = sorted((config_directory() / group).glob("*.yaml"))
        found[group] = [yaml.safe_load(path.read_text()) for path in files if path.stem not in ("digits", "diabetes")]
    return found


def keys(chance: random.Random, place: Path) -> str | None:
    """The validator on a configuration in which some keys have values that nobody expects."""
    config = copy.deepcopy(_configuration())
    for group, options in _groups().items():
        if chance.random() < 0.4:
            config[group] = copy.deepcopy(chance.choice(options))
    return _with_odd_values(config, chance)


def matrix_keys(chance: random.Random, place: Path) -> str | None:
    """The same of a factorization, whose problem, model and rules are mostly those of matrices."""
    config = copy.deepcopy(_configuration())
    groups = _groups()
    matrices = ("sensing", "completion", "embedded", "two_by_two", "digits_table")
    config["problem"] = copy.deepcopy(chance.choice([one for one in groups["problem"] if one["name"] in matrices]))
    config["model"] = copy.deepcopy(next(one for one in groups["model"] if one["name"] == "factorization"))
    for group in ("schedule", "optimizer"):
        if chance.random() < 0.4:
            config[group] = copy.deepcopy(chance.choice(groups[group]))
    config["references"] = False
    return _with_odd_values(config, chance)


def optimizer_keys(chance: random.Random, place: Path) -> str | None:
    """The keys of optimizer, model and schedule alone."""
    config = copy.deepcopy(_configuration())
    for group in ("optimizer", "model", "schedule"):
        config[group] = copy.deepcopy(chance.choice(_groups()[group]))
    for _ in range(chance.choice((1, 1, 2, 3))):
        inside = config[chance.choice(("optimizer", "model", "schedule"))]
        inside[chance.choice(list(inside))] = copy.deepcopy(chance.choice(VALUES))
    return attempt(lambda: _validate(config))


def _with_odd_values(config: dict[str, Any], chance: random.Random) -> str | None:
    for _ in range(chance.choice((1, 1, 2, 3))):
        inside = config
        if chance.random() < 0.6:
            inside = config[chance.choice([key for key, value in config.items() if isinstance(value, dict)])]
        if inside:
            inside[chance.choice(list(inside))] = copy.deepcopy(chance.choice(VALUES))
    return attempt(lambda: _validate(config))


def _validate(config: dict[str, Any]) -> None:
    """What a run does before anything is computed."""
    json.dumps(config, default=repr)
    check_keys(config)
    check_complete(config)
    if is_ensemble(config):
        return
    training_options(config)
    if is_factorization(config):
        if 10**6 not in [
            v for v in config["problem"].values() if type(v) is int
        ]:  # a sound problem that takes its time
            plan_matrix(config).new_descent()
        return
    RunSettings.from_config(make_problem(**config["problem"]), config)


TARGETS: dict[str, Callable[[random.Random, Path], str | None]] = {
    **{
        f"load_problem, .{name}": reader(name)
        for name in ("npz", "packed.npz", "npy", "csv", "mat", "plain.mat", "4.mat", "pt")
    },
    "checkpoint": checkpoint,
    "load_run": run_folder,
    "repeat": saved_configuration,
    "keys": keys,
    "optimizer keys": optimizer_keys,
    "matrix keys": matrix_keys,
    "reader options": reader_options,
    "rationals": rationals,
}
