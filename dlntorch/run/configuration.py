"""Where ``conf/`` is, which keys it knows, and the nearest right key for a wrong one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dlntorch.numerics.validation import InputError

__all__ = [
    "OPEN_KEYS",
    "append_open_keys",
    "check_complete",
    "check_group_choices",
    "check_keys",
    "choose_own_nouns",
    "choose_problem_file",
    "config_directory",
    "group_options",
    "is_factorization",
    "known_keys",
    "name_solver",
    "nearest",
    "study_keys",
    "unknown_key",
    "upgraded",
]

#: Groups whose keys are checked against the chosen file.
GROUPS = ("problem", "model", "optimizer", "schedule", "engine", "trainer", "callbacks", "logger")
#: Groups in which ``_target_`` names an object of anybody's, with keys of its own.
NOUNS = ("model", "optimizer", "schedule")
#: What a configuration of version 0.1 does not say, and means.
_SINCE_0_2: dict[str, Any] = {
    "model": {"name": "power"},
    "optimizer": {"name": "sgd"},
    "alpha_minus": None,
    "accuracy": None,
    "early_stopping": False,
}
#: Keys that accuracy=… chooses where they are null: the command line makes them so where it does not name them.
OPEN_KEYS = ("p", "alpha", "schedule.kappa", "tol", "max_steps", "max_time")
#: The root key whose own keys are those of ``train.yaml``.
ENSEMBLE = "ensemble"


@cache
def config_directory() -> Path:
    """The folder ``conf/``: inside the package that a wheel installs, beside it in a checkout.

    Inside comes first: beside an installed package, in site-packages, another package's ``conf/`` may lie.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise InputError(f"conf must be beside or inside the package, got neither at {str(package)!r}; install it again")


@cache
def group_options(group: str) -> tuple[str, ...]:
    """The names of a group's files."""
    return tuple(sorted(path.stem for path in (config_directory() / group).glob("*.yaml")))


@cache
def _keys_of(path: Path) -> tuple[str, ...]:
    return tuple(key for key in yaml.safe_load(path.read_text()) or {} if key not in ("defaults", "hydra"))


@cache
def _ensemble_keys() -> tuple[str, ...]:
    return tuple(yaml.safe_load((config_directory() / "train.yaml").read_text())[ENSEMBLE])


@cache
def known_keys() -> tuple[str, ...]:
    """Every key that the command line may set: roots, groups and ``group.key``."""
    keys = list(_keys_of(config_directory() / "train.yaml"))
    keys.extend(f"{ENSEMBLE}.{key}" for key in _ensemble_keys())
    for group in GROUPS:
        keys.append(group)
        for option in group_options(group):
            keys.extend(f"{group}.{key}" for key in _keys_of(config_directory() / group / f"{option}.yaml"))
    return tuple(dict.fromkeys([*keys, "experiment"]))


#: Keys of problem=file that no other problem has.
_OF_FILES = ("problem.y", "problem.columns", "problem.delimiter", "problem.header")


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as this version has it: what an older one did not say is what it meant."""
    return {**_SINCE_0_2, **config}


def choose_own_nouns(arguments: list[str]) -> None:
    """Let ``optimizer._target_=…`` and its keys be written plainly: choose the group's ``own``, and append the keys."""
    for group in NOUNS:
        if not any(argument.startswith(f"{group}._target_=") for argument in arguments):
            continue
        if not any(argument.startswith(f"{group}=") for argument in arguments):
            arguments.append(f"{group}=own")
        for i, argument in enumerate(arguments):
            if argument.startswith(f"{group}."):
                arguments[i] = f"++{argument}"


def name_solver(arguments: list[str]) -> None:
    """Let ``references.solver=linprog`` be written for ``references=linprog``, which a file of ``conf/`` has room for."""
    for i, argument in enumerate(arguments):
        if argument.startswith("references.solver="):
            arguments[i] = argument.replace(".solver", "", 1)


