"""What the command line says, looked at before Hydra reads it.

Hydra reads a value as an expression: an apostrophe, a comma, a brace or an equals sign in a file's name ends it in an
error, and ``${`` asks for another key. So the values of keys that name a file or a folder are taken as they are typed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from dlntorch.numerics.validation import InputError
from dlntorch.run.configuration import known_keys
from dlntorch.sweep.quoting import quoted

__all__ = ["PATH_KEYS", "is_sweep", "options_first", "redirect_resumed_run", "take_paths_as_typed", "unquoted"]

#: Keys whose value is the name of a file or of a folder.
PATH_KEYS = ("resume", "repeat", "problem.path", "alpha", "alpha_minus", "folder", "hydra.run.dir", "hydra.sweep.dir")
#: Those of their values that name none.
_WORDS = ("", "null", "auto")


def is_sweep() -> bool:
    """Whether this process was started for a sweep."""
    return any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in sys.argv[1:])


def unquoted(value: str) -> str:
    """A value without the pair of quotes around it, unless something of that very name is there."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and not _there(value):
        return value[1:-1]
    return value


def take_paths_as_typed(arguments: Sequence[str], sweep: bool) -> list[str]:
    """The arguments with the names of files and folders quoted for Hydra.

    Left alone are values that are quoted already, and those that mean something to Hydra while no file is called so: an
    interpolation, and under ``-m`` a list.
    """
    return [_taken(argument, sweep) for argument in arguments]


def _taken(argument: str, sweep: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.lstrip("+") not in PATH_KEYS or value in _WORDS:
        return argument
    plain = re.fullmatch(r"[\w./+-]*", value) or value[0] in "'\"" or "${" in value
    number = key.startswith("alpha") and not value.endswith((".npy", ".csv", ".txt"))  # or a list of them
    if _there(value) or not (plain or sweep or number):
        return f"{key}={quoted(value)}"
    return argument


def _there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long for a name, or with a null byte
        return False


def options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with Hydra's options before the keys, as its parser wants them, wherever they were typed.

    Raises:
        InputError: for options that Hydra does not have, and for keys with dashes before them.
    """
    for argument in arguments:
        key = argument.lstrip("-").partition("=")[0]
        if argument[:1] == "-" and "=" in argument and key in known_keys():
            raise InputError(f"{key} must be set without dashes, as {key}=VALUE, got {argument!r}")
    keys = [argument for argument in arguments if argument[:1] != "-" and ("=" in argument or argument[:1] == "~")]
    ordered = [argument for argument in arguments if argument not in keys] + keys
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise InputError(f"options must be those of Hydra: {message}; --help shows the keys, --hydra-help the options")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(ordered)
    return ordered


def redirect_resumed_run() -> None:
    """Check the folder of ``resume=FOLDER``, where the run goes on: Hydra is not asked for another one.

    Raises:
        InputError: where it is not a run's, or where ``hydra.run.dir`` names another.
    """
    resumed, folder = (_last_value(key) for key in ("resume", "hydra.run.dir"))
    if resumed in (None, *_WORDS):
        return
    resumed = unquoted(resumed)
    if not (Path(resumed) / "config.yaml").is_file():
        raise InputError(f"resume must be a run folder with config.yaml and a checkpoint, got {resumed!r}")
    if folder is None:
        sys.argv.append("hydra.run.dir=.")
    elif Path(unquoted(folder)).resolve() != Path(resumed).resolve():
        raise InputError(
            f"hydra.run.dir must be left out with resume, which goes on in its own folder, got {unquoted(folder)!r}"
        )


def _last_value(key: str) -> str | None:
    """What the command line gives a key, the last time that it does; None where it does not."""
    values = [value for name, equals, value in (a.partition("=") for a in sys.argv[1:]) if equals and name == key]
    return values[-1] if values else None