def is_factorization(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a matrix run."""
    return config["model"].get("name") == "factorization"


def check_group_choices(arguments: Sequence[str]) -> None:
    """Refuse a number or a truth value where a group's choice belongs: Hydra reads it before any message of ours."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        group = key.lstrip("+")
        options = group_options(group) if "." not in group and (config_directory() / group).is_dir() else ()
        for choice in value.strip("[]").split(",") if options and value[:1] != "{" else ():
            with contextlib.suppress(yaml.YAMLError):
                if isinstance(yaml.safe_load(choice), bool | int | float):
                    raise InputError(f"{group} must be one of {', '.join(options)}, got {choice}")


def choose_problem_file(arguments: list[str]) -> None:
    """Append ``problem=file`` to the command line's ``arguments`` where a key of that group alone is set."""
    keys = {argument.partition("=")[0] for argument in arguments}
    if keys.intersection(_OF_FILES) and "problem" not in keys:
        arguments.append("problem=file")


def append_open_keys(arguments: list[str]) -> None:
    """Append ``p=null`` and the like to the command line's ``arguments`` for the keys that ``accuracy=…`` is to choose.

    Those that the arguments, or the file of an ``experiment`` that they name, give are left to them.
    """
    given = {key.lstrip("+"): value for key, _, value in (argument.partition("=") for argument in arguments)}
    if given.get("accuracy", "null") in ("", "null"):
        return
    told = set(given)
    for name in given.get("experiment", "").split(","):
        file = config_directory() / "experiment" / f"{name}.yaml"
        content = (yaml.safe_load(file.read_text()) or {}) if file.is_file() else {}
        told.update(content)
        told.update(f"schedule.{key}" for key in content.get("schedule") or {})
        if any("/schedule" in key for entry in content.get("defaults", ()) if isinstance(entry, dict) for key in entry):
            told.add("schedule.kappa")
    file = config_directory() / "schedule" / f"{given.get('schedule')}.yaml"
    if "schedule._target_" in given or (file.is_file() and "kappa" not in _keys_of(file)):
        told.add("schedule.kappa")  # there is none
    arguments.extend(f"{key}=null" for key in OPEN_KEYS if key not in told)


@cache
def study_keys() -> tuple[str, ...]:
    """The keys of ``python -m dlntorch`` beside those of its studies."""
    return (*_keys_of(config_directory() / "study.yaml"), "study", "sweep")


def unknown_key(key: str, known: Iterable[str], others: Iterable[str], command: str) -> str:
    """What is said of a key that a command does not have: the nearest one of its own, or the command that has it.

    Args:
        key: The unknown key.
        known: Those that the command has.
        others: Those of the other command.
        command: That other command.
    """
    choices, root = list(known), key.split(".")[0]
    if "." in key and key in choices:
        return f"unknown key {key!r}: the chosen {root} does not have it, another {root}=NAME does"
    own = any(choice.split(".")[-1] == key for choice in choices)  # a group was forgotten
    if not own and (key in others or root in {other.split(".")[0] for other in others}):
        return f"unknown key {key!r}: it belongs to the command {command}, see {command} --help"
    return f"unknown key {key!r}{nearest(key, choices)}"


def nearest(word: str, among: Iterable[str]) -> str:
    """A closing "; did you mean …?" for a wrong word, or nothing when none is near."""
    choices = list(among)
    # a key whose group was forgotten: kappa for schedule.kappa
    found = [choice for choice in choices if choice.split(".")[-1] == word][:1]
    found = found or get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def check_keys(config: Mapping[str, Any]) -> None:
    """Refuse keys that no file of ``conf/`` has (they can be appended with ``+key=…`` or come from a file).

    Raises:
        InputError: naming the key and the nearest right one.
    """
    roots = {key.split(".")[0] for key in known_keys()}
    for key, value in config.items():
        if key not in roots:
            raise InputError(unknown_key(key, known_keys(), study_keys(), "python -m dlntorch"))
        if key == ENSEMBLE and not isinstance(value, Mapping):
            raise InputError(f"{key} must be a group of lists, such as {key}.alpha=[1e-1,1e-2], got {value!r}")
        if key in GROUPS and not isinstance(value, Mapping):
            raise InputError(f"{key} must be one of {', '.join(group_options(key))}, got {value!r}")
        if key in (*GROUPS, ENSEMBLE) and key != "problem":  # make_problem checks each generator's arguments itself
            for inner in () if value.get("_target_") else value:
                if f"{key}.{inner}" not in known_keys():
                    raise InputError(f"unknown key '{key}.{inner}'{nearest(f'{key}.{inner}', known_keys())}")


def check_complete(config: Mapping[str, Any]) -> None:
    """Refuse a configuration, from a file of somebody's, in which a key of the chosen files is missing.

    Raises:
        InputError: naming the key.
    """
    needed = [key for key in _keys_of(config_directory() / "train.yaml") if key != "experiment"]
    config = upgraded(config)
    missing = [key for key in (*needed, *GROUPS) if key not in config]
    for group in GROUPS[1:] if not missing else ():
        inside, name = config[group], config[group].get("name", "default")
        if name not in group_options(group):
            raise InputError(f"{group} must be one of {', '.join(group_options(group))}, got {name!r}")
        missing += [
            f"{group}.{key}" for key in _keys_of(config_directory() / group / f"{name}.yaml") if key not in inside
        ]
    missing += [f"{ENSEMBLE}.{key}" for key in _ensemble_keys() if key not in config.get(ENSEMBLE, {})]
    if missing:
        raise InputError(f"{missing[0]} must be given, got a configuration without it")
